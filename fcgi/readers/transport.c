#include "fcgi/readers/transport.h"

#include <stdlib.h>

#include "fcgi/readers/json.h"
#include "fcgi/wire/escape.h"
#include "fcgi/wire/websocket.h"
#include "store/cursor.h"

/* ---- streaming: a line of JSON each ---- */

static void put_nothing(struct buf *out)
{
    (void)out;
}

static void put_json_cursor(struct buf *out, const char *epoch, uint64_t seq)
{
    buf_puts(out, "{\"id\":\"");
    json_put_cursor(out, epoch, seq);
    buf_puts(out, "\"}");
}

static void put_line(struct buf *out, const struct shape *shape, const char *epoch,
                     const struct message *message)
{
    (void)shape;
    json_put_message(out, epoch, message);
    buf_puts(out, "\n");
}

static void put_line_cursor(struct buf *out, const struct shape *shape, const char *epoch,
                            uint64_t seq)
{
    (void)shape;
    put_json_cursor(out, epoch, seq);
    buf_puts(out, "\n");
}

static void put_line_reset(struct buf *out, const struct shape *shape)
{
    (void)shape;
    buf_puts(out, "{\"reset\":true}\n");
}

/* ---- iframe: scripts that run as they arrive ---- */

/* Nothing that a message says may be loaded or run, and no other site may frame it. */
static const char iframe_header[] =
    "Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; "
    "frame-ancestors 'self'\r\n";

/* Some browsers begin to run a document only after its first KB. */
static void put_document(struct buf *out)
{
    enum { PADDING = 1024 };
    buf_puts(out, "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>Encke</title>\n<body>\n");
    buf_printf(out, "%*s\n", PADDING, "");
}

static void put_script_call(struct buf *out, const struct shape *shape)
{
    buf_printf(out, "<script>parent.%s(", shape->callback);
}

static void put_script(struct buf *out, const struct shape *shape, const char *epoch,
                       const struct message *message)
{
    (void)shape;
    char id[CURSOR_SIZE];
    escape_script(out, message_data(message), message->data_len);
    buf_printf(out, ",\"%s\",\"%s\",%lld)</script>\n", cursor_print(id, epoch, message->seq),
               message_channel(message), (long long)message->time_ms);
}

static void put_script_cursor(struct buf *out, const struct shape *shape, const char *epoch,
                              uint64_t seq)
{
    char id[CURSOR_SIZE];
    buf_printf(out, "<script>parent.%s(null,\"%s\")</script>\n", shape->callback,
               cursor_print(id, epoch, seq));
}

static void put_script_reset(struct buf *out, const struct shape *shape)
{
    buf_printf(out, "<script>parent.%s(null,null)</script>\n", shape->callback);
}

/* ---- events: Server-Sent Events (HTML standard, 9.2) ---- */

/* How long a browser waits until it connects again: a random time, so that not all come back at
 * once. It stands in the block of the first event, since some clients make an empty message of a
 * block of its own. */
static void put_retry(struct buf *out)
{
    enum { LEAST_MS = 1000, SPREAD_MS = 2000 };
    buf_printf(out, "retry: %u\n", LEAST_MS + arc4random_uniform(SPREAD_MS + 1));
}

static void put_event_id(struct buf *out, const char *epoch, uint64_t seq)
{
    buf_puts(out, "id: ");
    json_put_cursor(out, epoch, seq);
    buf_puts(out, "\n");
}

static void put_event(struct buf *out, const struct shape *shape, const char *epoch,
                      const struct message *message)
{
    (void)shape;
    put_event_id(out, epoch, message->seq);
    escape_event(out, message_data(message), message->data_len);
    buf_puts(out, "\n");
}

/* JSON is one line. */
static void put_event_json(struct buf *out, const struct shape *shape, const char *epoch,
                           const struct message *message)
{
    (void)shape;
    put_event_id(out, epoch, message->seq);
    buf_puts(out, "data: ");
    json_put_message(out, epoch, message);
    buf_puts(out, "\n\n");
}

/* An event of a type of its own. It has data, since some clients ignore the id of an event without
 * data. */
static void put_event_cursor(struct buf *out, const struct shape *shape, const char *epoch,
                             uint64_t seq)
{
    (void)shape;
    char id[CURSOR_SIZE];
    cursor_print(id, epoch, seq);
    buf_printf(out, "event: cursor\nid: %s\ndata: %s\n\n", id, id);
}

/* A comment, which no page sees, and an event that a page can watch for. */
static void put_event_heartbeat(struct buf *out, const struct shape *shape, const char *epoch,
                                uint64_t seq)
{
    buf_puts(out, ": heartbeat\n");
    put_event_cursor(out, shape, epoch, seq);
}

static void put_event_reset(struct buf *out, const struct shape *shape)
{
    (void)shape;
    buf_puts(out, "event: reset\ndata: reset\n\n");
}

/* ---- websocket: the lines of streaming, a text frame each ---- */

/* Appends text as a frame, and frees it. */
static void put_text_frame(struct buf *out, struct buf *text)
{
    if (buf_ok(text))
        websocket_put_text(out, text->bytes, text->len);
    out->failed |= text->failed;
    buf_free(text);
}

static void put_frame_message(struct buf *out, const struct shape *shape, const char *epoch,
                              const struct message *message)
{
    (void)shape;
    struct buf text = {0};
    json_put_message(&text, epoch, message);
    put_text_frame(out, &text);
}

static void put_frame_cursor(struct buf *out, const struct shape *shape, const char *epoch,
                             uint64_t seq)
{
    (void)shape;
    struct buf text = {0};
    put_json_cursor(&text, epoch, seq);
    put_text_frame(out, &text);
}

/* A ping, which the client must answer, and a text, since pages do not see pings. */
static void put_frame_heartbeat(struct buf *out, const struct shape *shape, const char *epoch,
                                uint64_t seq)
{
    websocket_put_ping(out);
    put_frame_cursor(out, shape, epoch, seq);
}

static void put_frame_reset(struct buf *out, const struct shape *shape)
{
    static const char text[] = "{\"reset\":true}";
    (void)shape;
    websocket_put_text(out, text, sizeof text - 1);
}

/* ---- the table ---- */

enum { FIRST = FORMAT_LINES }; /* of the formats of streams */

static const struct transport transports[] = {
    [FORMAT_LINES - FIRST] = {STREAM_LINES, "application/x-ndjson", NULL, put_nothing, NULL,
                              put_line, put_line_cursor, put_line_cursor, put_line_reset},
    [FORMAT_SCRIPT - FIRST] = {STREAM_IFRAME, "text/html; charset=utf-8", iframe_header,
                               put_document, put_script_call, put_script, put_script_cursor,
                               put_script_cursor, put_script_reset},
    [FORMAT_EVENTS - FIRST] = {STREAM_EVENTS, "text/event-stream", NULL, put_retry, NULL, put_event,
                               put_event_cursor, put_event_heartbeat, put_event_reset},
    [FORMAT_EVENTS_JSON - FIRST] = {STREAM_EVENTS, "text/event-stream", NULL, put_retry, NULL,
                                    put_event_json, put_event_cursor, put_event_heartbeat,
                                    put_event_reset},
    [FORMAT_FRAMES - FIRST] = {STREAM_WEBSOCKET, NULL, NULL, put_nothing, NULL, put_frame_message,
                               put_frame_cursor, put_frame_heartbeat, put_frame_reset},
};

const struct transport *transport_of(enum format format)
{
    return &transports[format - FIRST];
}

const char *transport_name(enum stream_kind kind)
{
    static const char *const names[STREAM_KINDS] = {"streaming", "iframe", "events", "websocket"};
    return names[kind];
}

struct frame *transport_frame(const struct shape *shape, const struct buf *content)
{
    if (!buf_ok(content))
        return NULL;
    if (!transport_of(shape->format)->type)
        return frame_raw(content->bytes, content->len);
    return frame_part(shape->request_id, content->bytes, content->len);
}

void transport_put_framed(struct buf *out, const struct shape *shape, const struct buf *content)
{
    out->failed |= !buf_ok(content);
    if (!transport_of(shape->format)->type)
        buf_add(out, content->bytes, content->len);
    else
        frame_put_part(out, shape->request_id, content->bytes, content->len);
}

struct frame *transport_opening(const struct shape *shape, const struct buf *content)
{
    const struct transport *transport = transport_of(shape->format);
    if (!buf_ok(content))
        return NULL;
    if (!transport->type)
        return frame_raw(content->bytes, content->len);
    return frame_opening(shape->request_id, transport->type, transport->header, content->bytes,
                         content->len);
}

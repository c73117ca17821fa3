#include "fcgi/transport.h"

#include <stdlib.h>

#include "fcgi/escape.h"
#include "fcgi/render.h"
#include "store/cursor.h"

/* ---- streaming: a line of JSON each ---- */

static void put_nothing(struct buf *out)
{
    (void)out;
}

static void put_json_cursor(struct buf *out, const char *epoch, uint64_t seq)
{
    char id[CURSOR_SIZE];
    buf_printf(out, "{\"id\":\"%s\"}", cursor_print(id, epoch, seq));
}

static void put_line(struct buf *out, const struct shape *shape, const char *epoch,
                     const struct message *message)
{
    (void)shape;
    render_message(out, epoch, message);
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

static void put_script(struct buf *out, const struct shape *shape, const char *epoch,
                       const struct message *message)
{
    char id[CURSOR_SIZE];
    buf_printf(out, "<script>parent.%s(", shape->callback);
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

/* How long a browser waits until it connects again; each its own time, so that not all come back
 * at once. */
static void put_retry(struct buf *out)
{
    enum { LEAST_MS = 1000, SPREAD_MS = 2000 };
    buf_printf(out, "retry: %u\n\n", LEAST_MS + arc4random_uniform(SPREAD_MS + 1));
}

static void put_event_id(struct buf *out, const char *epoch, uint64_t seq)
{
    char id[CURSOR_SIZE];
    buf_printf(out, "id: %s\n", cursor_print(id, epoch, seq));
}

static void put_event(struct buf *out, const struct shape *shape, const char *epoch,
                      const struct message *message)
{
    put_event_id(out, epoch, message->seq);
    if (shape->format == FORMAT_EVENTS_JSON) {
        buf_puts(out, "data: ");
        render_message(out, epoch, message);
        buf_puts(out, "\n");
    } else {
        escape_event(out, message_data(message), message->data_len);
    }
    buf_puts(out, "\n");
}

/* An event of its own type: it has data, since some clients take over an id only with data. */
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

/* ---- the table ---- */

static const struct transport transports[] = {
    {STREAM_LINES, "application/x-ndjson", NULL, put_nothing, put_line, put_line_cursor,
     put_line_cursor, put_line_reset},
    {STREAM_IFRAME, "text/html; charset=utf-8", iframe_header, put_document, put_script,
     put_script_cursor, put_script_cursor, put_script_reset},
    {STREAM_EVENTS, "text/event-stream", NULL, put_retry, put_event, put_event_cursor,
     put_event_heartbeat, put_event_reset},
};

const struct transport *transport_of(enum format format)
{
    switch (format) {
    case FORMAT_LINES:
        return &transports[STREAM_LINES];
    case FORMAT_SCRIPT:
        return &transports[STREAM_IFRAME];
    case FORMAT_EVENTS:
    case FORMAT_EVENTS_JSON:
        return &transports[STREAM_EVENTS];
    default:
        return NULL;
    }
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
    return frame_part(shape->request_id, content->bytes, content->len);
}

struct frame *transport_opening(const struct shape *shape, const struct buf *content)
{
    const struct transport *transport = transport_of(shape->format);
    if (!buf_ok(content))
        return NULL;
    return frame_opening(shape->request_id, transport->type, transport->header, content->bytes,
                         content->len);
}

#include "fcgi/readers/talk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fcgi/readers/publish.h"
#include "fcgi/server.h"
#include "fcgi/readers/stream.h"
#include "fcgi/wire/websocket.h"

enum {
    TAKEN_AT_ONCE = 16 * 1024, /* bytes; the texts among them wait in memory for their turn */
    LAST_TAKEN = 16,           /* times 64 KB: more than a socket holds */
    SILENT_MOST = 2            /* heartbeats */
};

struct talk {
    struct websocket *websocket;
    struct append *append; /* the text that is on its way into the log; NULL: none */
    struct frame *owed;    /* its answer, which met a full socket; NULL: none */
    uint8_t silent;        /* heartbeats since something was heard */
    bool ends;             /* the daemon wants to, as soon as all is answered */
    bool may_create;
    bool echo;
    char channel[CHANNEL_MAX + 1]; /* to publish on; "": none was named */
};

/* ---- life ---- */

/* Where texts go: the field `to`, or else the only channel that is read. */
static const char *choose_channel(struct talk *talk, const struct request *request,
                                  const struct wanted *wanted)
{
    struct text to = request_field(request, "to");
    if (to.bytes && !channel_name_valid(to))
        return CHANNEL_NAME_RULE;
    const char *only = wanted->count == 1 ? wanted->channels[0] : "";
    snprintf(talk->channel, sizeof talk->channel, "%s", to.bytes ? to.bytes : only);
    return NULL;
}

struct talk *talk_new(const struct options *options, const struct request *request,
                      const struct wanted *wanted, const char **complaint)
{
    struct text as = request_field(request, "as");
    struct talk *talk = calloc(1, sizeof *talk);
    *complaint = NULL;
    if (!talk)
        return NULL;
    talk->may_create = options->websocket_create;
    talk->echo = as.bytes && text_is(as, "echo");
    talk->websocket =
        websocket_new((size_t)options->max_message, (unsigned)options->websocket_rate);
    *complaint = choose_channel(talk, request, wanted);
    if (talk->websocket && !*complaint)
        return talk;
    talk_free(talk);
    return NULL;
}

void talk_free(struct talk *talk)
{
    if (!talk)
        return;
    if (talk->append)
        publish_forget(talk->append);
    frame_drop(talk->owed);
    websocket_free(talk->websocket);
    free(talk);
}

/* ---- answering ---- */

static struct talk *talk_of(const struct conn *conn)
{
    return conn->u.stream->talk;
}

static struct frame *text_frame(struct conn *conn, const struct buf *text)
{
    struct buf *out = &conn->server->scratch;
    buf_reset(out);
    if (buf_ok(text))
        websocket_put_text(out, text->bytes, text->len);
    return buf_ok(text) && buf_ok(out) ? frame_raw(out->bytes, out->len) : NULL;
}

static struct frame *error_frame(struct conn *conn, const char *why)
{
    struct buf text = {0};
    buf_printf(&text, "{\"error\":\"%s\"}", why);
    struct frame *frame = text_frame(conn, &text);
    buf_free(&text);
    return frame;
}

static struct frame *echo_frame(struct conn *conn, struct text said)
{
    struct buf text = {0};
    buf_puts(&text, "You say:");
    buf_add(&text, said.bytes, said.len);
    struct frame *frame = text_frame(conn, &text);
    buf_free(&text);
    return frame;
}

/* Not "id": the messages before it may still be on their way, so it is no cursor to go on from. */
static struct frame *created_frame(struct conn *conn, uint64_t seq)
{
    char id[CURSOR_SIZE];
    struct buf text = {0};
    buf_printf(&text, "{\"created\":\"%s\"}", cursor_print(id, log_epoch(conn->server->log), seq));
    struct frame *frame = text_frame(conn, &text);
    buf_free(&text);
    return frame;
}

static const char *refusal(const struct talk *talk, struct text said)
{
    if (!talk->may_create)
        return "this server does not publish what comes over WebSockets (--websocket-create)";
    if (!*talk->channel)
        return "which channel is this for? name it with to=CHANNEL in the address";
    return publish_complaint(said);
}

static void on_text_delivered(struct append *append);

/* Not told at once: a stream that falls behind over the answer goes on from the new head, so it
 * must have been given what came before it. */
static const struct append_ops text_ops = {.delivered = on_text_delivered};

/* Answers a text, or sends it to the log, which will have it answered. Returns as stream_say. */
static bool reply(struct conn *conn, struct text said)
{
    struct talk *talk = talk_of(conn);
    if (talk->echo)
        return stream_say(conn, echo_frame(conn, said));
    const char *why = refusal(talk, said);
    if (why)
        return stream_say(conn, error_frame(conn, why));
    enum log_status queued =
        publish_text(&conn->server->publisher, talk->channel, said, &text_ops, conn, &talk->append);
    return queued == LOG_OK || stream_say(conn, error_frame(conn, log_status_text(queued)));
}

/* Nothing is left to answer: says farewell, and ends the connection. */
static void part(struct conn *conn, unsigned code)
{
    struct buf *out = &conn->server->scratch;
    buf_reset(out);
    websocket_put_close(out, code);
    /* a client that did not close by itself may still be sending */
    conn->lingers =
        talk_of(conn)->ends || (code >= WEBSOCKET_PROTOCOL && code <= WEBSOCKET_NO_MEMORY);
    conn_answer(conn, buf_ok(out) ? frame_raw(out->bytes, out->len) : NULL);
}

/* Works off what has been said, as far as the socket takes the answers. No frame may be cut
 * through. Returns whether the stream can go on. */
static bool work_off(struct conn *conn)
{
    struct talk *talk = talk_of(conn);
    while (!talk->append) {
        struct frame *owed = talk->owed;
        struct text said = websocket_first(talk->websocket);
        talk->owed = NULL;
        if (owed && !stream_say(conn, owed))
            return false;
        if (!said.bytes)
            break;
        bool more = reply(conn, said);
        if (conn->state == CONN_STREAM)
            websocket_drop(talk->websocket);
        if (!more)
            return false;
    }
    unsigned code = websocket_closing(talk->websocket);
    if (code == 0 && talk->ends)
        code = WEBSOCKET_GOING_AWAY;
    if (code == 0 || talk->append)
        return true;
    part(conn, code);
    return false;
}

bool talk_go_on(struct conn *conn)
{
    talk_of(conn)->silent = 0;
    return work_off(conn);
}

/* The text under way is in the log, or was refused. */
static void on_text_delivered(struct append *append)
{
    struct conn *conn = append->owner;
    struct talk *talk = talk_of(conn);
    struct stream *stream = conn->u.stream;
    talk->append = NULL;
    talk->owed = append->status == LOG_OK ? created_frame(conn, append->message->seq)
                                          : error_frame(conn, log_status_text(append->status));
    if (!talk->owed) {
        conn_end(conn);
        return;
    }
    if (!stream->progress.rest.frame && work_off(conn) && stream->live)
        stream_rewatch(conn);
}

/* ---- hearing ---- */

enum watch talk_watch(const struct talk *talk)
{
    return talk->append ? WATCH_PAUSE : WATCH_INPUT;
}

void talk_hear(struct conn *conn, const uint8_t *bytes, size_t len)
{
    struct talk *talk = talk_of(conn);
    struct buf *out = &conn->server->scratch;
    talk->silent = 0;
    buf_reset(out);
    websocket_feed(talk->websocket, bytes, len, timer_now_ms(), out);
    if (conn->u.stream->progress.rest.frame)
        return; /* its opening is not out yet: a ping before that has no pong to expect */
    if (out->len > 0 && !stream_say(conn, buf_ok(out) ? frame_raw(out->bytes, out->len) : NULL))
        return;
    if (work_off(conn) && conn->u.stream->live)
        stream_rewatch(conn);
}

void talk_readable(struct conn *conn)
{
    uint8_t *inbox = conn->server->inbox;
    if (!conn->u.stream->live)
        return; /* it fell behind since epoll told of this: later */
    ssize_t got = recv(conn->fd, inbox, TAKEN_AT_ONCE, MSG_DONTWAIT);
    if (got > 0)
        talk_hear(conn, inbox, (size_t)got);
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        conn_end(conn);
}

/* ---- the end ---- */

/* Publishes what has been said and waits for its turn. */
static void publish_rest(struct conn *conn)
{
    struct talk *talk = talk_of(conn);
    struct text said;
    while ((said = websocket_first(talk->websocket)).bytes) {
        if (!talk->echo && !refusal(talk, said))
            publish_text(&conn->server->publisher, talk->channel, said, NULL, NULL, NULL);
        websocket_drop(talk->websocket);
    }
}

void talk_last_words(struct conn *conn)
{
    struct talk *talk = talk_of(conn);
    struct buf *out = &conn->server->scratch; /* pongs, for nobody */
    uint8_t *inbox = conn->server->inbox;
    ssize_t got;
    publish_rest(conn);
    for (int i = 0; i < LAST_TAKEN; i++) {
        got = recv(conn->fd, inbox, sizeof conn->server->inbox, MSG_DONTWAIT);
        if (got < 0 && errno == ECONNRESET)
            continue; /* our own words were not read; what it said may still be there */
        if (got <= 0)
            break;
        buf_reset(out);
        websocket_feed(talk->websocket, inbox, (size_t)got, timer_now_ms(), out);
        publish_rest(conn);
    }
    conn_end(conn);
}

bool talk_is_dead(struct talk *talk)
{
    return talk->append == NULL && ++talk->silent > SILENT_MOST;
}

void talk_end(struct conn *conn)
{
    struct talk *talk = talk_of(conn);
    talk->ends = true;
    if (talk->append || work_off(conn))
        stream_set_aside(conn); /* until its text is in the log */
}

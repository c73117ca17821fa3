#include "fcgi/readers/talk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fcgi/conn/answer.h"
#include "fcgi/readers/stream.h"
#include "fcgi/wire/websocket.h"

enum {
    TAKEN_AT_ONCE = 16 * 1024, /* bytes; the texts among them wait in memory for their turn */
    LAST_TAKEN = 16,           /* times 64 KB: more than a socket holds */
    SILENT_MOST = 2            /* heartbeats */
};

struct talk {
    struct partner partner;
    struct publisher *publisher;
    struct websocket *websocket;
    struct append *append; /* the text that is on its way into the log; NULL: none */
    struct frame *owed;    /* its answer, which met a full socket; NULL: none */
    uint8_t silent;        /* heartbeats since something was heard */
    bool ends;             /* the stream is to end as soon as all is answered */
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

/* A text under way is stored all the same. */
static void talk_free(struct partner *partner)
{
    struct talk *talk = (struct talk *)partner;
    if (talk->append)
        publish_forget(talk->append);
    frame_drop(talk->owed);
    websocket_free(talk->websocket);
    free(talk);
}

static const struct partner_ops talk_ops;

struct partner *talk_new(const struct talk_rules *rules, const struct request *request,
                         const struct wanted *wanted, const char **complaint)
{
    struct text as = request_field(request, "as");
    struct talk *talk = calloc(1, sizeof *talk);
    *complaint = NULL;
    if (!talk)
        return NULL;
    talk->partner.ops = &talk_ops;
    talk->publisher = rules->publisher;
    talk->may_create = rules->may_create;
    talk->echo = as.bytes && text_is(as, "echo");
    talk->websocket = websocket_new(rules->publisher->max_message, rules->frames_per_s);
    *complaint = choose_channel(talk, request, wanted);
    if (talk->websocket && !*complaint)
        return &talk->partner;
    talk_free(&talk->partner);
    return NULL;
}

/* ---- answering ---- */

static struct talk *talk_of(const struct conn *conn)
{
    return (struct talk *)stream_of(conn)->partner;
}

static struct frame *text_frame(struct conn *conn, const struct buf *text)
{
    struct buf *out = &conn->conns->scratch;
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
    cursor_print(id, log_epoch(talk_of(conn)->publisher->log), seq);
    buf_printf(&text, "{\"created\":\"%s\"}", id);
    struct frame *frame = text_frame(conn, &text);
    buf_free(&text);
    return frame;
}

/* Why the text is not published; or NULL. */
static const char *text_complaint(const struct talk *talk, struct text said)
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
static bool answer_text(struct conn *conn, struct text said)
{
    struct talk *talk = talk_of(conn);
    if (talk->echo)
        return stream_say(conn, echo_frame(conn, said));
    const char *why = text_complaint(talk, said);
    if (why)
        return stream_say(conn, error_frame(conn, why));
    enum log_status queued =
        publish_text(talk->publisher, talk->channel, said, &text_ops, conn, &talk->append);
    return queued == LOG_OK || stream_say(conn, error_frame(conn, log_status_text(queued)));
}

/* Nothing is left to answer: says farewell, and ends the stream. */
static void say_farewell(struct conn *conn, unsigned code)
{
    struct buf *out = &conn->conns->scratch;
    buf_reset(out);
    websocket_put_close(out, code);
    /* a client that did not close by itself may still be sending */
    conn->lingers =
        talk_of(conn)->ends || (code >= WEBSOCKET_PROTOCOL && code <= WEBSOCKET_NO_MEMORY);
    conn_answer(conn, buf_ok(out) ? frame_raw(out->bytes, out->len) : NULL);
}

/* Answers what has been said, as far as the socket takes the answers. The stream must not be
 * cut. Returns whether the stream can go on. */
static bool answer_texts(struct conn *conn)
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
        bool more = answer_text(conn, said);
        if (stream_of(conn))
            websocket_drop(talk->websocket);
        if (!more)
            return false;
    }
    unsigned code = websocket_closing(talk->websocket);
    if (code == 0 && talk->ends)
        code = WEBSOCKET_GOING_AWAY;
    if (code == 0 || talk->append)
        return true;
    say_farewell(conn, code);
    return false;
}

/* Goes on as far as possible after something has changed. The stream must not be cut. */
static void go_on(struct conn *conn)
{
    if (answer_texts(conn) && stream_of(conn)->live)
        stream_rewatch(conn);
}

static bool talk_resume(struct conn *conn)
{
    talk_of(conn)->silent = 0;
    return answer_texts(conn);
}

/* The text under way is in the log, or was refused. */
static void on_text_delivered(struct append *append)
{
    struct conn *conn = append->owner;
    struct talk *talk = talk_of(conn);
    talk->append = NULL;
    talk->owed = append->status == LOG_OK ? created_frame(conn, append->entries[0].message->seq)
                                          : error_frame(conn, log_status_text(append->status));
    if (!talk->owed)
        conn_end(conn);
    else if (!stream_is_cut(stream_of(conn)))
        go_on(conn);
}

/* ---- hearing ---- */

static enum watch talk_watch(const struct partner *partner)
{
    const struct talk *talk = (const struct talk *)partner;
    return talk->append ? WATCH_CLOSE : WATCH_INPUT;
}

void talk_hear(struct conn *conn, const uint8_t *bytes, size_t len)
{
    struct talk *talk = talk_of(conn);
    struct buf *out = &conn->conns->scratch;
    talk->silent = 0;
    buf_reset(out);
    websocket_feed(talk->websocket, bytes, len, timer_now_ms(), out);
    if (stream_is_cut(stream_of(conn)))
        return; /* its opening is not out yet: a ping before that has no pong to expect */
    if (out->len > 0 && !stream_say(conn, buf_ok(out) ? frame_raw(out->bytes, out->len) : NULL))
        return;
    go_on(conn);
}

static void talk_readable(struct conn *conn)
{
    uint8_t *inbox = conn->conns->inbox;
    if (!stream_of(conn)->live)
        return; /* it fell behind since epoll reported this: later */
    ssize_t got = recv(conn->fd, inbox, TAKEN_AT_ONCE, MSG_DONTWAIT);
    if (got > 0)
        talk_hear(conn, inbox, (size_t)got);
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        conn_end(conn);
}

/* ---- the end ---- */

/* Publishes what has been said and waits for its turn; nobody is left to be answered. */
static void publish_last_texts(struct talk *talk)
{
    struct text said;
    while ((said = websocket_first(talk->websocket)).bytes) {
        if (!talk->echo && !text_complaint(talk, said))
            publish_text(talk->publisher, talk->channel, said, NULL, NULL, NULL);
        websocket_drop(talk->websocket);
    }
}

/* The client is gone, perhaps right behind what it said: that is read and published. */
static void talk_gone(struct conn *conn)
{
    struct talk *talk = talk_of(conn);
    struct conns *conns = conn->conns;
    publish_last_texts(talk);
    for (int i = 0; i < LAST_TAKEN; i++) {
        ssize_t got = recv(conn->fd, conns->inbox, sizeof conns->inbox, MSG_DONTWAIT);
        if (got < 0 && errno == ECONNRESET)
            continue; /* our own words were not read; what it said may still be there */
        if (got <= 0)
            break;
        buf_reset(&conns->scratch); /* for pongs, which nobody gets */
        websocket_feed(talk->websocket, conns->inbox, (size_t)got, timer_now_ms(), &conns->scratch);
        publish_last_texts(talk);
    }
    conn_end(conn);
}

static bool talk_is_dead(struct partner *partner)
{
    struct talk *talk = (struct talk *)partner;
    return talk->append == NULL && ++talk->silent > SILENT_MOST;
}

static void talk_finish(struct conn *conn)
{
    struct talk *talk = talk_of(conn);
    talk->ends = true;
    if (talk->append || answer_texts(conn))
        stream_set_aside(conn); /* until its text is in the log */
}

static const struct partner_ops talk_ops = {.watch = talk_watch,
                                            .readable = talk_readable,
                                            .resume = talk_resume,
                                            .is_dead = talk_is_dead,
                                            .finish = talk_finish,
                                            .gone = talk_gone,
                                            .free = talk_free};

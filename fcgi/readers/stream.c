#include "fcgi/readers/stream.h"

#include <stdlib.h>

#include "fcgi/conn/refusal.h"
#include "fcgi/readers/batches.h"

static void stream_ready(struct conn *conn, uint32_t events);
static void stream_due(struct conn *conn);
static void leave_stream(struct conn *conn, void *in);
static void wake_streams(struct group *group, uint64_t before);
static void restart_streams(struct group *group);
static void release_streams(struct group *group);

/* It streams: in a struct stream. */
static const struct wait stream_wait = {
    .name = "stream", .ready = stream_ready, .expired = stream_due, .left = leave_stream};

static const struct readers_ops stream_ops = {
    .wake = wake_streams, .restart = restart_streams, .release = release_streams};

struct stream *stream_of(const struct conn *conn)
{
    return conn_waits(conn, &stream_wait) ? conn->in : NULL;
}

static void stream_ready(struct conn *conn, uint32_t events)
{
    const struct stream *stream = conn->in;
    if (events == EPOLLOUT)
        stream_give_more(conn);
    else if (events == EPOLLIN)
        stream->partner->ops->readable(conn);
    else
        stream_abandon(conn);
}

bool stream_say(struct conn *conn, struct frame *frame)
{
    const struct stream *stream = conn->in;
    struct cursor cursor = stream->progress.cursor;
    if (stream->live)
        cursor = (struct cursor){CURSOR_AT, log_head(readers_of(stream)->log)};
    return stream_give_frame(conn, frame, cursor);
}

/* ---- opening ---- */

/* The first bytes: if no message follows at once, they tell the cursor, so that a client that
 * began with `now` has one. first: what follows; NULL if it has to be read from the disk. */
static struct frame *opening_frame(struct readers *readers, const struct shape *shape,
                                   const char *greeting, const struct batch *first)
{
    struct buf *out = &readers->conns->scratch;
    const struct transport *transport = transport_of(shape->format);
    buf_reset(out);
    if (greeting)
        buf_puts(out, greeting);
    transport->put_opening(out);
    if (first && first->count == 0)
        transport->put_cursor(out, shape, log_epoch(readers->log), first->next);
    return transport_opening(shape, out);
}

static uint64_t next_due_ms(const struct stream *stream)
{
    uint64_t heartbeat_ms = timer_jittered(readers_of(stream)->heartbeat_ms);
    uint64_t now = timer_now_ms();
    if (stream->ends_ms <= now)
        return 0;
    return stream->ends_ms - now < heartbeat_ms ? stream->ends_ms - now : heartbeat_ms;
}

static struct stream *stream_new(struct readers *readers, const struct wanted *wanted,
                                 struct partner *partner, const char **why)
{
    struct stream *stream = calloc(1, sizeof *stream);
    *why = "out of memory";
    if (!stream)
        return NULL;
    stream->group = group_join(&readers->groups, &stream_ops, wanted, why);
    if (!stream->group) {
        free(stream);
        return NULL;
    }
    stream->kind = transport_of(wanted->shape.format)->kind;
    stream->partner = partner;
    stream->once = wanted->wait_ms == 0;
    uint64_t wait_ms = stream->once ? readers->stream_ms : wanted->wait_ms;
    stream->ends_ms =
        wait_ms == STREAM_FOREVER ? UINT64_MAX : timer_now_ms() + timer_jittered(wait_ms);
    stream->progress.cursor = wanted->cursor;
    if (wanted->cursor.kind == CURSOR_NOW)
        stream->progress.cursor = (struct cursor){CURSOR_AT, log_head(readers->log)};
    readers->streams[stream->kind]++;
    readers->streams_behind++;
    admission_enter(readers->admission);
    return stream;
}

static void stream_free(struct stream *stream)
{
    struct readers *readers = readers_of(stream);
    readers->streams[stream->kind]--;
    if (!stream->live)
        readers->streams_behind--;
    stream_cancel_read(stream);
    unsent_drop(&readers->conns->unsent, &stream->progress.rest);
    gap_drop(stream->progress.told);
    stream->partner->ops->free(stream->partner);
    group_leave(&readers->groups, stream->group);
    free(stream);
    admission_leave(readers->admission);
}

static void leave_stream(struct conn *conn, void *in)
{
    (void)conn;
    stream_free(in);
}

/* Sends the beginning of the stream, and the batch that was read for it; NULL: it is on the disk.
 */
static void begin_stream(struct conn *conn, struct stream *stream, const char *greeting,
                         const struct batch *first)
{
    struct readers *readers = readers_of(stream);
    struct frame *frame = opening_frame(readers, &stream->group->shape, greeting, first);
    struct cursor cursor = stream->progress.cursor;
    if (first && first->count == 0)
        cursor = (struct cursor){CURSOR_AT, first->next};
    conn_wait(conn, &readers->behind, &stream_wait, stream, next_due_ms(stream));
    if (!stream_give_frame(conn, frame, cursor))
        return;
    if (first)
        stream_give_next(conn, first);
    else
        stream_give_later(conn);
}

void stream_open(struct readers *readers, struct conn *conn, const struct wanted *wanted,
                 const char *greeting, struct partner *partner)
{
    if (!partner)
        partner = &silent_partner;
    if (!admission_check(readers->admission, conn)) {
        partner->ops->free(partner);
        return;
    }
    const char *why;
    struct stream *stream = stream_new(readers, wanted, partner, &why);
    if (!stream) {
        partner->ops->free(partner);
        admission_refuse(readers->admission, conn, why);
        return;
    }
    enum log_status status;
    struct batch *first = batches_next(stream->group, &stream->progress, &status);
    if (!first && status != LOG_LATER) {
        stream_free(stream);
        conn_refuse_for_log(conn, status);
        return;
    }
    begin_stream(conn, stream, greeting, first);
    batch_free(first);
}

/* ---- news, heartbeats, the end ---- */

/* Calls each with every live stream of the group, which may leave it. */
static void each_live_stream(struct group *group,
                             void (*each)(struct conn *conn, const void *context),
                             const void *context)
{
    struct conn *conn = LIST_FIRST(&group->conns);
    while (conn) {
        struct conn *next = LIST_NEXT(conn, link);
        each(conn, context);
        conn = next;
    }
}

struct news {
    const struct batch *batch;
    struct cursor before;
    bool last; /* of the pages that are given in this round */
};

static void give_news(struct conn *conn, const void *context)
{
    const struct news *news = context;
    struct stream *stream = conn->in;
    stream->progress.cursor = news->before;
    if (stream_give_batch(conn, news->batch) && news->last && news->batch->more)
        stream_fall_behind(conn);
}

static void cut_stream_off(struct conn *conn, const void *context)
{
    (void)context;
    conn_end(conn);
}

static void put_news_off(struct conn *conn, const void *context)
{
    const struct cursor *before = context;
    struct stream *stream = conn->in;
    stream->progress.cursor = *before;
    stream_fall_behind(conn);
}

/* Gives the group's live streams what came after `before`; or lets them catch up with it, when much
 * has been given in this round of news, or is not taken. If there are more pages than a socket
 * takes at once, each stream catches up with the rest. */
static void wake_streams(struct group *group, uint64_t before)
{
    enum { PAGES_AT_ONCE = 4 };
    struct readers *readers = group->readers;
    struct news news = {.before = {CURSOR_AT, before}};
    for (int page = 1; !LIST_EMPTY(&group->conns); page++) {
        if (readers_news_can_wait(readers)) {
            each_live_stream(group, put_news_off, &news.before);
            return;
        }
        enum log_status status;
        struct batch *batch = batches_news(group, news.before.seq, &status);
        if (!batch) {
            each_live_stream(group, status == LOG_LATER ? put_news_off : cut_stream_off,
                             &news.before);
            return;
        }
        news.batch = batch;
        news.last = !batch->more || page == PAGES_AT_ONCE;
        each_live_stream(group, give_news, &news);
        news.before.seq = batch->next;
        batch_free(batch);
        if (news.last)
            return;
    }
}

static const struct cursor unknown = {.kind = CURSOR_UNKNOWN};

static void restart_streams(struct group *group)
{
    each_live_stream(group, put_news_off, &unknown);
}

void stream_restart(struct readers *readers)
{
    struct conn *conn;
    LIST_FOREACH (conn, &readers->behind, link) {
        struct stream *stream = conn->in;
        stream->progress.cursor = unknown;
    }
}

static void send_heartbeat(struct conn *conn)
{
    const struct stream *stream = conn->in;
    const struct log *log = readers_of(stream)->log;
    const struct shape *shape = &stream->group->shape;
    struct buf *out = &conn->conns->scratch;
    uint64_t head = log_head(log);
    buf_reset(out);
    transport_of(shape->format)->put_heartbeat(out, shape, log_epoch(log), head);
    stream_give_frame(conn, transport_frame(shape, out), (struct cursor){CURSOR_AT, head});
}

/* The stream's timer: a heartbeat is due, or its end. */
static void stream_due(struct conn *conn)
{
    struct stream *stream = conn->in;
    bool over = timer_now_ms() >= stream->ends_ms;
    bool dead = stream->partner->ops->is_dead(stream->partner);
    if (dead || (over && stream_is_cut(stream))) {
        conn_end(conn); /* its client takes nothing, and will go on from its own cursor */
    } else if (over) {
        stream_finish(conn);
    } else {
        conn_expire_in(conn, next_due_ms(stream));
        if (stream->live)
            send_heartbeat(conn);
    }
}

static void finish_live_stream(struct conn *conn, const void *context)
{
    (void)context;
    stream_finish(conn);
}

static void release_streams(struct group *group)
{
    each_live_stream(group, finish_live_stream, NULL);
}

void stream_release_behind(struct readers *readers)
{
    struct conn *conn = LIST_FIRST(&readers->behind);
    while (conn) {
        struct conn *next = LIST_NEXT(conn, link);
        const struct stream *stream = conn->in;
        if (!stream_is_cut(stream))
            stream_finish(conn);
        conn = next;
    }
}

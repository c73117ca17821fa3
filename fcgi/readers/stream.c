#include "fcgi/readers/stream.h"

#include <stdlib.h>

#include "fcgi/io/diag.h"
#include "fcgi/server.h"
#include "fcgi/readers/talk.h"

/* ---- live and behind ---- */

/* Takes the stream to a list where it gets no news. The connection may have ended when this
 * returns. */
static void leave_group(struct conn *conn, struct conn_list *list, enum watch watch)
{
    struct stream *stream = conn->u.stream;
    if (stream->live)
        conn->server->streams_behind++;
    stream->live = false;
    conn_stream_on(conn, list, watch);
}

static void fall_behind(struct conn *conn)
{
    leave_group(conn, &conn->server->behind, WATCH_LATER);
}

static void become_live(struct conn *conn)
{
    struct stream *stream = conn->u.stream;
    if (!stream->live)
        conn->server->streams_behind--;
    stream->live = true;
    gap_drop(stream->progress.told); /* it is past all floors */
    stream->progress.told = NULL;
    stream_rewatch(conn);
}

void stream_rewatch(struct conn *conn)
{
    struct stream *stream = conn->u.stream;
    conn_stream_on(conn, &stream->group->conns,
                   stream->talk ? talk_watch(stream->talk) : WATCH_INPUT);
}

void stream_set_aside(struct conn *conn)
{
    leave_group(conn, &conn->server->busy, WATCH_PAUSE);
}

/* Ends the stream between two frames, as the client expects. */
static void end(struct conn *conn)
{
    if (conn->u.stream->talk)
        talk_end(conn);
    else
        conn_answer(conn, frame_end(conn->request_id));
}

/* The reader is gone; what it said before is for the talk. */
static void part(struct conn *conn)
{
    if (conn->u.stream->talk)
        talk_last_words(conn);
    else
        conn_end(conn);
}

/* Sends a batch to a stream that has no frame cut through. Returns false if the connection has
 * ended or is behind now. */
static bool give(struct conn *conn, const struct batch *batch)
{
    struct server *server = conn->server;
    struct stream *stream = conn->u.stream;
    struct progress *progress = &stream->progress;
    struct frame *call = batch->bare ? group_call(stream->group, &server->scratch) : NULL;
    if (batch->bare && !call) {
        conn_end(conn);
        return false;
    }
    int sent = batch_send(batch, call, conn->fd, progress, &server->deliveries);
    if (sent == 0 && progress->rest.frame)
        unsent_note(&server->unsent, &progress->rest, conn);
    if (sent < 0)
        part(conn);
    else if (sent == 0)
        fall_behind(conn);
    return sent > 0;
}

/* Sends what is left of the frame that was cut through. Returns as give. */
static bool give_rest(struct conn *conn)
{
    struct unsent *unsent = &conn->server->unsent;
    struct rest *rest = &conn->u.stream->progress.rest;
    int sent = rest_send(rest, conn->fd);
    if (sent < 0) {
        part(conn);
    } else if (sent == 0) {
        unsent_note(unsent, rest, conn);
        fall_behind(conn);
    } else {
        unsent_drop(unsent, rest);
    }
    return sent > 0;
}

/* Sends a frame that is no message (NULL, out of memory, ends the connection), after which the
 * stream goes on from the cursor. Takes over the reference. Returns as give. */
static bool give_frame(struct conn *conn, struct frame *frame, struct cursor cursor)
{
    if (!frame) {
        conn_end(conn);
        return false;
    }
    struct progress *progress = &conn->u.stream->progress;
    progress->cursor = cursor;
    progress->rest = (struct rest){.frame = frame};
    return give_rest(conn);
}

/* Gives a stream that is behind its next page. When that was the last it is live: nobody else can
 * have moved the head meanwhile (invariant 3). */
static void catch_up(struct conn *conn)
{
    struct stream *stream = conn->u.stream;
    enum log_status status;
    struct batch *page = pages_get(conn->server, stream->group, &stream->progress, &status);
    if (!page) {
        conn_end(conn);
        return;
    }
    bool more = page->more;
    bool all = give(conn, page);
    batch_drop(page);
    if (!all)
        return;
    if (more)
        fall_behind(conn); /* others first */
    else if (stream->once)
        end(conn);
    else
        become_live(conn);
}

void stream_writable(struct conn *conn)
{
    struct stream *stream = conn->u.stream;
    if (stream->progress.rest.frame && !give_rest(conn))
        return;
    if (conn->server->draining)
        end(conn);
    else if (!stream->talk || talk_go_on(conn))
        catch_up(conn);
}

bool stream_say(struct conn *conn, struct frame *frame)
{
    struct stream *stream = conn->u.stream;
    struct cursor cursor = stream->progress.cursor;
    if (stream->live)
        cursor = (struct cursor){CURSOR_AT, log_head(conn->server->log)};
    return give_frame(conn, frame, cursor);
}

/* ---- opening ---- */

/* The first bytes: if no message follows at once, they tell the cursor, so that a client that
 * began with `now` has one. */
static struct frame *opening(struct server *server, const struct shape *shape, const char *greeting,
                             const struct batch *first)
{
    struct buf *out = &server->scratch;
    const struct transport *transport = transport_of(shape->format);
    buf_reset(out);
    if (greeting)
        buf_puts(out, greeting);
    transport->put_opening(out);
    if (first->count == 0)
        transport->put_cursor(out, shape, log_epoch(server->log), first->next);
    return transport_opening(shape, out);
}

static uint64_t next_due_ms(const struct server *server, const struct stream *stream)
{
    uint64_t heartbeat_ms = timer_jittered((uint64_t)server->options->heartbeat_s * 1000);
    uint64_t now = timer_now_ms();
    if (stream->ends_ms <= now)
        return 0;
    return stream->ends_ms - now < heartbeat_ms ? stream->ends_ms - now : heartbeat_ms;
}

static uint64_t stream_ms(const struct server *server)
{
    return (uint64_t)server->options->stream_s * 1000;
}

static struct stream *stream_new(struct server *server, const struct wanted *wanted,
                                 struct talk *talk, const char **why)
{
    struct stream *stream = calloc(1, sizeof *stream);
    *why = "out of memory";
    if (!stream)
        return NULL;
    stream->group = group_join(&server->groups, &server->scratch, wanted, why);
    if (!stream->group) {
        free(stream);
        return NULL;
    }
    stream->kind = transport_of(wanted->shape.format)->kind;
    stream->talk = talk;
    stream->once = wanted->wait_ms == 0;
    uint64_t wait_ms = stream->once ? stream_ms(server) : wanted->wait_ms;
    stream->ends_ms =
        wait_ms == STREAM_FOREVER ? UINT64_MAX : timer_now_ms() + timer_jittered(wait_ms);
    stream->progress.cursor = wanted->cursor;
    if (wanted->cursor.kind == CURSOR_NOW)
        stream->progress.cursor = (struct cursor){CURSOR_AT, log_head(server->log)};
    server->streams[stream->kind]++;
    server->streams_behind++;
    return stream;
}

void stream_left(struct server *server, struct stream *stream)
{
    server->streams[stream->kind]--;
    if (!stream->live)
        server->streams_behind--;
    unsent_drop(&server->unsent, &stream->progress.rest);
    gap_drop(stream->progress.told);
    talk_free(stream->talk);
    group_leave(&server->groups, stream->group);
    free(stream);
    server_left(server);
}

void stream_open(struct conn *conn, const struct wanted *wanted, const char *greeting,
                 struct talk *talk)
{
    struct server *server = conn->server;
    if (!server_admit(conn)) {
        talk_free(talk);
        return;
    }
    const char *why;
    struct stream *stream = stream_new(server, wanted, talk, &why);
    if (!stream) {
        talk_free(talk);
        server_refuse(conn, why);
        return;
    }
    enum log_status status;
    struct batch *first = pages_get(server, stream->group, &stream->progress, &status);
    if (!first) {
        stream_left(server, stream);
        conn_refuse_for(conn, status);
        return;
    }
    struct frame *frame = opening(server, &stream->group->shape, greeting, first);
    struct cursor cursor = stream->progress.cursor;
    if (first->count == 0)
        cursor = (struct cursor){CURSOR_AT, first->next};
    conn_stream(conn, stream, next_due_ms(server, stream));
    if (give_frame(conn, frame, cursor))
        catch_up(conn);
    batch_drop(first);
}

/* ---- news, heartbeats, the end ---- */

/* Calls each with every live stream of the group, which may leave it, and the group go. */
static void each_live(struct group *group, void (*each)(struct conn *conn, const void *context),
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
    conn->u.stream->progress.cursor = news->before;
    if (give(conn, news->batch) && news->last && news->batch->more)
        fall_behind(conn);
}

static void cut_off(struct conn *conn, const void *context)
{
    (void)context;
    conn_end(conn);
}

static void leave_behind(struct conn *conn, const void *context)
{
    const struct cursor *before = context;
    conn->u.stream->progress.cursor = *before;
    fall_behind(conn);
}

/* More pages than a socket takes at once are for each to catch up with. */
void stream_wake(struct server *server, struct group *group, uint64_t before)
{
    enum { PAGES_AT_ONCE = 4 };
    struct news news = {.before = {CURSOR_AT, before}};
    for (int page = 1; !LIST_EMPTY(&group->conns); page++) {
        if (server_news_can_wait(server)) {
            each_live(group, leave_behind, &news.before);
            return;
        }
        struct batch *batch = pages_news(server, group, news.before.seq);
        if (!batch) {
            each_live(group, cut_off, NULL);
            return;
        }
        news.batch = batch;
        news.last = !batch->more || page == PAGES_AT_ONCE;
        each_live(group, give_news, &news);
        news.before.seq = batch->next;
        batch_drop(batch);
        if (news.last)
            return;
    }
}

static void heartbeat(struct conn *conn)
{
    struct server *server = conn->server;
    const struct shape *shape = &conn->u.stream->group->shape;
    uint64_t head = log_head(server->log);
    buf_reset(&server->scratch);
    transport_of(shape->format)
        ->put_heartbeat(&server->scratch, shape, log_epoch(server->log), head);
    give_frame(conn, transport_frame(shape, &server->scratch), (struct cursor){CURSOR_AT, head});
}

void stream_due(struct conn *conn)
{
    struct stream *stream = conn->u.stream;
    struct server *server = conn->server;
    bool over = timer_now_ms() >= stream->ends_ms;
    bool dead = stream->talk && talk_is_dead(stream->talk);
    if (dead || (over && stream->progress.rest.frame)) {
        conn_end(conn); /* it takes nothing; its reader will go on from where it is */
    } else if (over) {
        end(conn);
    } else {
        timer_set(&server->loop.timers, &conn->timer, next_due_ms(server, stream));
        if (stream->live)
            heartbeat(conn);
    }
}

static void end_live(struct conn *conn, const void *context)
{
    (void)context;
    end(conn);
}

void stream_release(struct group *group)
{
    each_live(group, end_live, NULL);
}

void stream_release_behind(struct server *server)
{
    struct conn *conn = LIST_FIRST(&server->behind);
    while (conn) {
        struct conn *next = LIST_NEXT(conn, link);
        if (!conn->u.stream->progress.rest.frame)
            end(conn);
        conn = next;
    }
}

#include "fcgi/readers/hold.h"

#include <stdlib.h>

#include "fcgi/readers/render.h"
#include "fcgi/server.h"

/* A poll that awaits its turn to be given what is newer than its cursor. */
struct deferred {
    struct group *group; /* joined */
    struct cursor cursor;
    uint64_t wait_ms;
};

enum {
    ROUND_BYTES = 256 * 1024, /* given in one round of the loop, until the others are deferred */
    STRIP_FROM = 9            /* messages; fewer are as soon rendered as looked for in a strip */
};

/* ---- waiting ---- */

static void park(struct conn *conn, struct group *group, uint64_t wait_ms)
{
    conn->server->held++;
    conn_park(conn, group, timer_jittered(wait_ms));
}

static struct group *join(struct conn *conn, const struct wanted *wanted)
{
    struct server *server = conn->server;
    const char *why;
    struct group *group = group_join(&server->groups, &server->scratch, wanted, &why);
    if (!group)
        server_refuse(conn, why);
    return group;
}

static void join_and_park(struct conn *conn, const struct wanted *wanted)
{
    struct group *group = server_admit(conn) ? join(conn, wanted) : NULL;
    if (group)
        park(conn, group, wanted->wait_ms);
}

static void defer(struct conn *conn, const struct wanted *wanted)
{
    struct group *group = join(conn, wanted);
    if (!group)
        return;
    struct deferred *deferred = malloc(sizeof *deferred);
    if (deferred) {
        *deferred = (struct deferred){group, wanted->cursor, wanted->wait_ms};
        conn_defer(conn, deferred);
    } else {
        group_leave(&conn->server->groups, group);
        conn_refuse_for(conn, LOG_NO_MEMORY);
    }
}

void hold_deferred_left(struct server *server, struct deferred *deferred)
{
    group_leave(&server->groups, deferred->group);
    free(deferred);
}

/* Lets one that is held take what came after `before` in its turn, instead of at once. */
static void defer_held(struct server *server, struct conn *conn, struct group *group,
                       uint64_t before)
{
    struct deferred *deferred = malloc(sizeof *deferred);
    if (!deferred) {
        conn_refuse_for(conn, LOG_NO_MEMORY);
        return;
    }
    *deferred = (struct deferred){group, {CURSOR_AT, before}, 0}; /* it stays joined */
    server->held--;
    server_left(server);
    conn_defer(conn, deferred);
}

/* ---- answering at once ---- */

/* How much of it. While what is not taken is not much, one answer does not make it too much. */
static size_t answer_bytes(const struct server *server)
{
    size_t share = server->unsent.bytes_max / 4;
    if (unsent_is_much(&server->unsent))
        return ANSWER_BYTES_FEW;
    return share < ANSWER_BYTES ? share : ANSWER_BYTES;
}

/* Whether this round has given as much as it may. */
static bool round_is_over(struct server *server)
{
    if (server->loop_round != server->loop.rounds) {
        server->loop_round = server->loop.rounds;
        server->loop_round_bytes = 0;
    }
    return server->loop_round_bytes >= ROUND_BYTES;
}

static void answer(struct conn *conn, const struct shape *shape, const char *const *channels,
                   size_t count, const struct page *page, size_t most)
{
    struct server *server = conn->server;
    const char *epoch = log_epoch(server->log);
    struct frame *frame;
    if (shape->format == FORMAT_JSON && page->count >= STRIP_FROM)
        frame =
            render_behind(&server->strips, &server->scratch, epoch, channels, count, page, most);
    else
        frame = render_page(&server->scratch, shape->format, epoch, page, most);
    server->loop_round_bytes += frame ? frame->len : 0;
    conn_answer(conn, frame);
}

/* Answers with what is newer than the cursor, and returns true; or returns false, as there is
 * nothing. Between that and parking nothing can happen: only this thread moves the head
 * (invariant 3). */
static bool answered(struct conn *conn, const struct shape *shape, const char *const *channels,
                     size_t count, struct cursor cursor, uint64_t wait_ms)
{
    struct server *server = conn->server;
    size_t most = answer_bytes(server);
    struct page page;
    enum log_status status = log_read(server->log, channels, count, cursor,
                                      (struct page_limit){shape->limit, most}, &page);
    bool nothing = status == LOG_OK && page.count == 0 && !page.reset && wait_ms > 0;
    if (status != LOG_OK)
        conn_refuse_for(conn, status);
    else if (!nothing)
        answer(conn, shape, channels, count, &page, most);
    page_free(&page);
    return !nothing;
}

/* Whether the cursor is where the head is, so that there is nothing to be given. */
static bool is_at_head(const struct server *server, struct cursor cursor)
{
    return cursor.kind == CURSOR_NOW ||
           (cursor.kind == CURSOR_AT && cursor.seq == log_head(server->log));
}

void hold_poll(struct conn *conn, const struct wanted *wanted)
{
    if (round_is_over(conn->server) && !is_at_head(conn->server, wanted->cursor))
        defer(conn, wanted);
    else if (!answered(conn, &wanted->shape, wanted->channels, wanted->count, wanted->cursor,
                       wanted->wait_ms))
        join_and_park(conn, wanted);
}

void hold_turn(struct conn *conn)
{
    struct deferred deferred = *conn->u.deferred;
    const char *channels[WANTED_CHANNELS_MAX];
    size_t count = group_channels(deferred.group, channels);
    if (answered(conn, &deferred.group->shape, channels, count, deferred.cursor, deferred.wait_ms))
        return;
    if (!server_admit(conn))
        return;
    free(conn->u.deferred); /* the group stays joined */
    park(conn, deferred.group, deferred.wait_ms);
}

/* ---- news, and the end ---- */

void hold_left(struct server *server, struct group *group)
{
    server->held--;
    group_leave(&server->groups, group);
    server_left(server);
}

static struct frame *nothing_new(struct server *server, const struct group *group)
{
    return render_nothing(&server->scratch, group->shape.format, log_epoch(server->log),
                          log_head(server->log));
}

void hold_expired(struct conn *conn)
{
    conn_answer(conn, nothing_new(conn->server, conn->u.group));
}

/* Answers everybody who waits in the group, which may be gone afterwards. */
static void answer_all(struct group *group, struct frame *frame)
{
    struct conn *conn = LIST_FIRST(&group->conns);
    while (conn) {
        struct conn *next = LIST_NEXT(conn, link);
        conn_answer(conn, frame ? frame_hold(frame) : NULL);
        conn = next;
    }
}

void hold_release(struct server *server, struct group *group)
{
    struct frame *frame = nothing_new(server, group);
    answer_all(group, frame);
    frame_drop(frame);
}

/* Lets everybody who waits in the group take the news in its turn. */
static void defer_all(struct server *server, struct group *group, uint64_t before)
{
    struct conn *conn = LIST_FIRST(&group->conns);
    while (conn) {
        struct conn *next = LIST_NEXT(conn, link);
        defer_held(server, conn, group, before);
        conn = next;
    }
}

static struct frame *render_news(struct server *server, const struct group *group, uint64_t before)
{
    const char *channels[WANTED_CHANNELS_MAX];
    size_t most = answer_bytes(server);
    struct page page;
    enum log_status status = log_read(server->log, channels, group_news_channels(group, channels),
                                      (struct cursor){CURSOR_AT, before},
                                      (struct page_limit){group->shape.limit, most}, &page);
    if (status != LOG_OK)
        return render_refusal(status);
    struct frame *frame = round_frame(&server->round, &server->scratch, group->shape.format,
                                      log_epoch(server->log), &page, most);
    page_free(&page);
    return frame;
}

void hold_wake(struct server *server, struct group *group, uint64_t before)
{
    if (LIST_EMPTY(&group->conns))
        return; /* all are deferred */
    if (server_news_can_wait(server)) {
        defer_all(server, group, before);
        return;
    }
    struct frame *frame = render_news(server, group, before);
    answer_all(group, frame);
    frame_drop(frame);
}

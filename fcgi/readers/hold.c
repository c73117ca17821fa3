#include "fcgi/readers/hold.h"

#include <stdlib.h>

#include "fcgi/conn/answer.h"
#include "fcgi/conn/refusal.h"
#include "fcgi/readers/render.h"

/* A poll that waits for its turn to be given what is newer than its cursor. */
struct deferred {
    struct group *group; /* joined */
    struct cursor cursor;
    uint64_t wait_ms;
};

enum {
    ROUND_BYTES = 256 * 1024 /* given to polls in one round of the loop; the rest are deferred */
};

/* ---- waiting ---- */

static void expire_hold(struct conn *conn);
static void take_turn(struct conn *conn, uint32_t events);
static void wake_holds(struct group *group, uint64_t before);
static void release_holds(struct group *group);

static void leave_hold(struct conn *conn, void *in)
{
    (void)conn;
    struct group *group = in;
    struct readers *readers = group->readers;
    group_leave(&readers->groups, group);
    admission_leave(readers->admission);
}

static void leave_deferred(struct conn *conn, void *in)
{
    (void)conn;
    struct deferred *deferred = in;
    group_leave(&deferred->group->readers->groups, deferred->group);
    free(deferred);
}

/* Held, in a struct group that it has joined. */
static const struct wait hold_wait = {.name = "held", .expired = expire_hold, .left = leave_hold};

/* Its turn has not come yet; in a struct deferred. */
static const struct wait deferred_wait = {
    .name = "deferred", .ready = take_turn, .left = leave_deferred};

static const struct readers_ops hold_ops = {.wake = wake_holds, .release = release_holds};

static struct group *join(struct readers *readers, struct conn *conn, const struct wanted *wanted)
{
    const char *why;
    struct group *group = group_join(&readers->groups, &hold_ops, wanted, &why);
    if (!group)
        admission_refuse(readers->admission, conn, why);
    return group;
}

/* Holds the connection, which has been admitted and has joined the group. */
static void hold(struct conn *conn, struct group *group, uint64_t wait_ms)
{
    admission_enter(group->readers->admission);
    conn_wait(conn, &group->conns, &hold_wait, group, timer_jittered(wait_ms));
    if (conn->watch == WATCH_LATER)
        conn_watch(conn, WATCH_INPUT);
}

static void join_and_hold(struct readers *readers, struct conn *conn, const struct wanted *wanted)
{
    struct group *group =
        admission_check(readers->admission, conn) ? join(readers, conn, wanted) : NULL;
    if (group)
        hold(conn, group, wanted->wait_ms);
}

/* Lets the connection take what is newer than the cursor in its turn. It has joined the group. */
static void defer(struct conn *conn, struct deferred deferred)
{
    struct deferred *in = malloc(sizeof *in);
    if (!in) {
        group_leave(&deferred.group->readers->groups, deferred.group);
        conn_refuse_for_log(conn, LOG_NO_MEMORY);
        return;
    }
    *in = deferred;
    conn_wait(conn, &conn->conns->busy, &deferred_wait, in, CONN_FOREVER);
    conn_watch(conn, WATCH_LATER);
}

static void join_and_defer(struct readers *readers, struct conn *conn, const struct wanted *wanted)
{
    struct group *group = join(readers, conn, wanted);
    if (group)
        defer(conn, (struct deferred){group, wanted->cursor, wanted->wait_ms});
}

/* ---- answering at once ---- */

/* How many bytes of messages an answer may have: never more than a quarter of --unsent. So if not
 * much is unsent, one answer does not make it too much. */
static size_t answer_bytes(const struct unsent *unsent)
{
    size_t share = unsent->bytes_max / 4;
    if (unsent_is_much(unsent))
        return ANSWER_BYTES_FEW;
    return share < ANSWER_BYTES ? share : ANSWER_BYTES;
}

/* Whether this round of the loop has given as much as it may. */
static bool is_round_over(struct readers *readers)
{
    uint64_t rounds = readers->conns->loop->rounds;
    if (readers->polls_round != rounds) {
        readers->polls_round = rounds;
        readers->polls_round_bytes = 0;
    }
    return readers->polls_round_bytes >= ROUND_BYTES;
}

static void answer_page(struct readers *readers, struct conn *conn, enum format format,
                        const struct page *page, size_t most)
{
    struct frame *frame =
        render_page(&readers->rendered, &readers->conns->scratch, format, page, most);
    readers->polls_round_bytes += frame ? frame->len : 0;
    conn_answer(conn, frame);
}

/* Answers with what is newer than the cursor, and returns true; or returns false, as there is
 * nothing. Between that and holding nothing can happen: only this thread moves the head
 * (invariant 3). */
static bool answer_at_once(struct readers *readers, struct conn *conn, const struct shape *shape,
                           const char *const *channels, size_t count, struct cursor cursor,
                           uint64_t wait_ms)
{
    size_t most = answer_bytes(&readers->conns->unsent);
    struct page page;
    enum log_status status = log_read(readers->log, channels, count, cursor,
                                      (struct page_limit){shape->limit, most}, &page);
    bool nothing = status == LOG_OK && page.count == 0 && !page.reset && wait_ms > 0;
    if (status != LOG_OK)
        conn_refuse_for_log(conn, status);
    else if (!nothing)
        answer_page(readers, conn, shape->format, &page, most);
    page_free(&page);
    return !nothing;
}

/* Whether the cursor is where the head is, so that there is nothing to be given. */
static bool is_at_head(const struct log *log, struct cursor cursor)
{
    return cursor.kind == CURSOR_NOW || (cursor.kind == CURSOR_AT && cursor.seq == log_head(log));
}

void hold_poll(struct readers *readers, struct conn *conn, const struct wanted *wanted)
{
    if (is_round_over(readers) && !is_at_head(readers->log, wanted->cursor))
        join_and_defer(readers, conn, wanted);
    else if (!answer_at_once(readers, conn, &wanted->shape, wanted->channels, wanted->count,
                             wanted->cursor, wanted->wait_ms))
        join_and_hold(readers, conn, wanted);
}

/* The turn of one that was deferred has come. */
static void take_turn(struct conn *conn, uint32_t events)
{
    if (events & CONN_GONE) {
        conn_end(conn);
        return;
    }
    struct deferred deferred = *(struct deferred *)conn->in;
    struct group *group = deferred.group;
    struct readers *readers = group->readers;
    const char *channels[WANTED_CHANNELS_MAX];
    size_t count = group_channels(group, channels);
    if (answer_at_once(readers, conn, &group->shape, channels, count, deferred.cursor,
                       deferred.wait_ms) ||
        !admission_check(readers->admission, conn))
        return;
    group_rejoin(group); /* since leave_deferred leaves the group once */
    hold(conn, group, deferred.wait_ms);
}

/* ---- news, and the end ---- */

static struct frame *nothing_new(const struct group *group)
{
    struct readers *readers = group->readers;
    return render_nothing(&readers->rendered, &readers->conns->scratch, group->shape.format,
                          log_head(readers->log));
}

/* The time of a hold is over: its answer says so. */
static void expire_hold(struct conn *conn)
{
    conn_answer(conn, nothing_new(conn->in));
}

/* Answers all who wait in the group, and drops the reference. */
static void answer_holds(struct group *group, struct frame *frame)
{
    struct conn *conn = LIST_FIRST(&group->conns);
    while (conn) {
        struct conn *next = LIST_NEXT(conn, link);
        conn_answer(conn, frame ? frame_hold(frame) : NULL);
        conn = next;
    }
    frame_drop(frame);
}

static void release_holds(struct group *group)
{
    answer_holds(group, nothing_new(group));
}

/* Lets all who wait in the group take what came after `before` in their turn. */
static void defer_holds(struct group *group, uint64_t before)
{
    struct conn *conn = LIST_FIRST(&group->conns);
    while (conn) {
        struct conn *next = LIST_NEXT(conn, link);
        group_rejoin(group); /* since leave_hold leaves the group once */
        defer(conn, (struct deferred){group, {CURSOR_AT, before}, 0});
        conn = next;
    }
}

static struct frame *render_news(struct group *group, uint64_t before)
{
    struct readers *readers = group->readers;
    const char *channels[WANTED_CHANNELS_MAX];
    size_t most = answer_bytes(&readers->conns->unsent);
    struct page page;
    enum log_status status = log_read(readers->log, channels, group_news_channels(group, channels),
                                      (struct cursor){CURSOR_AT, before},
                                      (struct page_limit){group->shape.limit, most}, &page);
    if (status != LOG_OK)
        return refusal_frame(status);
    struct frame *frame = round_frame(&readers->round, &readers->rendered, &readers->conns->scratch,
                                      group->shape.format, &page, most);
    page_free(&page);
    return frame;
}

/* Answers every hold of the group with the news; or defers them, when much has been given in this
 * round of news, or is not taken. */
static void wake_holds(struct group *group, uint64_t before)
{
    if (LIST_EMPTY(&group->conns))
        return; /* all are deferred */
    if (readers_news_can_wait(group->readers))
        defer_holds(group, before);
    else
        answer_holds(group, render_news(group, before));
}

/* Their clients must ask again. The refusal is short, so any socket takes it. */
void hold_refuse_deferred(struct readers *readers)
{
    struct conn *conn = LIST_FIRST(&readers->conns->busy);
    while (conn) {
        struct conn *next = LIST_NEXT(conn, link);
        if (conn_waits(conn, &deferred_wait))
            conn_refuse_for_now(conn, ADMISSION_STOPPING);
        conn = next;
    }
}

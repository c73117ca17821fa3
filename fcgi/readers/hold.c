#include "fcgi/readers/hold.h"

#include <stdlib.h>

#include "fcgi/conn/answer.h"
#include "fcgi/conn/refusal.h"
#include "fcgi/readers/render.h"

/* A poll that waits for its turn to be given what is newer than its cursor, or for the disk. */
struct deferred {
    struct group *group; /* joined */
    struct cursor cursor;
    uint64_t wait_ms;
    struct read *read; /* NULL: it waits for its turn, or not yet for the disk */
};

enum {
    ROUND_BYTES = 256 * 1024 /* given to polls in one round of the loop; the rest are deferred */
};

/* ---- waiting ---- */

static void expire_hold(struct conn *conn);
static void take_turn(struct conn *conn, uint32_t events);
static void wake_holds(struct group *group, uint64_t before);
static void release_holds(struct group *group);
static void restart_holds(struct group *group);

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
    struct readers *readers = deferred->group->readers;
    if (deferred->read)
        log_read_cancel(readers->log, deferred->read);
    group_leave(&readers->groups, deferred->group);
    free(deferred);
}

/* Held, in a struct group that it has joined. */
static const struct wait hold_wait = {.name = "held", .expired = expire_hold, .left = leave_hold};

/* Its turn has not come yet; in a struct deferred. */
static const struct wait deferred_wait = {
    .name = "deferred", .ready = take_turn, .left = leave_deferred};

/* Its page is read from the disk; in a struct deferred. */
static const struct wait page_wait = {.name = "page", .left = leave_deferred};

static const struct readers_ops hold_ops = {
    .wake = wake_holds, .restart = restart_holds, .release = release_holds};

static struct group *join(struct readers *readers, struct conn *conn, const struct wanted *wanted)
{
    const char *why;
    struct group *group = group_join(&readers->groups, &hold_ops, wanted, &why);
    if (!group)
        admission_refuse(readers->admission, conn, why);
    return group;
}

static void stop_taking_turns(struct conn *conn)
{
    if (conn->watch == WATCH_LATER)
        conn_watch(conn, WATCH_INPUT);
}

/* Holds the connection, which has been admitted and has joined the group. */
static void hold(struct conn *conn, struct group *group, uint64_t wait_ms)
{
    admission_enter(group->readers->admission);
    conn_wait(conn, &group->conns, &hold_wait, group, timer_jittered(wait_ms));
    stop_taking_turns(conn);
}

static void join_and_hold(struct readers *readers, struct conn *conn, const struct wanted *wanted)
{
    struct group *group =
        admission_check(readers->admission, conn) ? join(readers, conn, wanted) : NULL;
    if (group)
        hold(conn, group, wanted->wait_ms);
}

/* Lets the connection wait for its turn, or for the disk. Its poll has joined the group. Returns
 * what it waits in; NULL when out of memory, and then it has been refused. */
static struct deferred *wait_deferred(struct conn *conn, const struct wait *wait,
                                      struct deferred deferred)
{
    struct deferred *in = malloc(sizeof *in);
    if (!in) {
        group_leave(&deferred.group->readers->groups, deferred.group);
        conn_refuse_for_log(conn, LOG_NO_MEMORY);
        return NULL;
    }
    *in = deferred;
    conn_wait(conn, &conn->conns->busy, wait, in, CONN_FOREVER);
    return in;
}

/* Lets the connection take what is newer than the cursor in its turn. */
static void defer(struct conn *conn, struct deferred deferred)
{
    if (wait_deferred(conn, &deferred_wait, deferred))
        conn_watch(conn, WATCH_LATER);
}

/* There is nothing for a poll that was deferred. */
static void hold_deferred(struct conn *conn)
{
    const struct deferred *deferred = conn->in;
    struct group *group = deferred->group;
    uint64_t wait_ms = deferred->wait_ms;
    if (!admission_check(group->readers->admission, conn))
        return;
    group_rejoin(group); /* since leave_deferred leaves the group once */
    hold(conn, group, wait_ms);
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
    struct frame *frame = render_page(&readers->rendered, format, page, most);
    readers->polls_round_bytes += frame ? frame->len : 0;
    conn_answer(conn, frame);
}

/* Answers with the page that was read, or why it could not be, and returns true; or returns false,
 * as there is nothing. Between that and holding nothing can happen: only this thread moves the head
 * (invariant 3). */
static bool give_page(struct readers *readers, struct conn *conn, enum format format,
                      uint64_t wait_ms, enum log_status status, const struct page *page)
{
    bool nothing = status == LOG_OK && page->count == 0 && !page->reset && wait_ms > 0;
    if (status != LOG_OK)
        conn_refuse_for_log(conn, status);
    else if (!nothing)
        answer_page(readers, conn, format, page, answer_bytes(&readers->conns->unsent));
    return !nothing;
}

static struct page_limit page_limit_of(const struct readers *readers, const struct shape *shape)
{
    return (struct page_limit){shape->limit, answer_bytes(&readers->conns->unsent)};
}

/* ---- from the disk ---- */

/* The page of a poll is there. */
static void on_poll_page(void *owner, enum log_status status, struct page *page)
{
    struct conn *conn = owner;
    struct deferred *deferred = conn->in;
    struct group *group = deferred->group;
    deferred->read = NULL;
    if (!give_page(group->readers, conn, group->shape.format, deferred->wait_ms, status, page))
        hold_deferred(conn);
}

/* Has the page for a poll, which has joined the group, read from the disk. A drain waits for no
 * disk. */
static void read_poll_page(struct conn *conn, struct deferred deferred)
{
    struct readers *readers = deferred.group->readers;
    const char *channels[WANTED_CHANNELS_MAX];
    size_t count = group_channels(deferred.group, channels);
    struct deferred *in = wait_deferred(conn, &page_wait, deferred);
    if (!in)
        return;
    if (conn->conns->draining) {
        conn_refuse_for_now(conn, ADMISSION_STOPPING);
        return;
    }
    enum log_status status =
        log_read_later(readers->log, channels, count, in->cursor,
                       page_limit_of(readers, &in->group->shape), on_poll_page, conn, &in->read);
    if (status != LOG_OK)
        conn_refuse_for_log(conn, status);
    else
        stop_taking_turns(conn);
}

/* ---- asking ---- */

/* Whether the cursor is where the head is, so that there is nothing to be given. */
static bool is_at_head(const struct log *log, struct cursor cursor)
{
    return cursor.kind == CURSOR_NOW || (cursor.kind == CURSOR_AT && cursor.seq == log_head(log));
}

static void join_and_wait(struct readers *readers, struct conn *conn, const struct wanted *wanted,
                          void (*wait)(struct conn *conn, struct deferred deferred))
{
    struct group *group = join(readers, conn, wanted);
    if (group)
        wait(conn, (struct deferred){group, wanted->cursor, wanted->wait_ms, NULL});
}

/* Answers a poll from memory, holds it, or has the disk asked. */
static void poll_now(struct readers *readers, struct conn *conn, const struct wanted *wanted)
{
    struct page page;
    enum log_status status = log_read(readers->log, wanted->channels, wanted->count, wanted->cursor,
                                      page_limit_of(readers, &wanted->shape), &page);
    if (status == LOG_LATER)
        join_and_wait(readers, conn, wanted, read_poll_page);
    else if (!give_page(readers, conn, wanted->shape.format, wanted->wait_ms, status, &page))
        join_and_hold(readers, conn, wanted);
    page_free(&page);
}

void hold_poll(struct readers *readers, struct conn *conn, const struct wanted *wanted)
{
    if (is_round_over(readers) && !is_at_head(readers->log, wanted->cursor))
        join_and_wait(readers, conn, wanted, defer);
    else
        poll_now(readers, conn, wanted);
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
    struct page page;
    enum log_status status = log_read(readers->log, channels, count, deferred.cursor,
                                      page_limit_of(readers, &group->shape), &page);
    if (status == LOG_LATER) {
        group_rejoin(group); /* since leave_deferred leaves the group once */
        read_poll_page(conn, deferred);
    } else if (!give_page(readers, conn, group->shape.format, deferred.wait_ms, status, &page)) {
        hold_deferred(conn);
    }
    page_free(&page);
}

/* ---- news, and the end ---- */

static struct frame *nothing_new(const struct group *group)
{
    struct readers *readers = group->readers;
    return render_nothing(&readers->rendered, group->shape.format, log_head(readers->log));
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

/* Lets all who wait in the group take what came after the cursor in their turn. */
static void defer_holds(struct group *group, struct cursor cursor)
{
    struct conn *conn = LIST_FIRST(&group->conns);
    while (conn) {
        struct conn *next = LIST_NEXT(conn, link);
        group_rejoin(group); /* since leave_hold leaves the group once */
        defer(conn, (struct deferred){group, cursor, 0, NULL});
        conn = next;
    }
}

static const struct cursor unknown = {.kind = CURSOR_UNKNOWN};

static void restart_holds(struct group *group)
{
    defer_holds(group, unknown);
}

/* One that waits for the disk gets the answer of the new beginning (store/log.h). */
void hold_restart(struct readers *readers)
{
    struct conn *conn;
    LIST_FOREACH (conn, &readers->conns->busy, link) {
        struct deferred *deferred = conn->in;
        if (conn_waits(conn, &deferred_wait))
            deferred->cursor = unknown;
    }
}

/* Answers every hold of the group with the page of news, or why there is none. */
static void give_news_page(struct group *group, enum log_status status, const struct page *page)
{
    struct readers *readers = group->readers;
    struct frame *frame;
    if (status == LOG_OK)
        frame = round_frame(&readers->round, &readers->rendered, group->shape.format, page,
                            answer_bytes(&readers->conns->unsent));
    else
        frame = refusal_frame(status);
    answer_holds(group, frame);
}

/* Answers every hold of the group with the news; or defers them, when much has been given in this
 * round of news, or is not taken, or when memory does not have it. */
static void wake_holds(struct group *group, uint64_t before)
{
    struct readers *readers = group->readers;
    struct cursor cursor = {CURSOR_AT, before};
    const char *channels[WANTED_CHANNELS_MAX];
    if (LIST_EMPTY(&group->conns))
        return; /* all are deferred */
    if (readers_news_can_wait(readers)) {
        defer_holds(group, cursor);
        return;
    }
    struct page page;
    enum log_status status = log_read(readers->log, channels, group_news_channels(group, channels),
                                      cursor, page_limit_of(readers, &group->shape), &page);
    if (status == LOG_LATER)
        defer_holds(group, cursor);
    else
        give_news_page(group, status, &page);
    page_free(&page);
}

/* The refusal is short, so any socket takes it. */
static void refuse_who_wait(struct readers *readers, const struct wait *wait)
{
    struct conn *conn = LIST_FIRST(&readers->conns->busy);
    while (conn) {
        struct conn *next = LIST_NEXT(conn, link);
        if (conn_waits(conn, wait))
            conn_refuse_for_now(conn, ADMISSION_STOPPING);
        conn = next;
    }
}

void hold_refuse_deferred(struct readers *readers)
{
    refuse_who_wait(readers, &deferred_wait);
}

void hold_refuse_reads(struct readers *readers)
{
    refuse_who_wait(readers, &page_wait);
}

#include "store/retention.h"

#include <stdlib.h>

#include "store/sql.h"

/* Messages become too many, or too old, one by one. To delete each in its own transaction would
 * cost as much as to append it, and keep the disk busy for nothing. So there may be a little more
 * than what is kept, and then all of that is deleted together: a sixteenth more messages of a
 * channel that keeps 1,000 or more, but at most 1,000; a thousandth more bytes; and what is too old
 * may become a thousandth older, but at most 10 s. */
enum {
    SLACK_COUNT_FROM = 1000,
    SLACK_COUNT_PART = 16,
    SLACK_MAX_COUNT = 1000,
    SLACK_PART = 1024,
    SLACK_MAX_MS = 10000
};

uint64_t retention_most_messages(const struct retention_limits *limits)
{
    uint64_t keep = limits->keep_messages;
    uint64_t slack = keep < SLACK_COUNT_FROM ? 0 : keep / SLACK_COUNT_PART;
    return keep + (slack < SLACK_MAX_COUNT ? slack : SLACK_MAX_COUNT);
}

uint64_t retention_most_bytes(const struct retention_limits *limits)
{
    return limits->keep_bytes + limits->keep_bytes / SLACK_PART;
}

int retention_init(struct retention *retention, sqlite3 *db, struct ledger *ledger,
                   const struct retention_limits *limits)
{
    *retention = (struct retention){.limits = *limits, .db = db, .ledger = ledger};
    retention_undo(retention);
    int rc = index_walk_init(&retention->walk, db);
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &retention->length, "SELECT length(data) FROM message WHERE seq = ?1");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &retention->trim_one, "DELETE FROM message WHERE seq = ?1");
    /* it runs twice: to find out how far to delete, and then, up to there, for the books */
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &retention->oldest,
                         "SELECT seq, channel, length(data), time_ms FROM message "
                         "WHERE seq <= ?1 ORDER BY seq");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &retention->trim_oldest, "DELETE FROM message WHERE seq <= ?1");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &retention->next_over,
                         "SELECT id FROM channel WHERE id > ?1 AND count > ?2 ORDER BY id LIMIT 1");
    return rc;
}

void retention_free(struct retention *retention)
{
    index_walk_free(&retention->walk);
    sqlite3_finalize(retention->length);
    sqlite3_finalize(retention->trim_one);
    sqlite3_finalize(retention->oldest);
    sqlite3_finalize(retention->trim_oldest);
    sqlite3_finalize(retention->next_over);
}

void retention_undo(struct retention *retention)
{
    const struct retention_limits *limits = &retention->limits;
    retention->sweeping = limits->keep_messages > 0;
    retention->swept = 0;
    retention->due_ms = limits->keep_age_ms ? INT64_MIN : INT64_MAX;
    retention->backlog = limits->keep_bytes > 0;
}

static bool clock_was_set(const struct retention *retention, const struct moment *now)
{
    return llabs(now->wall_ms - now->steady_ms - retention->offset_ms) > STAMPS_SLACK_MS;
}

/* Whether a message may be too old. */
static bool age_is_due(const struct retention *retention, const struct moment *now)
{
    return now->steady_ms >= retention->due_ms ||
           (retention->due_ms != INT64_MAX && clock_was_set(retention, now));
}

bool retention_is_due(const struct retention *retention, const struct moment *now)
{
    return retention->backlog || retention->sweeping || age_is_due(retention, now);
}

/* ---- by number ---- */

/* Deletes message seq of the channel. */
static int delete_one(struct retention *retention, struct channel *channel, uint64_t seq)
{
    sqlite3_int64 length = 0;
    int rc = sqlite3_bind_int64(retention->length, 1, (sqlite3_int64)seq);
    if (rc == SQLITE_OK)
        rc = sql_number(retention->length, &length);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
    rc = ledger_remove(retention->ledger, channel, seq, (size_t)length);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(retention->trim_one, 1, (sqlite3_int64)seq);
    return rc == SQLITE_OK ? sql_run(retention->trim_one) : rc;
}

/* Deletes the oldest messages of one channel down to keep_messages, but *left at most. */
static int trim_channel(struct retention *retention, struct channel *channel, uint64_t *left)
{
    struct index_walk *walk = &retention->walk;
    int rc = index_walk_start(walk, channel->id, channel->floor);
    while (rc == SQLITE_ROW && *left && channel->count > retention->limits.keep_messages) {
        rc = delete_one(retention, channel, walk->seq);
        --*left;
        if (rc == SQLITE_OK)
            rc = index_walk_next(walk);
    }
    index_walk_end(walk);
    if (rc == SQLITE_DONE && channel->count > retention->limits.keep_messages)
        return SQLITE_CORRUPT; /* the index lacks some of them */
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static bool has_too_many(const struct retention *retention, const struct channel *channel)
{
    return retention->limits.keep_messages &&
           channel->count > retention_most_messages(&retention->limits);
}

/* Trims the channels that this transaction changed. Once the sweep is done, no other channel can
 * have too many messages. */
static int trim_changed(struct retention *retention, uint64_t *left)
{
    int rc = SQLITE_OK;
    struct channel *channel;
    TAILQ_FOREACH (channel, &retention->ledger->changed, changes) {
        if (*left && has_too_many(retention, channel))
            rc = trim_channel(retention, channel, left);
        if (rc != SQLITE_OK)
            return rc;
        if (has_too_many(retention, channel)) {
            retention->sweeping = true;
            retention->swept = 0;
        }
    }
    return SQLITE_OK;
}

/* Finds the next channel, after those that were swept, whose row counts too many messages. Returns
 * SQLITE_ROW with *out, SQLITE_DONE, or the error. */
static int find_next_to_trim(struct retention *retention, struct channel **out)
{
    sqlite3_int64 id = 0;
    uint64_t most = retention_most_messages(&retention->limits);
    int rc = sqlite3_bind_int64(retention->next_over, 1, retention->swept);
    *out = NULL;
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(retention->next_over, 2, (sqlite3_int64)most);
    if (rc == SQLITE_OK)
        rc = sql_number(retention->next_over, &id);
    if (rc == SQLITE_ROW)
        rc = ledger_channel_by_id(retention->ledger, id, out);
    return rc == SQLITE_OK && *out ? SQLITE_ROW : rc;
}

/* Walks the table of channels once, some of it in each transaction. */
static int sweep_channels(struct retention *retention, uint64_t *left)
{
    int rc = SQLITE_OK;
    struct channel *channel;
    while (retention->sweeping && *left && rc == SQLITE_OK) {
        rc = find_next_to_trim(retention, &channel);
        if (rc == SQLITE_DONE) {
            retention->sweeping = false;
            return SQLITE_OK;
        }
        if (rc != SQLITE_ROW)
            return rc;
        rc = has_too_many(retention, channel) ? trim_channel(retention, channel, left) : SQLITE_OK;
        if (!has_too_many(retention, channel))
            retention->swept = channel->id;
    }
    return rc;
}

/* ---- by age and bytes ---- */

/* What the walk over the oldest messages finds. */
struct prefix {
    uint64_t bytes;  /* of the log, without the rows that were passed */
    uint64_t rows;   /* passed */
    uint64_t last;   /* the seq up to which all is to be deleted; 0: nothing */
    int64_t kept_ms; /* the time of the first message to keep; INT64_MIN: none was met */
    bool bounded;    /* the walk ended at its limit of rows */
};

enum verdict { DELETE, KEEP, ASK_NEXT };

/* The clock may have been set back or forth. The time of a message from the future says nothing of
 * its age. So the next message decides, and both are kept or deleted together: only the order of
 * the log decides which is deleted first. */
static enum verdict judge_oldest(const struct retention_limits *limits, uint64_t bytes,
                                 int64_t time_ms, int64_t now_ms)
{
    if (limits->keep_bytes && bytes > limits->keep_bytes)
        return DELETE;
    if (!limits->keep_age_ms)
        return KEEP;
    if (time_ms > now_ms)
        return ASK_NEXT;
    return now_ms - time_ms >= limits->keep_age_ms ? DELETE : KEEP;
}

/* Walks from the oldest message on to the first one to keep. */
static int find_prefix(struct retention *retention, const struct moment *now, uint64_t rows,
                       struct prefix *prefix)
{
    sqlite3_stmt *oldest = retention->oldest;
    *prefix = (struct prefix){.bytes = retention->ledger->now.bytes, .kept_ms = INT64_MIN};
    int rc = sqlite3_bind_int64(oldest, 1, INT64_MAX);
    if (rc != SQLITE_OK)
        return rc;
    while ((rc = sqlite3_step(oldest)) == SQLITE_ROW) {
        uint64_t seq = (uint64_t)sqlite3_column_int64(oldest, 0);
        int64_t time_ms =
            stamps_time(&retention->stamps, seq, sqlite3_column_int64(oldest, 3), now);
        enum verdict verdict =
            judge_oldest(&retention->limits, prefix->bytes, time_ms, now->wall_ms);
        if (prefix->rows == 0)
            stamps_forget(&retention->stamps, seq);
        if (verdict == KEEP)
            prefix->kept_ms = time_ms;
        prefix->bounded = prefix->rows == rows;
        if (verdict == KEEP || prefix->bounded)
            break;
        if (verdict == DELETE)
            prefix->last = seq;
        struct channel *channel;
        rc = ledger_channel_by_id(retention->ledger, sqlite3_column_int64(oldest, 1), &channel);
        if (rc != SQLITE_OK)
            break;
        size_t size = message_size_of(channel->name_len, (size_t)sqlite3_column_int64(oldest, 2));
        prefix->bytes -= size < prefix->bytes ? size : prefix->bytes;
        prefix->rows++;
    }
    sqlite3_reset(oldest);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int64_t age_due_ms(const struct retention *retention, const struct prefix *prefix,
                          const struct moment *now)
{
    int64_t age_ms = retention->limits.keep_age_ms;
    int64_t slack_ms = age_ms / SLACK_PART < SLACK_MAX_MS ? age_ms / SLACK_PART : SLACK_MAX_MS;
    int64_t age_now_ms = prefix->kept_ms == INT64_MIN ? 0 : now->wall_ms - prefix->kept_ms;
    if (age_ms == 0 || retention->ledger->now.messages == 0 || age_ms > INT64_MAX / 4)
        return INT64_MAX;
    return now->steady_ms - age_now_ms + age_ms + slack_ms;
}

/* While the log is empty, due_ms is INT64_MAX; its first message makes a look due. */
static bool prefix_is_due(const struct retention *retention, const struct moment *now)
{
    const struct retention_limits *limits = &retention->limits;
    const struct totals *totals = &retention->ledger->now;
    if (limits->keep_bytes && totals->bytes > retention_most_bytes(limits))
        return true;
    return limits->keep_age_ms &&
           (age_is_due(retention, now) || (retention->due_ms == INT64_MAX && totals->messages));
}

/* Removes from the books the messages up to `last`, and lowers *left by their number. */
static int forget_prefix(struct retention *retention, uint64_t last, uint64_t *left)
{
    sqlite3_stmt *oldest = retention->oldest;
    int rc = sqlite3_bind_int64(oldest, 1, (sqlite3_int64)last);
    if (rc != SQLITE_OK)
        return rc;
    while ((rc = sqlite3_step(oldest)) == SQLITE_ROW) {
        struct channel *channel;
        rc = ledger_channel_by_id(retention->ledger, sqlite3_column_int64(oldest, 1), &channel);
        if (rc == SQLITE_OK)
            rc =
                ledger_remove(retention->ledger, channel, (uint64_t)sqlite3_column_int64(oldest, 0),
                              (size_t)sqlite3_column_int64(oldest, 2));
        if (rc != SQLITE_OK)
            break;
        if (*left)
            --*left;
    }
    sqlite3_reset(oldest);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Deletes the messages up to `last`. To read them first and then delete them costs half of what
 * DELETE ... RETURNING does, which collects what it returns in a table of its own. */
static int delete_prefix(struct retention *retention, uint64_t last, uint64_t *left)
{
    uint64_t before = retention->ledger->now.messages;
    int rc = forget_prefix(retention, last, left);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(retention->trim_oldest, 1, (sqlite3_int64)last);
    if (rc == SQLITE_OK)
        rc = sql_run(retention->trim_oldest);
    if (rc != SQLITE_OK)
        return rc;
    return before - retention->ledger->now.messages == (uint64_t)sqlite3_changes64(retention->db)
               ? SQLITE_OK
               : SQLITE_CORRUPT; /* the two statements found different rows */
}

static int trim_prefix(struct retention *retention, const struct moment *now, uint64_t *left)
{
    retention->backlog = prefix_is_due(retention, now);
    if (!retention->backlog || *left == 0)
        return SQLITE_OK;
    struct prefix prefix;
    int rc = find_prefix(retention, now, *left, &prefix);
    if (rc == SQLITE_OK && prefix.last)
        rc = delete_prefix(retention, prefix.last, left);
    if (rc != SQLITE_OK)
        return rc;
    retention->backlog = prefix.bounded && prefix.last;
    retention->due_ms = age_due_ms(retention, &prefix, now);
    retention->offset_ms = now->wall_ms - now->steady_ms;
    return SQLITE_OK;
}

/* Whether a channel that this transaction changed has too many messages. */
static bool is_change_too_many(const struct retention *retention)
{
    const struct channel *channel;
    TAILQ_FOREACH (channel, &retention->ledger->changed, changes) {
        if (has_too_many(retention, channel))
            return true;
    }
    return false;
}

bool retention_is_wanted(const struct retention *retention, const struct moment *now, bool idle)
{
    return (idle && retention->sweeping) || retention->backlog || prefix_is_due(retention, now) ||
           is_change_too_many(retention);
}

int retention_run(struct retention *retention, const struct moment *now, uint64_t rows, bool idle)
{
    uint64_t left = rows;
    int rc = trim_changed(retention, &left);
    if (rc == SQLITE_OK)
        rc = trim_prefix(retention, now, &left);
    if (rc == SQLITE_OK && idle)
        rc = sweep_channels(retention, &left);
    return rc;
}

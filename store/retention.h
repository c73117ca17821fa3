/* retention.h - what the log deletes: by count a channel, by age, and by total bytes.
 *
 * It runs inside the writer's transactions and deletes prefixes only: the oldest of one channel (by
 * count), or the oldest of the whole log (by age and bytes). That is why a floor a channel is
 * enough to tell every gap. A channel loses its last message only in the second way; so
 * log.forgotten is always below every message that is retained.
 *
 * Each transaction deletes a bounded number of rows. What is left over is `backlog`: the writer
 * goes on with it, in transactions of their own, whenever no append waits.
 *
 * The writer's thread only. Functions that return int return SQLite's result codes.
 */
#ifndef ENCKE_STORE_RETENTION_H
#define ENCKE_STORE_RETENTION_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/ledger.h"
#include "store/stamps.h"

struct retention_limits {
    uint64_t keep_messages; /* a channel; 0: no limit */
    int64_t keep_age_ms;    /* 0: no limit */
    uint64_t keep_bytes;    /* message_size of all; 0: no limit */
};

/* What there may be before the oldest go, down to keep_messages (of one channel) and keep_bytes. */
uint64_t retention_most_messages(const struct retention_limits *limits);
uint64_t retention_most_bytes(const struct retention_limits *limits);

struct retention {
    struct retention_limits limits;
    sqlite3 *db;
    struct ledger *ledger;
    sqlite3_stmt *oldest_of_channel, *trim_channel, *oldest, *trim_oldest, *next_over;
    struct stamps stamps;
    sqlite3_int64 swept; /* id up to which no channel is over its count, while sweeping */
    bool sweeping;       /* channels that no append touches may be over their count */
    bool backlog;        /* more is due already */
    int64_t due_ms;      /* by the steady clock: no message gets too old before this; INT64_MAX:
                            nothing to wait for */
    int64_t offset_ms;   /* what the wall clock was ahead of the steady one when that was found */
};

/* Prepares the statements. Begins with a look at everything: the limits may be lower than at the
 * last start. After a failure retention_free is still due. */
int retention_init(struct retention *retention, sqlite3 *db, struct ledger *ledger,
                   const struct retention_limits *limits);
void retention_free(struct retention *retention);

/* Whether a transaction only for retention has something to do now: also when the wall clock has
 * been set, as messages from before the start may be too old by it. */
bool retention_is_due(const struct retention *retention, const struct moment *now);

/* Deletes what is due now, about rows messages at most, in the transaction that runs on the
 * ledger. idle: no append waits, so channels that were not touched may be looked at. */
int retention_run(struct retention *retention, const struct moment *now, uint64_t rows, bool idle);

/* Message seq, stamped time_ms, was committed now. */
void retention_note(struct retention *retention, uint64_t seq, int64_t time_ms, int64_t steady_ms);

/* The transaction was rolled back: what was due may still be. */
void retention_undo(struct retention *retention);

#endif

/* retention.h - what the log deletes: by the number of messages of a channel, by age, and by total
 * bytes.
 *
 * It runs inside the writer's transactions and deletes prefixes only: the oldest messages of one
 * channel (by number), or the oldest of the whole log (by age and bytes). That is why one floor for
 * each channel is enough to tell every gap. Only in the second way does a channel lose its last
 * message; so log.forgotten is always below every message that is retained.
 *
 * Each transaction deletes a bounded number of rows. What is left over is the backlog: the writer
 * goes on with it, in transactions of its own, whenever no append waits.
 *
 * The writer's thread only. Functions that return int return SQLite's result codes.
 */
#ifndef ENCKE_STORE_RETENTION_H
#define ENCKE_STORE_RETENTION_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/index.h"
#include "store/ledger.h"
#include "store/stamps.h"

struct retention_limits {
    uint64_t keep_messages; /* of each channel; 0: no limit */
    int64_t keep_age_ms;    /* 0: no limit */
    uint64_t keep_bytes;    /* message_size of all messages; 0: no limit */
};

/* When a channel has more messages than this, or the log more bytes, the oldest are deleted until
 * keep_messages or keep_bytes are left. */
uint64_t retention_most_messages(const struct retention_limits *limits);
uint64_t retention_most_bytes(const struct retention_limits *limits);

struct retention {
    struct retention_limits limits;
    sqlite3 *db;
    struct ledger *ledger;
    struct index_walk walk;
    sqlite3_stmt *length, *trim_one, *oldest, *trim_oldest, *next_over;
    struct stamps stamps; /* noted by the committer */
    sqlite3_int64 swept;  /* while sweeping: no channel up to this id has too many messages */
    bool sweeping;        /* channels without an append may have too many messages */
    bool backlog;         /* more is to be deleted already */
    int64_t due_ms;       /* by the steady clock: no message becomes too old before this;
                             INT64_MAX: there is nothing to wait for */
    int64_t offset_ms;    /* the wall clock minus the steady one when due_ms was found */
};

/* Prepares the statements. At first it checks everything, as the limits may be lower than at the
 * last start. After a failure retention_free is still to be called. */
int retention_init(struct retention *retention, sqlite3 *db, struct ledger *ledger,
                   const struct retention_limits *limits);
void retention_free(struct retention *retention);

/* Whether a transaction only for retention has something to do now. It has, too, after the wall
 * clock was set: by the new time, messages from before the start may be too old. */
bool retention_is_due(const struct retention *retention, const struct moment *now);

/* Whether retention_run may have something to delete in the transaction that runs on the ledger. */
bool retention_is_wanted(const struct retention *retention, const struct moment *now, bool idle);

/* Deletes what is due now, at most about `rows` messages, in the transaction that runs on the
 * ledger and has settled. idle: no append waits, so channels that did not change may be checked.
 */
int retention_run(struct retention *retention, const struct moment *now, uint64_t rows, bool idle);

/* The transaction was rolled back: what was due may still be. */
void retention_undo(struct retention *retention);

#endif

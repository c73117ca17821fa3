/* once.h - the keys under which messages were stored lately, so that a publisher who tries again
 * stores a message once.
 *
 * A key belongs to a channel. What is kept of it is a hash of both, one of the message's text, and
 * the message's seq. It outlives its message, and restarts: a key and its message are one
 * transaction. It is kept for once_ms, and at most once_keys are kept: beyond that a message with a
 * key is refused, as to forget a key too early would break a promise.
 *
 * So that a message with a key is one page too, its key is in its row (schema.h) until the stretch
 * is settled (ledger.h). The keys of the stretch are in memory; older ones are in a table.
 *
 * The writer's thread only. Functions that return int return SQLite's result codes.
 */
#ifndef ENCKE_STORE_ONCE_H
#define ENCKE_STORE_ONCE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "store/clock.h"
#include "store/message.h"
#include "store/stamps.h"
#include "store/table.h"

struct once_key; /* a key of the stretch */
TAILQ_HEAD(once_list, once_key);

struct once_limits {
    int64_t keep_ms; /* how long a key is kept */
    uint64_t most;   /* how many */
};

struct once {
    struct once_limits limits;
    const struct stamps *stamps;           /* borrowed: how old a key is */
    struct once_key *keys;                 /* of the stretch, and of this transaction */
    struct once_list stretch;              /* those that are committed, in order of seq */
    struct once_list now;                  /* those of this transaction */
    uint64_t settled;                      /* in the table, as of this transaction */
    uint64_t count;                        /* in all, as of this transaction */
    uint64_t settled_before, count_before; /* as of the last COMMIT */
    bool crowded; /* a message was refused for lack of room: settle, so that old keys go */
    sqlite3_stmt *find, *save, *oldest, *expire;
};

/* Prepares the statements and reads the keys of the stretch. settled: how many are in the table.
 * After a failure once_free is still to be called. */
int once_init(struct once *once, sqlite3 *db, const struct once_limits *limits,
              const struct stamps *stamps, uint64_t settled);
void once_free(struct once *once);

enum once_verdict {
    ONCE_NEW,       /* the key was not used lately; it is reserved for this message now */
    ONCE_DUPLICATE, /* it was, for the same text */
    ONCE_CONFLICT,  /* it was, for another text */
    ONCE_CROWDED    /* no more keys can be kept */
};

/* Looks for the key of the message, which has one. *seq is that of the message that was stored
 * under it; 0 if that one is reserved only. */
int once_ask(struct once *once, const struct message *message, const struct moment *now,
             enum once_verdict *verdict, uint64_t *seq);

/* The message for which its key was reserved gets this seq; or it is not stored, and the key is
 * free again. */
void once_stored(struct once *once, const struct message *message, uint64_t seq);
void once_release(struct once *once, const struct message *message);

/* Moves the keys of the stretch and of this transaction into the table, and deletes keys that are
 * too old there. For the transaction that settles. */
int once_settle(struct once *once, const struct moment *now);

/* What this transaction did is committed; or it was rolled back. settled: it was one that settles.
 */
void once_committed(struct once *once, bool settled);
void once_undo(struct once *once);

/* The log was emptied, the table of keys too. Not in a transaction. */
void once_restart(struct once *once);

#endif

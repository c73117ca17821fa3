/* once.h - the keys under which messages were stored lately, so that a publisher who tries again
 * stores a message once.
 *
 * A key belongs to a channel. What is kept of it is a hash of both, one of the message's text, and
 * the message's seq and time. It outlives its message, and restarts: a key and its message are one
 * transaction. It is kept for once_ms, and at most once_keys are kept: beyond that a message with a
 * key is refused, as to forget a key too early would break a promise.
 *
 * All keys are in memory (keys.h), in the order of their seqs, so no append waits for a read of the
 * disk. On the disk, a key is in its message's row (schema.h) until the stretch is settled
 * (ledger.h). Then the keys of the stretch are written side by side into a row of the table `once`,
 * or into several if they are many:
 *
 *     last     the seq of its last key
 *     time_ms  the time of the last key's message
 *     keys     SCHEMA_KEY bytes for each key: the hash of channel and key (16), that of the text
 *              (8), and how much its seq and time are below those of the last (4 each, the highest
 *              byte first)
 *
 * So to keep a key costs no look-up, and little more than its bytes. When the log is opened all
 * rows are read. A row is deleted when memory has forgotten all its keys.
 *
 * The hashes are SipHash-2-4 (Aumasson and Bernstein, 2012), of 128 and of 64 bits, with a secret
 * that is in the log alone. So nobody outside can find two keys or two texts with the same hash but
 * by sending them. Among the keys of a log, that takes some 2^64 keys. The hash of a text only
 * tells whether it is the same under one key: to send it with the hash of another takes 2^64 tries.
 *
 * The writer's thread only. Functions that return int return SQLite's result codes.
 */
#ifndef ENCKE_STORE_ONCE_H
#define ENCKE_STORE_ONCE_H

#include <sodium/crypto_shorthash.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/clock.h"
#include "store/keys.h"
#include "store/message.h"
#include "store/stamps.h"

struct once_limits {
    int64_t keep_ms; /* how long a key is kept */
    uint64_t most;   /* how many */
};

struct once {
    struct once_limits limits;
    const struct stamps *stamps; /* borrowed: how old a key is */
    struct keys keys;            /* in the order of seq */
    uint32_t unsaved;            /* so many of the newest are not in the table */
    uint32_t reserved;           /* so many of the newest are of this transaction */
    uint32_t unnumbered;         /* so many of the newest have no seq yet */
    uint64_t last_saved;         /* the seq of the newest that is in the table; 0: none */
    uint64_t settled;            /* in the table, as of this transaction */
    uint64_t settled_before;     /* as of the last COMMIT */
    bool crowded; /* a message was refused for lack of room: settle, so that old keys go */
    uint8_t secret[crypto_shorthash_KEYBYTES]; /* of the log */
    uint8_t *row;                              /* where a row of the table is put together */
    sqlite3_stmt *save, *oldest, *expire;
};

/* Prepares the statements and reads all keys. settled: how many are in the table. After a failure
 * once_free is still to be called. */
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

/* The hash of the first key that is reserved and has no seq yet: KEYS_HASH bytes, which stay as
 * long as the key. */
const uint8_t *once_hash(const struct once *once);

/* The message for which the first of the keys without a seq was reserved is stored, with this seq.
 */
void once_stored(struct once *once, uint64_t seq);

/* Of the keys that this transaction has reserved, only the first `kept` are for messages that are
 * stored: the others are free again. */
void once_release(struct once *once, uint32_t kept);

/* When, by the steady clock, to settle while the log is idle, as something is too old; INT64_MAX:
 * never. */
int64_t once_due_ms(const struct once *once, const struct moment *now);

/* Writes the keys of the stretch and of this transaction into the table, and deletes what is too
 * old there and in memory: some of it, or much of it if the log is idle. For the transaction that
 * settles. */
int once_settle(struct once *once, const struct moment *now, bool idle);

/* What this transaction did is committed; or it was rolled back. settled: it was one that settles.
 */
void once_committed(struct once *once, bool settled);
void once_undo(struct once *once);

/* The log was emptied, the table of keys too. Not in a transaction. */
void once_restart(struct once *once);

#endif

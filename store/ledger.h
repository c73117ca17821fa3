/* ledger.h - the writer's books: how many messages there are, and each channel's count and floor.
 *
 * The books are kept in memory while a transaction runs and written once, at its end: one row a
 * touched channel and one row for the log, however many messages the transaction carries. Channels
 * that were used lately stay cached, so that an append to one costs no look-up.
 *
 *     ledger_begin(&ledger);
 *     ... ledger_channel, ledger_add, ledger_remove ...
 *     ledger_save(&ledger);           // before COMMIT: writes the rows
 *     ledger_committed / ledger_undo  // after COMMIT, or after ROLLBACK
 *
 * The writer's thread only. Functions that return int return SQLite's result codes.
 */
#ifndef ENCKE_STORE_LEDGER_H
#define ENCKE_STORE_LEDGER_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "store/message.h"
#include "store/table.h"

/* What the row of `log` says. */
struct totals {
    uint64_t head;      /* the seq last given out */
    uint64_t forgotten; /* the floor of every channel that has no row */
    uint64_t messages;  /* retained */
    uint64_t bytes;     /* message_size of them */
};

struct channel {
    sqlite3_int64 id;
    uint64_t floor; /* messages up to this seq may have been deleted */
    uint64_t count; /* messages retained */
    uint64_t saved_floor;
    bool changed;
    STAILQ_ENTRY(channel) changes;
    UT_hash_handle hh, hh_id;
    uint8_t name_len;
    char name[];
};
STAILQ_HEAD(channel_list, channel);

/* A floor that moved, for the readers' side. */
struct floor {
    STAILQ_ENTRY(floor) next;
    uint64_t seq;
    char channel[CHANNEL_MAX + 1];
};
STAILQ_HEAD(floor_list, floor);

struct ledger {
    struct totals now;           /* as of this transaction */
    struct totals committed;     /* as of the last COMMIT */
    struct channel_list changed; /* touched in this transaction */
    struct floor_list floors;    /* moved in this transaction; filled by ledger_save */
    struct channel *by_name, *by_id;
    sqlite3_int64 next_id;
    sqlite3 *db;
    sqlite3_stmt *find_name, *find_id, *save, *erase, *save_log, *version;
    sqlite3_int64 seen_version; /* PRAGMA data_version: moves when another connection wrote */
};

/* Prepares the statements and reads the totals. After a failure ledger_free is still due. */
int ledger_init(struct ledger *ledger, sqlite3 *db);
void ledger_free(struct ledger *ledger);

/* Starts from what is committed, in a transaction that has begun. SQLITE_ABORT if another program
 * wrote into the log, so that the books are no longer true. */
int ledger_begin(struct ledger *ledger);

/* The channel of that name, made if there is none (its row only when it is touched); it stays valid
 * until ledger_committed or ledger_undo. */
int ledger_channel(struct ledger *ledger, const char *name, struct channel **out);

/* The channel of a message on disk. SQLITE_CORRUPT if there is none. */
int ledger_channel_by_id(struct ledger *ledger, sqlite3_int64 id, struct channel **out);

/* Counts one message more, with the next seq, which is returned. */
uint64_t ledger_add(struct ledger *ledger, struct channel *channel, size_t data_len);

/* Counts one message less, and raises the channel's floor to it. SQLITE_CORRUPT if the books have
 * no such message. */
int ledger_remove(struct ledger *ledger, struct channel *channel, uint64_t seq, size_t data_len);

/* Writes the rows of all that changed. Allocates all that the report of the commit will need, so
 * that nothing can fail once COMMIT returned. */
int ledger_save(struct ledger *ledger);

/* What ledger_save wrote is on disk. Takes nothing; floors stays filled for the caller to move. */
void ledger_committed(struct ledger *ledger);

/* What ledger_save wrote was rolled back: forgets the cache, which is read again as needed. */
void ledger_undo(struct ledger *ledger);

#endif

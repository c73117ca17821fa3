/* ledger.h - the writer's books: how many messages there are, and each channel's count and floor.
 *
 * While a transaction runs the books are in memory. They are written once, at its end: one row for
 * each channel that changed and one for the log, however many messages the transaction has.
 * Channels that were used lately stay cached, so that an append to one needs no look-up.
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

/* What the row of `log` holds (schema.h). */
struct totals {
    uint64_t head;      /* the last seq that was given out */
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

/* A floor that moved, for the loop's tail (tail.h). */
struct floor {
    STAILQ_ENTRY(floor) next;
    uint64_t seq;
    char channel[CHANNEL_MAX + 1];
};
STAILQ_HEAD(floor_list, floor);

/* Frees the floors and empties the list. */
void ledger_free_floors(struct floor_list *list);

struct ledger {
    struct totals now;           /* as of this transaction */
    struct totals committed;     /* as of the last COMMIT */
    struct channel_list changed; /* changed in this transaction */
    struct floor_list floors;    /* moved in this transaction; filled by ledger_save */
    struct channel *by_name, *by_id;
    sqlite3_int64 next_id;
    sqlite3 *db;
    sqlite3_stmt *find_name, *find_id, *save, *erase, *save_log, *version;
    sqlite3_int64 seen_version; /* PRAGMA data_version: changes when another connection wrote */
};

/* Prepares the statements and reads the totals. After a failure ledger_free is still to be
 * called. */
int ledger_init(struct ledger *ledger, sqlite3 *db);
void ledger_free(struct ledger *ledger);

/* Starts from what is committed, in a transaction that has begun. Returns SQLITE_ABORT if another
 * program wrote into the log, so that the books are wrong now. */
int ledger_begin(struct ledger *ledger);

/* Finds the channel of that name, or makes it; it gets a row only when it changes. It is valid
 * until ledger_committed or ledger_undo. */
int ledger_channel(struct ledger *ledger, const char *name, struct channel **out);

/* Finds the channel of a message on disk. Returns SQLITE_CORRUPT if there is none. */
int ledger_channel_by_id(struct ledger *ledger, sqlite3_int64 id, struct channel **out);

/* Counts one more message, and returns its seq, the next one. */
uint64_t ledger_add(struct ledger *ledger, struct channel *channel, size_t data_len);

/* Counts one message less, and raises the channel's floor to seq. Returns SQLITE_CORRUPT if the
 * books have no such message. */
int ledger_remove(struct ledger *ledger, struct channel *channel, uint64_t seq, size_t data_len);

/* Writes the rows of all that changed. It also allocates all that the report of the commit needs,
 * so that nothing can fail after COMMIT has returned. */
int ledger_save(struct ledger *ledger);

/* What ledger_save wrote is on disk. ledger->floors stays filled; the caller moves it away. */
void ledger_committed(struct ledger *ledger);

/* What ledger_save wrote was rolled back: empties the cache, which is read again as needed. */
void ledger_undo(struct ledger *ledger);

#endif

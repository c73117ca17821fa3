/* rows.h - the rows behind the ledger (schema.h): read when the log is opened and when a channel is
 * not cached, and written at the end of a transaction.
 *
 * The writer's thread only. Functions that return int return SQLite's result codes.
 */
#ifndef ENCKE_STORE_ROWS_H
#define ENCKE_STORE_ROWS_H

#include <sqlite3.h>
#include <stdint.h>

#include "store/append.h"
#include "store/channels.h"

/* The totals of the log. As the row of `log` has them, the head is log.settled. */
struct totals {
    uint64_t head;      /* the last seq that was given out */
    uint64_t forgotten; /* the floor of every channel that has no row */
    uint64_t messages;  /* retained */
    uint64_t bytes;     /* message_size of them */
    uint64_t channels;  /* that have messages */
    uint64_t keys;      /* in the table of keys (once.h), which the ledger only saves */
};

struct rows {
    sqlite3 *db;
    sqlite3_stmt *find_name, *find_id, *save, *erase, *unindex, *save_log, *version;
};

/* Prepares the statements. After a failure rows_free is still to be called. */
int rows_init(struct rows *rows, sqlite3 *db);
void rows_free(struct rows *rows);

/* Reads the row of `log`, the head, and the first id that no channel has. */
int rows_read_totals(struct rows *rows, struct totals *settled, uint64_t *head,
                     sqlite3_int64 *next_id);

/* Reads the position of the newest message that has one; else that of the row. */
int rows_read_position(struct rows *rows, char position[POSITION_MAX + 1]);

/* Reads what a crash left in the stretch, which the rows do not count: calls each for every channel
 * that has something there, with its number of messages and the bytes of their data. */
int rows_read_stretch(struct rows *rows, struct channels *channels,
                      void (*each)(void *context, struct channel *channel, uint64_t messages,
                                   uint64_t bytes),
                      void *context);

/* Caches the channel of that name, or of that id, from its row. Returns SQLITE_OK, SQLITE_DONE if
 * it has none, or an error. */
int rows_load_name(struct rows *rows, struct channels *channels, const char *name, size_t name_len,
                   struct channel **out);
int rows_load_id(struct rows *rows, struct channels *channels, sqlite3_int64 id,
                 struct channel **out);

/* Write the channel's row, with that count, or delete it. */
int rows_save_channel(struct rows *rows, const struct channel *channel, uint64_t count);
int rows_erase_channel(struct rows *rows, const struct channel *channel);

/* Deletes from the index (index.h) what is not above the channel's floor. */
int rows_unindex_channel(struct rows *rows, const struct channel *channel);

/* Writes the row of `log`. */
int rows_save_totals(struct rows *rows, const struct totals *totals, const char *position);

/* Reads a number that changes when another connection has written. Returns SQLITE_ROW. */
int rows_read_version(struct rows *rows, sqlite3_int64 *version);

#endif

/* schema.h - the tables of a log, and whether a file has exactly these.
 *
 *     log         one row: the epoch, `settled` and `forgotten`, how many messages and bytes there
 *                 are up to settled, and a secret (once.h)
 *     channel     a row for every channel that has messages: its floor, and how many up to settled
 *     message     the messages; their row numbers are the sequence
 *     by_channel  which messages up to settled each channel has (index.h)
 *     once        the keys of recent messages up to settled, a row for many (once.h)
 *
 * So that a lone append writes one page, all but the rows of `message` lag behind, up to `settled`:
 * the books and the indexes are written for many messages together (ledger.h). A message after it
 * is in its row alone, together with its key and its position; only the row of a channel that had
 * none is written at once. The head, the last seq given out, is settled or the newest message's
 * seq, whichever is more: nothing is deleted that is not settled, so the head outlives every
 * message.
 *
 * A channel's floor is the seq up to which its messages may have been deleted: a reader whose
 * cursor is below it may have missed some. When a channel loses its last message, it loses its row
 * too, and its floor is merged into log.forgotten, the floor of every channel without a row. So
 * channels that come and go leave nothing behind, and a gap is still told. Both are right because
 * retention deletes prefixes only: of one channel, or of the whole log.
 *
 * Any thread, on a connection that it owns.
 */
#ifndef ENCKE_STORE_SCHEMA_H
#define ENCKE_STORE_SCHEMA_H

#include <sqlite3.h>
#include <stddef.h>

#include "store/epoch.h"

enum {
    SCHEMA_APPLICATION = 0x456e636b, /* "Enck", the file's application_id */
    SCHEMA_VERSION = 2, /* the file's user_version: raise it when the tables change (migrate.h) */
    SCHEMA_KEY = 32     /* bytes of each key in a row of `once` */
};

/* The tables, for schema_build and for migrate.c, which makes them of older ones. */
extern const char schema_log[], schema_channel[], schema_message[], schema_indexes[];

/* An SQL expression for the head. */
#define SCHEMA_HEAD "max(settled, coalesce((SELECT max(seq) FROM message), 0))"

/* Fills an empty database: the two numbers above, the tables, a row of log with epoch. Returns
 * SQLite's result code. */
int schema_build(sqlite3 *db, const char *epoch);

/* Says in why that `doing` failed by rc, which SQLite has just returned. Returns rc, or
 * SQLITE_ERROR if that is no error. */
int schema_explain(sqlite3 *db, int rc, const char *doing, char *why, size_t why_size);

/* Checks that the tables are exactly those that `make` makes in an empty database. Changes nothing.
 * Returns as schema_check. */
int schema_compare(sqlite3 *db, int (*make)(sqlite3 *model), char *why, size_t why_size);

/* Checks that the tables are exactly those that schema_build makes, and reads the epoch. Changes
 * nothing. Returns SQLITE_OK; SQLITE_CORRUPT if the file is not a sound log; or, if that cannot be
 * found out, SQLite's code, with errno as SQLite left it. why says what is wrong, without the
 * file's name. */
int schema_check(sqlite3 *db, char epoch[EPOCH_LEN + 1], char *why, size_t why_size);

/* Lets SQLite check every page, and all rows against the constraints. It takes about a second for
 * 500 MiB that are in the page cache, so it is for small files. Returns as schema_check. */
int schema_check_pages(sqlite3 *db, char *why, size_t why_size);

/* Counts the messages, and compares with what the rows say; also for small files. Returns as
 * schema_check. */
int schema_check_counts(sqlite3 *db, char *why, size_t why_size);

#endif

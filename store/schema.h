/* schema.h - the tables of a log, and whether a file has exactly these.
 *
 *     log      one row: the epoch, the head (the last seq given out, which must outlive every
 *              message), `forgotten`, and how many messages and bytes there are
 *     channel  a row for every channel that has messages: how many, and its floor
 *     message  the messages; their row numbers are the sequence
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
    SCHEMA_VERSION = 1               /* the file's user_version: raise it when the tables change */
};

/* Fills an empty database: the two numbers above, the tables, a row of log with epoch. Returns
 * SQLite's result code. */
int schema_build(sqlite3 *db, const char *epoch);

/* Checks that the tables are exactly those that schema_build makes, and reads the epoch. Changes
 * nothing. Returns SQLITE_OK; SQLITE_CORRUPT if the file is not a sound log; or, if that cannot be
 * found out, SQLite's code, with errno as SQLite left it. why says what is wrong, without the
 * file's name. */
int schema_check(sqlite3 *db, char epoch[EPOCH_LEN + 1], char *why, size_t why_size);

/* Lets SQLite check every page, and all rows against the constraints. It takes about a second for
 * 500 MiB that are in the page cache, so it is for small files. Returns as schema_check. */
int schema_check_pages(sqlite3 *db, char *why, size_t why_size);

#endif

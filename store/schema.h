/* schema.h - the tables of a log, and whether a file has exactly them.
 *
 *     log      one row: the epoch, the head (the seq last given out, which must outlive every
 *              message), `forgotten`, and how many messages and bytes there are
 *     channel  a row for every channel that has messages: how many, and its floor
 *     message  the messages; their row numbers are the sequence
 *
 * A channel's floor is the seq up to which its messages may have been deleted: a reader whose
 * cursor is below it may have missed some. A channel that lost its last message loses its row too,
 * and its floor is merged into log.forgotten, the floor of every channel without a row. So channels
 * that come and go leave nothing behind, and a gap is still told. Both hold because retention
 * deletes prefixes only: of one channel, or of the whole log.
 *
 * Any thread, on a connection that it owns.
 */
#ifndef ENCKE_STORE_SCHEMA_H
#define ENCKE_STORE_SCHEMA_H

#include <sqlite3.h>
#include <stddef.h>

#include "store/cursor.h"

enum {
    SCHEMA_APPLICATION = 0x456e636b, /* "Enck", the file's application_id */
    SCHEMA_VERSION = 1               /* the file's user_version: raise it when the tables change */
};

/* Fills an empty database: marks, tables, a row of log with epoch. Returns SQLite's result code. */
int schema_build(sqlite3 *db, const char *epoch);

/* Looks whether the tables are those that schema_build makes, to the letter, and reads the epoch.
 * Changes nothing. Returns SQLITE_OK; SQLITE_CORRUPT if the file is not a sound log; or SQLite's
 * code, with errno as SQLite left it, if that could not be found out. What is wrong (not naming the
 * file) is in why. */
int schema_check(sqlite3 *db, char epoch[EPOCH_LEN + 1], char *why, size_t why_size);

/* Has SQLite look through every page and compare rows with constraints: about a second for 500 MiB
 * that are in the page cache, so it is for small files. Returns as schema_check. */
int schema_check_pages(sqlite3 *db, char *why, size_t why_size);

#endif

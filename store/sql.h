/* sql.h - what every user of SQLite in the store needs.
 *
 * The most important function is sql_status: it decides in one place which errors the log survives
 * (no room, a lock, no memory: nothing was written) and which end it.
 *
 * Any thread, on a connection that it owns.
 */
#ifndef ENCKE_STORE_SQL_H
#define ENCKE_STORE_SQL_H

#include <sqlite3.h>
#include <stddef.h>

#include "store/status.h"

enum { SQL_ERROR_SIZE = 400 }; /* bytes for what sql_explain writes */

/* What rc means for the log. It looks at errno, as SQLite left it. So errno must be 0 before SQLite
 * is called: the functions below set it, and code that calls SQLite directly must do so, too. */
enum log_status sql_status(int rc);

/* Writes into text: `doing`, a colon, what SQLite says about rc, and for an I/O error what errno
 * says. db has just returned rc; NULL is allowed. */
void sql_explain(char *text, size_t text_size, const char *doing, sqlite3 *db, int rc);

/* Opens the database at path with flags (SQLITE_OPEN_READWRITE, …READONLY), for one thread; it
 * waits busy_ms for locks of other connections. Returns SQLite's result code; *db is to be closed
 * even after an error. */
int sql_open(sqlite3 **db, const char *path, int flags, int busy_ms);

/* Prepares constant text for the life of the connection. Returns SQLite's result code. */
int sql_prepare(sqlite3 *db, sqlite3_stmt **out, const char *text);

/* Runs a prepared statement that gives no rows, and resets it. Returns SQLITE_OK or the error. */
int sql_run(sqlite3_stmt *statement);

/* Prepares a statement that gives no rows, runs it once with ?1 as value, and finalizes it. Returns
 * SQLITE_OK or the error. */
int sql_run_with(sqlite3 *db, const char *text, const char *value);

/* Runs a prepared statement for one row and resets it. Returns SQLITE_ROW, with *value the first
 * column; SQLITE_DONE if there is no row; or the error. */
int sql_number(sqlite3_stmt *statement, sqlite3_int64 *value);

/* Prepares a statement, runs it once for one row, and finalizes it. Returns as sql_number, and
 * leaves errno as SQLite left it. */
int sql_number_of(sqlite3 *db, const char *text, sqlite3_int64 *value);

/* Prepares a statement, calls each with every row that it gives, and finalizes it. Returns
 * SQLITE_OK, the error, or what each returned, if that is not SQLITE_OK: then it ends there. */
int sql_each(sqlite3 *db, const char *text, int (*each)(void *context, sqlite3_stmt *row),
             void *context);

/* Runs constant text when a connection is set up. Returns SQLite's result code. */
int sql_exec(sqlite3 *db, const char *text);

#endif

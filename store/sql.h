/* sql.h - the few things that every user of SQLite in the store needs alike.
 *
 * What matters is sql_status: it decides in one place which errors the log lives through (no room,
 * a lock, no memory: nothing was written) and which end it. Any thread, for a connection that the
 * thread owns.
 */
#ifndef ENCKE_STORE_SQL_H
#define ENCKE_STORE_SQL_H

#include <sqlite3.h>
#include <stddef.h>

#include "store/log.h"

/* What rc means for the log. Looks at errno, as SQLite left it: what each function below sets to 0
 * before it begins, and whoever calls SQLite first without one of them, too. */
enum log_status sql_status(int rc);

/* Writes "doing: SQLite's text" about rc, just returned on db (NULL is allowed), into text; with
 * the reason of an I/O error from errno, as above. */
void sql_explain(char *text, size_t text_size, const char *doing, sqlite3 *db, int rc);

/* Prepares constant text for the life of the connection. Returns SQLite's result code. */
int sql_prepare(sqlite3 *db, sqlite3_stmt **out, const char *text);

/* Runs a prepared statement that gives no rows, and resets it. Returns SQLITE_OK or the error. */
int sql_run(sqlite3_stmt *statement);

/* Runs a prepared statement for one row of integers and resets it: SQLITE_ROW with *value the
 * first column, SQLITE_DONE if there is no row, or the error. */
int sql_number(sqlite3_stmt *statement, sqlite3_int64 *value);

/* Runs constant text at set-up. Returns SQLite's result code. */
int sql_exec(sqlite3 *db, const char *text);

#endif

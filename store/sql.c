#include "store/sql.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What the system said of an I/O error. SQLite keeps it for most statements, but not for COMMIT;
 * errno is where it has it from. */
static int system_error_of(int rc)
{
    int primary = rc & 0xff;
    return primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN ? errno : 0;
}

/* Whether an I/O error means only that there is no room. SQLite calls ENOSPC SQLITE_FULL in most
 * places by itself, but not a quota, a file size limit, or the shared memory file that cannot grow.
 * A failed fsync never counts as one, whatever its errno: what it should have made durable may be
 * gone from the page cache already, so a second try would prove nothing. */
static bool is_no_room(int rc, int error)
{
    if (rc != SQLITE_IOERR_WRITE && rc != SQLITE_IOERR_TRUNCATE && rc != SQLITE_IOERR_SHMSIZE &&
        rc != SQLITE_IOERR_SHMMAP)
        return false;
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

/* A lack of file descriptors passes, as a lack of memory does. */
static bool is_no_memory(int rc, int error)
{
    if ((rc & 0xff) == SQLITE_NOMEM || rc == SQLITE_IOERR_NOMEM)
        return true;
    return (rc & 0xff) == SQLITE_CANTOPEN && (error == EMFILE || error == ENFILE);
}

enum log_status sql_status(int rc)
{
    int error = system_error_of(rc);
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return LOG_OK;
    case SQLITE_FULL:
        return LOG_FULL;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL: /* for seconds, at the start of a transaction */
        return LOG_LOCKED;
    default:
        break;
    }
    if (is_no_room(rc, error))
        return LOG_FULL;
    return is_no_memory(rc, error) ? LOG_NO_MEMORY : LOG_FAILED;
}

void sql_explain(char *text, size_t text_size, const char *doing, sqlite3 *db, int rc)
{
    int error = system_error_of(rc);
    bool detailed = db && sqlite3_extended_errcode(db) == rc;
    const char *said = detailed ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    if (error)
        snprintf(text, text_size, "%s: %s (%d): %s", doing, said, rc, strerror(error));
    else
        snprintf(text, text_size, "%s: %s (%d)", doing, said, rc);
}

int sql_open(sqlite3 **db, const char *path, int flags, int busy_ms)
{
    errno = 0;
    int rc = sqlite3_open_v2(path, db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_extended_result_codes(*db, 1);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(*db, busy_ms);
    return rc;
}

int sql_prepare(sqlite3 *db, sqlite3_stmt **out, const char *text)
{
    errno = 0;
    return sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
}

int sql_run(sqlite3_stmt *statement)
{
    errno = 0;
    int rc = sqlite3_step(statement);
    sqlite3_reset(statement);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : rc;
}

int sql_run_with(sqlite3 *db, const char *text, const char *value)
{
    sqlite3_stmt *statement = NULL;
    int rc = sql_prepare(db, &statement, text);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(statement, 1, value, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sql_run(statement);
    sqlite3_finalize(statement);
    return rc;
}

int sql_number(sqlite3_stmt *statement, sqlite3_int64 *value)
{
    errno = 0;
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        *value = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return rc;
}

int sql_number_of(sqlite3 *db, const char *text, sqlite3_int64 *value)
{
    sqlite3_stmt *statement = NULL;
    int rc = sql_prepare(db, &statement, text);
    if (rc == SQLITE_OK)
        rc = sql_number(statement, value);
    int error = errno;
    sqlite3_finalize(statement);
    errno = error;
    return rc;
}

int sql_each(sqlite3 *db, const char *text, int (*each)(void *context, sqlite3_stmt *row),
             void *context)
{
    sqlite3_stmt *rows = NULL;
    int rc = sql_prepare(db, &rows, text);
    while (rc == SQLITE_OK && (rc = sqlite3_step(rows)) == SQLITE_ROW)
        rc = each(context, rows);
    sqlite3_finalize(rows);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int sql_exec(sqlite3 *db, const char *text)
{
    errno = 0;
    return sqlite3_exec(db, text, NULL, NULL, NULL);
}

#include "store/schema.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/sql.h"

const char schema_log[] = "CREATE TABLE log(\n"
                          "  id INTEGER PRIMARY KEY CHECK (id = 1),\n"
                          "  epoch TEXT NOT NULL CHECK (length(epoch) = 12),\n"
                          "  settled INTEGER NOT NULL,\n"
                          "  forgotten INTEGER NOT NULL,\n"
                          "  messages INTEGER NOT NULL,\n"
                          "  bytes INTEGER NOT NULL,\n"
                          "  channels INTEGER NOT NULL,\n"
                          "  keys INTEGER NOT NULL,\n"
                          "  secret BLOB NOT NULL CHECK (length(secret) = 16),\n"
                          "  position TEXT\n"
                          ") STRICT";
const char schema_channel[] = "CREATE TABLE channel(\n"
                              "  id INTEGER PRIMARY KEY,\n"
                              "  name TEXT NOT NULL UNIQUE,\n"
                              "  floor INTEGER NOT NULL,\n"
                              "  count INTEGER NOT NULL\n"
                              ") STRICT";
const char schema_message[] = "CREATE TABLE message(\n"
                              "  seq INTEGER PRIMARY KEY,\n"
                              "  channel INTEGER NOT NULL,\n"
                              "  time_ms INTEGER NOT NULL,\n"
                              "  data BLOB NOT NULL,\n"
                              "  once BLOB,\n"
                              "  position TEXT\n"
                              ") STRICT";
const char schema_indexes[] = "CREATE TABLE by_channel(\n"
                              "  channel INTEGER NOT NULL,\n"
                              "  last INTEGER NOT NULL,\n"
                              "  seqs BLOB NOT NULL,\n"
                              "  PRIMARY KEY (channel, last)\n"
                              ") STRICT, WITHOUT ROWID;"
                              "CREATE TABLE once(\n"
                              "  last INTEGER PRIMARY KEY,\n"
                              "  time_ms INTEGER NOT NULL,\n"
                              "  keys BLOB NOT NULL\n"
                              ") STRICT";

static const char listing[] = "SELECT type, name, tbl_name, sql FROM sqlite_schema "
                              "WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name";

static int make_tables(sqlite3 *db)
{
    const char *const all[] = {schema_log, schema_channel, schema_message, schema_indexes};
    int rc = SQLITE_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && rc == SQLITE_OK; i++)
        rc = sql_exec(db, all[i]);
    return rc;
}

int schema_build(sqlite3 *db, const char *epoch)
{
    char marks[128];
    snprintf(marks, sizeof marks, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
             SCHEMA_APPLICATION, SCHEMA_VERSION);
    int rc = sql_exec(db, "BEGIN IMMEDIATE");
    if (rc == SQLITE_OK)
        rc = sql_exec(db, marks);
    if (rc == SQLITE_OK)
        rc = make_tables(db);
    if (rc == SQLITE_OK)
        rc = sql_run_with(
            db, "INSERT INTO log VALUES (1, ?1, 0, 0, 0, 0, 0, 0, randomblob(16), NULL)", epoch);
    if (rc == SQLITE_OK)
        rc = sql_exec(db, "COMMIT");
    return rc;
}

static bool same_row(sqlite3_stmt *a, sqlite3_stmt *b)
{
    for (int i = 0; i < 4; i++) {
        const char *left = (const char *)sqlite3_column_text(a, i);
        const char *right = (const char *)sqlite3_column_text(b, i);
        if (!left || !right || strcmp(left, right) != 0)
            return false;
    }
    return true;
}

/* Whether a text was missing because there was no memory. */
static bool lacks_memory(sqlite3_stmt *statement)
{
    return sqlite3_errcode(sqlite3_db_handle(statement)) == SQLITE_NOMEM;
}

/* Steps through both listings side by side. Returns SQLITE_DONE when they are equal, SQLITE_ROW at
 * the first difference, or an error. */
static int compare_listings(sqlite3_stmt *ours, sqlite3_stmt *theirs)
{
    for (;;) {
        int left = sqlite3_step(ours);
        int right = sqlite3_step(theirs);
        if (right != SQLITE_ROW && right != SQLITE_DONE)
            return right;
        if (left != SQLITE_ROW && left != SQLITE_DONE)
            return left;
        if (left != right)
            return SQLITE_ROW;
        if (left == SQLITE_DONE)
            return SQLITE_DONE;
        if (!same_row(ours, theirs))
            return lacks_memory(ours) || lacks_memory(theirs) ? SQLITE_NOMEM : SQLITE_ROW;
    }
}

int schema_explain(sqlite3 *db, int rc, const char *doing, char *why, size_t why_size)
{
    sql_explain(why, why_size, doing, db, rc);
    return sql_status(rc) == LOG_OK ? SQLITE_ERROR : rc;
}

/* Frees a statement and keeps errno, since the caller may still ask for the cause of an error. */
static void finalize_quietly(sqlite3_stmt *statement)
{
    int error = errno;
    sqlite3_finalize(statement);
    errno = error;
}

/* The model to compare with is made in memory, as only SQLite knows what it keeps of a CREATE
 * statement. */
int schema_compare(sqlite3 *db, int (*make)(sqlite3 *model), char *why, size_t why_size)
{
    sqlite3 *model = NULL;
    sqlite3_stmt *ours = NULL, *theirs = NULL;
    int result = SQLITE_CORRUPT;
    int rc = sqlite3_open(":memory:", &model);
    if (rc == SQLITE_OK)
        rc = make(model);
    if (rc == SQLITE_OK)
        rc = sql_prepare(model, &ours, listing);
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &theirs, listing);
    if (rc == SQLITE_OK)
        rc = compare_listings(ours, theirs);
    if (rc == SQLITE_DONE)
        result = SQLITE_OK;
    else if (rc == SQLITE_ROW)
        snprintf(why, why_size, "its tables are not those of an Encke log");
    else
        result = schema_explain(db, rc, "its tables cannot be read", why, why_size);
    finalize_quietly(ours);
    finalize_quietly(theirs);
    sqlite3_close(model);
    return result;
}

/* There cannot be more messages than numbers given out. */
static int check_rows(sqlite3 *db, char epoch[EPOCH_LEN + 1], char *why, size_t why_size)
{
    sqlite3_stmt *row = NULL;
    int result = SQLITE_CORRUPT;
    int rc = sql_prepare(db, &row,
                         "SELECT epoch, settled >= 0 AND forgotten BETWEEN 0 AND settled AND "
                         "messages BETWEEN 0 AND settled AND bytes >= 0 AND "
                         "channels BETWEEN 0 AND messages AND keys >= 0 FROM log");
    if (rc == SQLITE_OK)
        rc = sqlite3_step(row);
    if (rc == SQLITE_ROW && epoch_is_valid((const char *)sqlite3_column_text(row, 0)) &&
        sqlite3_column_int(row, 1)) {
        memcpy(epoch, sqlite3_column_text(row, 0), EPOCH_LEN + 1);
        result = SQLITE_OK;
    } else if (rc == SQLITE_DONE || (rc == SQLITE_ROW && !lacks_memory(row))) {
        snprintf(why, why_size, "its row of `log` makes no sense");
    } else {
        rc = rc == SQLITE_ROW ? SQLITE_NOMEM : rc;
        result = schema_explain(db, rc, "its row of `log` cannot be read", why, why_size);
    }
    finalize_quietly(row);
    return result;
}

int schema_check(sqlite3 *db, char epoch[EPOCH_LEN + 1], char *why, size_t why_size)
{
    errno = 0;
    int result = schema_compare(db, make_tables, why, why_size);
    return result == SQLITE_OK ? check_rows(db, epoch, why, why_size) : result;
}

/* Copies the line of SQLite's report that says what is wrong. Returns SQLITE_CORRUPT; or, if a page
 * could not be read, the code of that, which proves nothing about what is on the page. */
static int read_report(const char *said, char *why, size_t why_size)
{
    static const char unread[] = "error code=";
    const char *line = strncmp(said, "***", 3) == 0 ? strchr(said, '\n') : NULL;
    line = line ? line + 1 : said;
    snprintf(why, why_size, "%.*s", (int)strcspn(line, "\n"), line);
    const char *code = strstr(why, unread);
    int rc = code ? (int)strtol(code + sizeof unread - 1, NULL, 10) : SQLITE_OK;
    return rc == SQLITE_OK || (rc & 0xff) == SQLITE_NOTADB ? SQLITE_CORRUPT : rc;
}

int schema_check_pages(sqlite3 *db, char *why, size_t why_size)
{
    sqlite3_stmt *check = NULL;
    const char *said = NULL;
    int result = SQLITE_CORRUPT;
    errno = 0;
    int rc = sql_prepare(db, &check, "PRAGMA quick_check(1)");
    if (rc == SQLITE_OK)
        rc = sqlite3_step(check);
    if (rc == SQLITE_ROW)
        said = (const char *)sqlite3_column_text(check, 0);
    if (said && strcmp(said, "ok") == 0)
        result = SQLITE_OK;
    else if (said)
        result = read_report(said, why, why_size);
    else
        result = schema_explain(db, rc, "its pages cannot be read", why, why_size);
    finalize_quietly(check);
    return result;
}

/* The writer keeps the counts in rows of their own; another program that deleted messages did not.
 */
int schema_check_counts(sqlite3 *db, char *why, size_t why_size)
{
    sqlite3_stmt *counts = NULL;
    sqlite3_int64 equal = 0;
    int rc =
        sql_prepare(db, &counts,
                    "SELECT messages = (SELECT count(*) FROM message WHERE seq <= settled) "
                    "AND messages = (SELECT coalesce(sum(count), 0) FROM channel) "
                    "AND channels = (SELECT count(*) FROM channel WHERE count > 0) "
                    "AND keys * ?1 = (SELECT coalesce(sum(length(keys)), 0) FROM once) FROM log");
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int(counts, 1, SCHEMA_KEY);
    if (rc == SQLITE_OK)
        rc = sql_number(counts, &equal);
    finalize_quietly(counts);
    if (rc == SQLITE_ROW && equal)
        return SQLITE_OK;
    if (rc != SQLITE_ROW)
        return schema_explain(db, rc, "its messages cannot be counted", why, why_size);
    snprintf(why, why_size, "its counts are not those of its messages");
    return SQLITE_CORRUPT;
}

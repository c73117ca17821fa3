#include "store/migrate.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "store/clock.h"
#include "store/epoch.h"
#include "store/index.h"
#include "store/schema.h"
#include "store/sql.h"

static const char unmigrated[] = "it cannot be brought to today's format";

enum { FIRST_LINE_MS = 1000, NEXT_LINE_MS = 5000 };

/* How many pages of the write-ahead log are reserved at once, and for how many messages: even if
 * each is in a channel of its own, a page of the index has more than a hundred of them. */
enum { ROWS_A_RESERVE = 100000, PAGES_A_RESERVE = 2000 };

static const char tables_1[] = "CREATE TABLE log(\n"
                               "  id INTEGER PRIMARY KEY CHECK (id = 1),\n"
                               "  epoch TEXT NOT NULL CHECK (length(epoch) = 12),\n"
                               "  head INTEGER NOT NULL,\n"
                               "  forgotten INTEGER NOT NULL,\n"
                               "  messages INTEGER NOT NULL,\n"
                               "  bytes INTEGER NOT NULL\n"
                               ") STRICT;"
                               "CREATE TABLE channel(\n"
                               "  id INTEGER PRIMARY KEY,\n"
                               "  name TEXT NOT NULL UNIQUE,\n"
                               "  floor INTEGER NOT NULL,\n"
                               "  count INTEGER NOT NULL\n"
                               ") STRICT;"
                               "CREATE TABLE message(\n"
                               "  seq INTEGER PRIMARY KEY,\n"
                               "  channel INTEGER NOT NULL,\n"
                               "  time_ms INTEGER NOT NULL,\n"
                               "  data BLOB NOT NULL\n"
                               ") STRICT;"
                               "CREATE INDEX message_by_channel ON message(channel);";

static int make_tables_1(sqlite3 *db)
{
    return sql_exec(db, tables_1);
}

/* Whether the row makes sense: no seq is above the head, and no more messages are counted. */
static int check_row_1(sqlite3 *db, char *why, size_t why_size)
{
    sqlite3_int64 sound = 0;
    int rc = sql_number_of(db,
                           "SELECT head >= coalesce((SELECT max(seq) FROM message), 0) AND "
                           "forgotten BETWEEN 0 AND head AND messages BETWEEN 0 AND head AND "
                           "bytes >= 0 FROM log",
                           &sound);
    if (rc == SQLITE_ROW && sound)
        return SQLITE_OK;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return schema_explain(db, rc, unmigrated, why, why_size);
    snprintf(why, why_size, "its row of `log` makes no sense");
    return SQLITE_CORRUPT;
}

int migrate_check(sqlite3 *db, bool *needed, char *why, size_t why_size)
{
    sqlite3_int64 version = 0;
    int rc = sql_number_of(db, "PRAGMA user_version", &version);
    *needed = rc == SQLITE_ROW && version < SCHEMA_VERSION;
    if (rc != SQLITE_ROW)
        return schema_explain(db, rc, unmigrated, why, why_size);
    if (!*needed)
        return SQLITE_OK;
    rc = schema_compare(db, make_tables_1, why, why_size);
    return rc == SQLITE_OK ? check_row_1(db, why, why_size) : rc;
}

/* ---- the index ---- */

/* The copy of one index into the other. */
struct copy {
    sqlite3_stmt *rows;
    struct index_writer index;
    struct shm *shm;
    const char *path;
    log_tell *tell;
    sqlite3_int64 total, done;
    int64_t line_ms; /* when to tell how far it is */
};

static void tell_indexed(struct copy *copy)
{
    int64_t now = clock_steady_ms();
    if (!copy->tell || now < copy->line_ms)
        return;
    char line[PATH_MAX + 100];
    snprintf(line, sizeof line, "%s is being brought to format %d: %lld of %lld messages indexed",
             copy->path, SCHEMA_VERSION, (long long)copy->done, (long long)copy->total);
    copy->tell(LOG_TELL_INFO, line);
    copy->line_ms = now + NEXT_LINE_MS;
}

static int copy_row(struct copy *copy)
{
    if (copy->done % ROWS_A_RESERVE == 0) {
        int64_t rounds = copy->done / ROWS_A_RESERVE + 1;
        if (shm_reserve(copy->shm, rounds * PAGES_A_RESERVE) != 0)
            return SQLITE_FULL;
    }
    int rc = index_put(&copy->index, sqlite3_column_int64(copy->rows, 0),
                       (uint64_t)sqlite3_column_int64(copy->rows, 1));
    if (++copy->done % 1000 == 0)
        tell_indexed(copy);
    return rc == SQLITE_OK ? SQLITE_ROW : rc;
}

/* The old index has the rows in the order in which the new one needs them. */
static int copy_index(sqlite3 *db, struct copy *copy)
{
    int rc = sql_prepare(db, &copy->rows, "SELECT channel, seq FROM message ORDER BY channel, seq");
    if (rc == SQLITE_OK)
        rc = index_writer_init(&copy->index, db);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(copy->rows);
        if (rc == SQLITE_ROW)
            rc = copy_row(copy);
    }
    sqlite3_finalize(copy->rows);
    if (rc == SQLITE_DONE && (rc = index_finish(&copy->index)) == SQLITE_OK)
        rc = SQLITE_DONE;
    index_writer_free(&copy->index);
    if (rc == SQLITE_DONE && copy->done != copy->total)
        return SQLITE_CORRUPT;
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* ---- the tables ---- */

/* The new columns come last and are NULL, so the rows stay as they are: only the text of the table
 * changes, which SQLite's documentation of ALTER TABLE describes ("Making Other Kinds Of Table
 * Schema Changes"). ALTER TABLE itself would leave a text that differs from a new log's. */
static int extend_message(sqlite3 *db)
{
    int rc = sql_exec(db, "PRAGMA writable_schema=ON");
    if (rc == SQLITE_OK)
        rc = sql_run_with(db, "UPDATE sqlite_schema SET sql = ?1 WHERE name = 'message'",
                          schema_message);
    int off = sql_exec(db, "PRAGMA writable_schema=RESET"); /* reads the tables again */
    return rc == SQLITE_OK ? off : rc;
}

/* Everything was indexed, so all of it is settled. */
static int replace_log(sqlite3 *db)
{
    int rc = sql_exec(db, "CREATE TEMP TABLE old AS SELECT * FROM log; DROP TABLE main.log");
    if (rc == SQLITE_OK)
        rc = sql_exec(db, schema_log);
    if (rc == SQLITE_OK)
        rc = sql_exec(db, "INSERT INTO log SELECT id, epoch, head, forgotten, messages, bytes, "
                          "(SELECT count(*) FROM channel), 0, randomblob(16), NULL FROM old; "
                          "DROP TABLE old");
    return rc;
}

static int migrate_tables(sqlite3 *db, struct copy *copy)
{
    char version[60];
    snprintf(version, sizeof version, "PRAGMA user_version=%d", SCHEMA_VERSION);
    int rc = sql_number_of(db, "SELECT messages FROM log", &copy->total);
    rc = rc == SQLITE_ROW ? sql_exec(db, schema_indexes) : rc;
    if (rc == SQLITE_OK)
        rc = copy_index(db, copy);
    if (rc == SQLITE_OK)
        rc = sql_exec(db, "DROP INDEX message_by_channel");
    if (rc == SQLITE_OK)
        rc = replace_log(db);
    if (rc == SQLITE_OK)
        rc = extend_message(db);
    return rc == SQLITE_OK ? sql_exec(db, version) : rc;
}

int migrate_run(sqlite3 *db, struct shm *shm, const char *path, log_tell *tell, char *why,
                size_t why_size)
{
    struct copy copy = {
        .shm = shm, .path = path, .tell = tell, .line_ms = clock_steady_ms() + FIRST_LINE_MS};
    int rc = sql_exec(db, "BEGIN IMMEDIATE");
    if (rc == SQLITE_OK)
        rc = migrate_tables(db, &copy);
    if (rc == SQLITE_OK)
        rc = sql_exec(db, "COMMIT");
    if (rc == SQLITE_OK)
        return SQLITE_OK;
    if (rc == SQLITE_CORRUPT)
        snprintf(why, why_size, "its counts are not those of its messages");
    else
        rc = schema_explain(db, rc, unmigrated, why, why_size);
    if (!sqlite3_get_autocommit(db))
        sql_exec(db, "ROLLBACK");
    return rc;
}

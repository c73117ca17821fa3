#include "store/reader.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/advice.h"
#include "store/sql.h"

/* Readers of a log in WAL mode wait only for another program that recovers it or has locked it
 * exclusively. The loop does not wait long for that. */
enum { READ_BUSY_MS = 50 };

/* The messages of one channel, one after another. */
struct scan {
    sqlite3_stmt *rows;
    const char *channel;
    uint64_t seq; /* of the current row */
};

struct reader {
    sqlite3 *db;
    sqlite3_stmt *begin, *end, *forgotten, *channel;
    struct scan *scans; /* one for each channel of the widest read so far */
    size_t scan_count;
    char error[SQL_ERROR_SIZE];
};

static int prepare_reads(struct reader *reader)
{
    int rc = sql_prepare(reader->db, &reader->begin, "BEGIN");
    if (rc == SQLITE_OK)
        rc = sql_prepare(reader->db, &reader->end, "COMMIT");
    if (rc == SQLITE_OK)
        rc = sql_prepare(reader->db, &reader->forgotten, "SELECT forgotten FROM log");
    if (rc == SQLITE_OK)
        rc = sql_prepare(reader->db, &reader->channel,
                         "SELECT id, floor FROM channel WHERE name = ?1");
    return rc;
}

int reader_open(struct reader **out, const char *path, char *why, size_t why_size)
{
    struct reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        snprintf(why, why_size, "out of memory");
        return -1;
    }
    int rc = sql_open(&reader->db, path, SQLITE_OPEN_READONLY, READ_BUSY_MS);
    if (rc == SQLITE_OK)
        rc = sql_exec(reader->db, "PRAGMA temp_store=MEMORY");
    if (rc == SQLITE_OK)
        rc = prepare_reads(reader);
    if (rc != SQLITE_OK) {
        advice_explain(path, "opened", "SQLite", reader->db, rc, why, why_size);
        reader_close(reader);
        return -1;
    }
    *out = reader;
    return 0;
}

void reader_close(struct reader *reader)
{
    if (!reader)
        return;
    for (size_t i = 0; i < reader->scan_count; i++)
        sqlite3_finalize(reader->scans[i].rows);
    free(reader->scans);
    sqlite3_finalize(reader->begin);
    sqlite3_finalize(reader->end);
    sqlite3_finalize(reader->forgotten);
    sqlite3_finalize(reader->channel);
    sqlite3_close(reader->db);
    free(reader);
}

const char *reader_error(const struct reader *reader)
{
    return reader->error;
}

/* Makes a message of a row whose columns from `at` on are seq, time_ms, data. NULL: out of memory.
 */
static struct message *message_of_row(sqlite3_stmt *rows, int at, const char *channel)
{
    const char *data = sqlite3_column_blob(rows, at + 2);
    size_t data_len = (size_t)sqlite3_column_bytes(rows, at + 2);
    struct message *message = NULL;
    if (data || data_len == 0)
        message = message_new(channel, data, data_len, sqlite3_column_int64(rows, at + 1));
    if (message)
        message->seq = (uint64_t)sqlite3_column_int64(rows, at);
    return message;
}

/* ---- loading ---- */

/* Newest first. */
struct loaded {
    struct loaded_row {
        struct message *message;
        uint64_t floor; /* of its channel */
    } * rows;
    size_t count, capacity;
    uint64_t rest; /* the seq of the first message that did not fit; 0: all fitted */
};

static int load_row(struct loaded *loaded, sqlite3_stmt *rows, const char *channel)
{
    if (loaded->count == loaded->capacity) {
        size_t capacity = loaded->capacity ? loaded->capacity * 2 : 1024;
        struct loaded_row *grown = realloc(loaded->rows, capacity * sizeof *grown);
        if (!grown)
            return SQLITE_NOMEM;
        loaded->rows = grown;
        loaded->capacity = capacity;
    }
    struct message *message = message_of_row(rows, 2, channel);
    if (!message)
        return SQLITE_NOMEM;
    loaded->rows[loaded->count++] =
        (struct loaded_row){message, (uint64_t)sqlite3_column_int64(rows, 1)};
    return SQLITE_ROW;
}

static int load_messages(sqlite3_stmt *rows, size_t limit_bytes, struct loaded *loaded)
{
    size_t bytes = 0;
    int rc;
    while ((rc = sqlite3_step(rows)) == SQLITE_ROW) {
        const char *channel = (const char *)sqlite3_column_text(rows, 0);
        if (!channel || strlen(channel) > CHANNEL_MAX)
            return SQLITE_CORRUPT;
        bytes += message_size_of(strlen(channel), (size_t)sqlite3_column_bytes(rows, 4));
        if (bytes > limit_bytes) {
            loaded->rest = (uint64_t)sqlite3_column_int64(rows, 2);
            return SQLITE_DONE;
        }
        rc = load_row(loaded, rows, channel);
        if (rc != SQLITE_ROW)
            return rc;
    }
    return rc;
}

static void fill_tail(struct tail *tail, struct loaded *loaded)
{
    tail->start = loaded->rest;
    while (loaded->count) {
        struct loaded_row *row = &loaded->rows[--loaded->count];
        tail_add(tail, row->message);
        tail_set_floor(tail, message_channel(row->message), row->floor);
        message_drop(row->message);
    }
}

/* One statement, however many channels there are. */
int reader_load(struct reader *reader, struct tail *tail, char *why, size_t why_size)
{
    struct loaded loaded = {0};
    sqlite3_stmt *rows = NULL;
    sqlite3_int64 forgotten = 0;
    int rc = sql_prepare(reader->db, &rows,
                         "SELECT c.name, c.floor, m.seq, m.time_ms, m.data FROM message m "
                         "LEFT JOIN channel c ON c.id = m.channel ORDER BY m.seq DESC");
    if (rc == SQLITE_OK)
        rc = load_messages(rows, tail->limit_bytes, &loaded);
    sqlite3_finalize(rows);
    if (rc == SQLITE_DONE)
        rc = sql_number(reader->forgotten, &forgotten);
    if (rc == SQLITE_ROW) {
        tail->forgotten = (uint64_t)forgotten;
        fill_tail(tail, &loaded);
    }
    while (loaded.count)
        message_drop(loaded.rows[--loaded.count].message);
    free(loaded.rows);
    if (rc == SQLITE_ROW)
        return 0;
    advice_explain(sqlite3_db_filename(reader->db, "main"), "opened",
                   "the recent messages cannot be read", reader->db, rc, why, why_size);
    return -1;
}

/* ---- reading ---- */

static int reserve_scans(struct reader *reader, size_t count)
{
    int rc = SQLITE_OK;
    if (count <= reader->scan_count)
        return SQLITE_OK;
    struct scan *grown = realloc(reader->scans, count * sizeof *grown);
    if (!grown)
        return SQLITE_NOMEM;
    reader->scans = grown;
    while (reader->scan_count < count && rc == SQLITE_OK) {
        struct scan *scan = &grown[reader->scan_count];
        *scan = (struct scan){0};
        rc = sql_prepare(reader->db, &scan->rows,
                         "SELECT seq, time_ms, data FROM message "
                         "WHERE channel = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq");
        if (rc == SQLITE_OK)
            reader->scan_count++;
    }
    return rc;
}

/* Looks up a channel. Returns SQLITE_ROW with id and floor, SQLITE_DONE if it has no row, or the
 * error. */
static int read_channel(struct reader *reader, const char *name, sqlite3_int64 *id, uint64_t *floor)
{
    int rc = sqlite3_bind_text(reader->channel, 1, name, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(reader->channel);
    if (rc == SQLITE_ROW) {
        *id = sqlite3_column_int64(reader->channel, 0);
        *floor = (uint64_t)sqlite3_column_int64(reader->channel, 1);
    }
    sqlite3_reset(reader->channel);
    return rc;
}

/* Moves to the next row. Returns SQLITE_ROW, SQLITE_DONE, or the error. After the last row the scan
 * is reset, and can be bound again. */
static int step_scan(struct scan *scan)
{
    int rc = sqlite3_step(scan->rows);
    if (rc == SQLITE_ROW)
        scan->seq = (uint64_t)sqlite3_column_int64(scan->rows, 0);
    else
        sqlite3_reset(scan->rows);
    return rc;
}

static int start_scan(struct scan *scan, const char *channel, sqlite3_int64 id, uint64_t after,
                      uint64_t upto)
{
    int rc = sqlite3_bind_int64(scan->rows, 1, id);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(scan->rows, 2, (sqlite3_int64)after);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(scan->rows, 3, (sqlite3_int64)upto);
    scan->channel = channel;
    return rc == SQLITE_OK ? step_scan(scan) : rc;
}

/* Starts a scan of each channel that has messages in the range: they are the first *used of
 * reader->scans. Returns SQLITE_OK or the error. */
static int start_scans(struct reader *reader, const char *const *channels, size_t count,
                       uint64_t after, uint64_t upto, size_t *used, struct floors *floors)
{
    sqlite3_int64 forgotten = 0;
    int rc = sql_number(reader->forgotten, &forgotten);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
    for (size_t i = 0; i < count; i++) {
        uint64_t floor = (uint64_t)forgotten;
        sqlite3_int64 id = 0;
        rc = read_channel(reader, channels[i], &id, &floor);
        if (rc == SQLITE_ROW)
            rc = start_scan(&reader->scans[*used], channels[i], id, after, upto);
        if (rc == SQLITE_ROW)
            ++*used;
        else if (rc != SQLITE_DONE)
            return rc;
        floors_add(floors, floor);
    }
    return SQLITE_OK;
}

/* Adds the oldest row of all scans to the page and moves that scan on. A scan that is done changes
 * places with the last one. Returns SQLITE_OK or the error. */
static int add_oldest_row(struct reader *reader, size_t *used, struct page_fill *fill)
{
    struct scan *oldest = reader->scans;
    for (size_t i = 1; i < *used; i++)
        if (reader->scans[i].seq < oldest->seq)
            oldest = &reader->scans[i];
    struct message *message = message_of_row(oldest->rows, 0, oldest->channel);
    if (!message || page_add(fill, message) != 0) {
        message_drop(message);
        return SQLITE_NOMEM;
    }
    int rc = step_scan(oldest);
    if (rc == SQLITE_DONE) {
        struct scan done = *oldest;
        *oldest = reader->scans[--*used];
        reader->scans[*used] = done;
        return SQLITE_OK;
    }
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

enum log_status reader_read(struct reader *reader, const char *const *channels, size_t count,
                            uint64_t after, uint64_t upto, struct page_fill *fill,
                            struct floors *floors)
{
    size_t used = 0;
    errno = 0;
    int rc = reserve_scans(reader, count);
    if (rc == SQLITE_OK)
        rc = sql_run(reader->begin);
    if (rc == SQLITE_OK)
        rc = start_scans(reader, channels, count, after, upto, &used, floors);
    while (rc == SQLITE_OK && used && !page_is_full(fill))
        rc = add_oldest_row(reader, &used, fill);
    fill->page->more = used > 0;
    enum log_status status = sql_status(rc);
    if (status != LOG_OK)
        sql_explain(reader->error, sizeof reader->error, "reading the log", reader->db, rc);
    for (size_t i = 0; i < reader->scan_count; i++)
        sqlite3_reset(reader->scans[i].rows);
    if (!sqlite3_get_autocommit(reader->db))
        sql_run(reader->end);
    return status;
}

/* The statement is prepared for this one call: a feed needs it when it starts, and not again. */
enum log_status reader_newest(struct reader *reader, const char *channel, uint64_t upto,
                              struct message **message)
{
    sqlite3_stmt *rows = NULL;
    int rc = sql_prepare(reader->db, &rows,
                         "SELECT m.seq, m.time_ms, m.data FROM message m "
                         "WHERE m.channel = (SELECT id FROM channel WHERE name = ?1) "
                         "AND m.seq <= ?2 ORDER BY m.seq DESC LIMIT 1");
    *message = NULL;
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(rows, 1, channel, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(rows, 2, (sqlite3_int64)upto);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(rows);
    if (rc == SQLITE_ROW) {
        *message = message_of_row(rows, 0, channel);
        rc = *message ? SQLITE_OK : SQLITE_NOMEM;
    } else if (rc == SQLITE_DONE) {
        rc = SQLITE_OK;
    }
    if (rc != SQLITE_OK)
        sql_explain(reader->error, sizeof reader->error, "reading the log", reader->db, rc);
    sqlite3_finalize(rows);
    return sql_status(rc);
}

#include "store/reader.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/advice.h"
#include "store/index.h"
#include "store/sql.h"

/* Readers of a log in WAL mode wait only for another program that recovers it or has locked it
 * exclusively. Others wait for their pages meanwhile, so that is not waited for for long. */
enum { READ_BUSY_MS = 50 };

/* The messages of one channel, one after another. */
struct scan {
    struct index_walk walk;
    const char *channel;
};

/* A channel that is read. */
struct wanted_channel {
    sqlite3_int64 id;
    const char *name;
};

struct reader {
    sqlite3 *db;
    sqlite3_stmt *begin, *end, *log, *channel, *message, *stretch;
    struct scan *scans;            /* one for each channel of the widest read so far, */
    struct wanted_channel *wanted; /* and as many of these */
    size_t scan_count;
    char error[SQL_ERROR_SIZE];
};

static int prepare_reads(struct reader *reader)
{
    int rc = sql_prepare(reader->db, &reader->begin, "BEGIN");
    if (rc == SQLITE_OK)
        rc = sql_prepare(reader->db, &reader->end, "COMMIT");
    if (rc == SQLITE_OK)
        rc = sql_prepare(reader->db, &reader->log, "SELECT forgotten, settled FROM log");
    if (rc == SQLITE_OK)
        rc = sql_prepare(reader->db, &reader->channel,
                         "SELECT id, floor FROM channel WHERE name = ?1");
    if (rc == SQLITE_OK)
        rc = sql_prepare(reader->db, &reader->message,
                         "SELECT seq, time_ms, data FROM message WHERE seq = ?1");
    if (rc == SQLITE_OK)
        rc = sql_prepare(reader->db, &reader->stretch,
                         "SELECT seq, time_ms, data, channel FROM message "
                         "WHERE seq > ?1 AND seq <= ?2 ORDER BY seq");
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
        index_walk_free(&reader->scans[i].walk);
    free(reader->scans);
    free(reader->wanted);
    sqlite3_finalize(reader->begin);
    sqlite3_finalize(reader->end);
    sqlite3_finalize(reader->log);
    sqlite3_finalize(reader->channel);
    sqlite3_finalize(reader->message);
    sqlite3_finalize(reader->stretch);
    sqlite3_close(reader->db);
    free(reader);
}

void reader_interrupt(struct reader *reader)
{
    sqlite3_interrupt(reader->db);
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
        rc = sql_number(reader->log, &forgotten);
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

/* What a read needs besides its arguments. */
struct extent {
    uint64_t after, upto; /* the seqs that are asked for */
    uint64_t settled;     /* the index has all up to this one (schema.h) */
    size_t known;         /* the first of reader->wanted: channels that have a row, by id */
    size_t used;          /* the first of reader->scans: those that have rows left */
};

static int reserve_scans(struct reader *reader, size_t count)
{
    int rc = SQLITE_OK;
    if (count <= reader->scan_count)
        return SQLITE_OK;
    struct scan *scans = realloc(reader->scans, count * sizeof *scans);
    if (!scans)
        return SQLITE_NOMEM;
    reader->scans = scans;
    struct wanted_channel *wanted = realloc(reader->wanted, count * sizeof *wanted);
    if (!wanted)
        return SQLITE_NOMEM;
    reader->wanted = wanted;
    while (reader->scan_count < count && rc == SQLITE_OK) {
        rc = index_walk_init(&scans[reader->scan_count].walk, reader->db);
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

/* A scan ends with its channel's messages, or with the extent. */
static int end_at_extent(struct scan *scan, int rc, const struct extent *extent)
{
    if (rc != SQLITE_ROW || scan->walk.seq <= extent->upto)
        return rc;
    index_walk_end(&scan->walk);
    return SQLITE_DONE;
}

/* What is not above the floor is deleted, though the index may have it still. */
static int start_scan(struct scan *scan, const struct wanted_channel *channel, uint64_t floor,
                      const struct extent *extent)
{
    uint64_t after = floor > extent->after ? floor : extent->after;
    scan->channel = channel->name;
    return end_at_extent(scan, index_walk_start(&scan->walk, channel->id, after), extent);
}

/* Reads how far the index goes, and the floor of channels without a row. */
static int read_log_row(struct reader *reader, struct extent *extent, uint64_t *forgotten)
{
    errno = 0;
    int rc = sqlite3_step(reader->log);
    if (rc == SQLITE_ROW) {
        *forgotten = (uint64_t)sqlite3_column_int64(reader->log, 0);
        extent->settled = (uint64_t)sqlite3_column_int64(reader->log, 1);
    }
    sqlite3_reset(reader->log);
    return rc == SQLITE_ROW ? SQLITE_OK : rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

/* Starts a scan of each channel that has indexed messages in the extent. Returns SQLITE_OK or the
 * error. */
static int start_scans(struct reader *reader, const char *const *channels, size_t count,
                       struct extent *extent, struct floors *floors)
{
    uint64_t forgotten = 0;
    int rc = read_log_row(reader, extent, &forgotten);
    for (size_t i = 0; i < count && rc == SQLITE_OK; i++) {
        struct wanted_channel *wanted = &reader->wanted[extent->known];
        uint64_t floor = forgotten;
        wanted->name = channels[i];
        rc = read_channel(reader, channels[i], &wanted->id, &floor);
        extent->known += rc == SQLITE_ROW;
        if (rc == SQLITE_ROW)
            rc = start_scan(&reader->scans[extent->used], wanted, floor, extent);
        extent->used += rc == SQLITE_ROW;
        floors_add(floors, floor);
        if (rc == SQLITE_ROW || rc == SQLITE_DONE)
            rc = SQLITE_OK;
    }
    return rc;
}

/* Adds the message of the row to the page. */
static int add_row(sqlite3_stmt *row, const char *channel, struct page_fill *fill)
{
    struct message *message = message_of_row(row, 0, channel);
    if (message && page_add(fill, message) == 0)
        return SQLITE_OK;
    message_drop(message);
    return SQLITE_NOMEM;
}

/* Reads message seq, and adds it to the page. */
static int add_message(struct reader *reader, uint64_t seq, const char *channel,
                       struct page_fill *fill)
{
    int rc = sqlite3_bind_int64(reader->message, 1, (sqlite3_int64)seq);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(reader->message);
    if (rc == SQLITE_ROW)
        rc = add_row(reader->message, channel, fill);
    else if (rc == SQLITE_DONE)
        rc = SQLITE_CORRUPT; /* the index has it */
    sqlite3_reset(reader->message);
    return rc;
}

/* Adds the oldest message of all scans to the page and moves that scan on. A scan that is done
 * changes places with the last one. Returns SQLITE_OK or the error. */
static int add_oldest(struct reader *reader, struct extent *extent, struct page_fill *fill)
{
    struct scan *oldest = reader->scans;
    for (size_t i = 1; i < extent->used; i++)
        if (reader->scans[i].walk.seq < oldest->walk.seq)
            oldest = &reader->scans[i];
    int rc = add_message(reader, oldest->walk.seq, oldest->channel, fill);
    if (rc != SQLITE_OK)
        return rc;
    rc = end_at_extent(oldest, index_walk_next(&oldest->walk), extent);
    if (rc == SQLITE_DONE) {
        struct scan done = *oldest;
        *oldest = reader->scans[--extent->used];
        reader->scans[extent->used] = done;
        return SQLITE_OK;
    }
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* The name of a channel that is read; NULL if it is another. */
static const char *wanted_name(const struct reader *reader, size_t known, sqlite3_int64 id)
{
    for (size_t i = 0; i < known; i++)
        if (reader->wanted[i].id == id)
            return reader->wanted[i].name;
    return NULL;
}

/* Adds what is newer than the index: it walks over all messages of the stretch, which are few
 * (ledger.h) and mostly in memory. Sets *more if the page is full before their end. */
static int add_stretch(struct reader *reader, const struct extent *extent, struct page_fill *fill,
                       bool *more)
{
    sqlite3_stmt *rows = reader->stretch;
    uint64_t from = extent->settled > extent->after ? extent->settled : extent->after;
    if (extent->known == 0 || from >= extent->upto)
        return SQLITE_OK;
    int rc = sqlite3_bind_int64(rows, 1, (sqlite3_int64)from);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(rows, 2, (sqlite3_int64)extent->upto);
    if (rc != SQLITE_OK)
        return rc;
    while ((rc = sqlite3_step(rows)) == SQLITE_ROW) {
        const char *name = wanted_name(reader, extent->known, sqlite3_column_int64(rows, 3));
        *more = name && page_is_full(fill);
        rc = name && !*more ? add_row(rows, name, fill) : SQLITE_OK;
        if (rc != SQLITE_OK || *more)
            return rc;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int read_extent(struct reader *reader, const char *const *channels, size_t count,
                       struct extent *extent, struct page_fill *fill, struct floors *floors)
{
    int rc = sql_run(reader->begin);
    if (rc == SQLITE_OK)
        rc = start_scans(reader, channels, count, extent, floors);
    while (rc == SQLITE_OK && extent->used && !page_is_full(fill))
        rc = add_oldest(reader, extent, fill);
    fill->page->more = extent->used > 0;
    if (rc == SQLITE_OK && !fill->page->more)
        rc = add_stretch(reader, extent, fill, &fill->page->more);
    return rc;
}

enum log_status reader_read(struct reader *reader, const char *const *channels, size_t count,
                            uint64_t after, uint64_t upto, struct page_fill *fill,
                            struct floors *floors)
{
    struct extent extent = {.after = after, .upto = upto};
    errno = 0;
    int rc = reserve_scans(reader, count);
    if (rc == SQLITE_OK)
        rc = read_extent(reader, channels, count, &extent, fill, floors);
    enum log_status status = sql_status(rc);
    if (status != LOG_OK)
        sql_explain(reader->error, sizeof reader->error, "reading the log", reader->db, rc);
    for (size_t i = 0; i < reader->scan_count; i++)
        index_walk_end(&reader->scans[i].walk);
    sqlite3_reset(reader->stretch);
    if (!sqlite3_get_autocommit(reader->db))
        sql_run(reader->end);
    return status;
}

/* The newest of the stretch, else of the index. The statement is prepared for this one call: a feed
 * needs it when it starts, and not again. */
static int find_newest(struct reader *reader, sqlite3_int64 channel, uint64_t upto, uint64_t *seq)
{
    sqlite3_stmt *stretch = NULL;
    sqlite3_int64 newest = 0;
    int rc = sql_prepare(reader->db, &stretch,
                         "SELECT coalesce(max(seq), 0) FROM message WHERE channel = ?1 "
                         "AND seq > (SELECT settled FROM log) AND seq <= ?2");
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stretch, 1, channel);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stretch, 2, (sqlite3_int64)upto);
    if (rc == SQLITE_OK)
        rc = sql_number(stretch, &newest);
    sqlite3_finalize(stretch);
    *seq = (uint64_t)newest;
    if (rc == SQLITE_ROW && newest == 0)
        return index_newest(reader->db, channel, upto, seq);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int read_newest_of(struct reader *reader, const char *channel, uint64_t upto,
                          struct page_fill *fill)
{
    sqlite3_int64 id = 0;
    uint64_t floor = 0, seq = 0;
    int rc = sql_run(reader->begin);
    if (rc == SQLITE_OK)
        rc = read_channel(reader, channel, &id, &floor);
    if (rc == SQLITE_ROW)
        rc = find_newest(reader, id, upto, &seq);
    if (rc == SQLITE_OK && seq > floor)
        rc = add_message(reader, seq, channel, fill);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

enum log_status reader_newest(struct reader *reader, const char *channel, uint64_t upto,
                              struct message **message)
{
    struct page page = {.messages = NULL};
    struct page_fill fill = {.page = &page, .limit = {1, SIZE_MAX}};
    errno = 0;
    int rc = read_newest_of(reader, channel, upto, &fill);
    *message = page.count ? message_hold(page.messages[0]) : NULL;
    page_free(&page);
    if (rc != SQLITE_OK)
        sql_explain(reader->error, sizeof reader->error, "reading the log", reader->db, rc);
    enum log_status status = sql_status(rc);
    if (!sqlite3_get_autocommit(reader->db))
        sql_run(reader->end);
    return status;
}

#include "store/rows.h"

#include <string.h>

#include "store/schema.h"
#include "store/sql.h"

int rows_init(struct rows *rows, sqlite3 *db)
{
    *rows = (struct rows){.db = db};
    const struct {
        sqlite3_stmt **statement;
        const char *text;
    } all[] = {
        {&rows->find_name, "SELECT id, name, floor, count FROM channel WHERE name = ?1"},
        {&rows->find_id, "SELECT id, name, floor, count FROM channel WHERE id = ?1"},
        {&rows->save, "INSERT INTO channel(id, name, floor, count) VALUES (?1, ?2, ?3, ?4) "
                      "ON CONFLICT(id) DO UPDATE SET floor = ?3, count = ?4"},
        {&rows->erase, "DELETE FROM channel WHERE id = ?1"},
        {&rows->unindex, "DELETE FROM by_channel WHERE channel = ?1 AND last <= ?2"},
        {&rows->save_log, "UPDATE log SET settled = ?1, forgotten = ?2, messages = ?3, "
                          "bytes = ?4, channels = ?5, keys = ?6, position = ?7"},
        {&rows->version, "PRAGMA data_version"},
    };
    int rc = SQLITE_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && rc == SQLITE_OK; i++)
        rc = sql_prepare(db, all[i].statement, all[i].text);
    return rc;
}

void rows_free(struct rows *rows)
{
    sqlite3_stmt *const all[] = {rows->find_name, rows->find_id,  rows->save,   rows->erase,
                                 rows->unindex,   rows->save_log, rows->version};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sqlite3_finalize(all[i]);
}

/* ---- the row of the log ---- */

int rows_read_totals(struct rows *rows, struct totals *settled, uint64_t *head,
                     sqlite3_int64 *next_id)
{
    sqlite3_stmt *row = NULL;
    int rc = sql_prepare(rows->db, &row,
                         "SELECT settled, forgotten, messages, bytes, channels, keys, " SCHEMA_HEAD
                         ", (SELECT coalesce(max(id), 0) FROM channel) + 1 FROM log");
    if (rc == SQLITE_OK)
        rc = sqlite3_step(row);
    if (rc == SQLITE_ROW) {
        settled->head = (uint64_t)sqlite3_column_int64(row, 0);
        settled->forgotten = (uint64_t)sqlite3_column_int64(row, 1);
        settled->messages = (uint64_t)sqlite3_column_int64(row, 2);
        settled->bytes = (uint64_t)sqlite3_column_int64(row, 3);
        settled->channels = (uint64_t)sqlite3_column_int64(row, 4);
        settled->keys = (uint64_t)sqlite3_column_int64(row, 5);
        *head = (uint64_t)sqlite3_column_int64(row, 6);
        *next_id = sqlite3_column_int64(row, 7);
        rc = SQLITE_OK;
    } else if (rc == SQLITE_DONE) {
        rc = SQLITE_CORRUPT;
    }
    sqlite3_finalize(row);
    return rc;
}

int rows_read_position(struct rows *rows, char position[POSITION_MAX + 1])
{
    sqlite3_stmt *row = NULL;
    int rc = sql_prepare(rows->db, &row,
                         "SELECT coalesce((SELECT position FROM message WHERE seq > settled AND "
                         "position IS NOT NULL ORDER BY seq DESC LIMIT 1), position, '') FROM log");
    if (rc == SQLITE_OK)
        rc = sqlite3_step(row);
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(row, 0);
        int len = sqlite3_column_bytes(row, 0);
        rc = !text ? SQLITE_NOMEM : len > POSITION_MAX ? SQLITE_CORRUPT : SQLITE_OK;
        if (rc == SQLITE_OK)
            memcpy(position, text, (size_t)len + 1);
    }
    sqlite3_finalize(row);
    return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

int rows_save_totals(struct rows *rows, const struct totals *totals, const char *position)
{
    const uint64_t values[] = {totals->head,  totals->forgotten, totals->messages,
                               totals->bytes, totals->channels,  totals->keys};
    int rc = sqlite3_bind_text(rows->save_log, 7, position, -1, SQLITE_STATIC);
    for (int i = 0; i < 6 && rc == SQLITE_OK; i++)
        rc = sqlite3_bind_int64(rows->save_log, i + 1, (sqlite3_int64)values[i]);
    return rc == SQLITE_OK ? sql_run(rows->save_log) : rc;
}

int rows_read_version(struct rows *rows, sqlite3_int64 *version)
{
    return sql_number(rows->version, version);
}

/* ---- the rows of channels ---- */

/* Caches the channel of a row whose first columns are id, name, floor, count. */
static int cache_row(struct channels *channels, sqlite3_stmt *row, struct channel **out)
{
    const char *name = (const char *)sqlite3_column_text(row, 1);
    if (!name)
        return SQLITE_NOMEM;
    if (sqlite3_column_bytes(row, 1) > CHANNEL_MAX)
        return SQLITE_CORRUPT;
    struct channel *channel = channels_add(channels, sqlite3_column_int64(row, 0), name,
                                           (size_t)sqlite3_column_bytes(row, 1));
    if (!channel)
        return SQLITE_NOMEM;
    channel->has_row = true;
    channel->floor = channel->committed_floor = (uint64_t)sqlite3_column_int64(row, 2);
    channel->count = channel->committed_count = (uint64_t)sqlite3_column_int64(row, 3);
    *out = channel;
    return SQLITE_OK;
}

/* Caches the row that find, bound, gives. */
static int load_channel(struct channels *channels, sqlite3_stmt *find, struct channel **out)
{
    int rc = sqlite3_step(find);
    if (rc == SQLITE_ROW)
        rc = cache_row(channels, find, out);
    sqlite3_reset(find);
    return rc;
}

int rows_load_name(struct rows *rows, struct channels *channels, const char *name, size_t name_len,
                   struct channel **out)
{
    int rc = sqlite3_bind_text(rows->find_name, 1, name, (int)name_len, SQLITE_STATIC);
    return rc == SQLITE_OK ? load_channel(channels, rows->find_name, out) : rc;
}

int rows_load_id(struct rows *rows, struct channels *channels, sqlite3_int64 id,
                 struct channel **out)
{
    int rc = sqlite3_bind_int64(rows->find_id, 1, id);
    return rc == SQLITE_OK ? load_channel(channels, rows->find_id, out) : rc;
}

int rows_read_stretch(struct rows *rows, struct channels *channels,
                      void (*each)(void *context, struct channel *channel, uint64_t messages,
                                   uint64_t bytes),
                      void *context)
{
    sqlite3_stmt *sums = NULL;
    struct channel *channel;
    int rc = sql_prepare(rows->db, &sums,
                         "SELECT c.id, c.name, c.floor, c.count, m.count, m.bytes FROM "
                         "(SELECT channel, count(*) AS count, sum(length(data)) AS bytes "
                         "FROM message WHERE seq > (SELECT settled FROM log) GROUP BY channel) m "
                         "JOIN channel c ON c.id = m.channel");
    while (rc == SQLITE_OK && (rc = sqlite3_step(sums)) == SQLITE_ROW) {
        rc = cache_row(channels, sums, &channel);
        if (rc == SQLITE_OK)
            each(context, channel, (uint64_t)sqlite3_column_int64(sums, 4),
                 (uint64_t)sqlite3_column_int64(sums, 5));
    }
    sqlite3_finalize(sums);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int rows_save_channel(struct rows *rows, const struct channel *channel, uint64_t count)
{
    sqlite3_stmt *save = rows->save;
    int rc = sqlite3_bind_int64(save, 1, channel->id);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(save, 2, channel->name, channel->name_len, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(save, 3, (sqlite3_int64)channel->floor);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(save, 4, (sqlite3_int64)count);
    return rc == SQLITE_OK ? sql_run(save) : rc;
}

int rows_erase_channel(struct rows *rows, const struct channel *channel)
{
    int rc = sqlite3_bind_int64(rows->erase, 1, channel->id);
    return rc == SQLITE_OK ? sql_run(rows->erase) : rc;
}

int rows_unindex_channel(struct rows *rows, const struct channel *channel)
{
    int rc = sqlite3_bind_int64(rows->unindex, 1, channel->id);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(rows->unindex, 2, (sqlite3_int64)channel->floor);
    return rc == SQLITE_OK ? sql_run(rows->unindex) : rc;
}

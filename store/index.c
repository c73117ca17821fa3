#include "store/index.h"

#include "store/sql.h"

/* ---- writing ---- */

int index_writer_init(struct index_writer *writer, sqlite3 *db)
{
    *writer = (struct index_writer){.channel = 0};
    return sql_prepare(db, &writer->insert,
                       "INSERT INTO by_channel(channel, last, seqs) VALUES (?1, ?2, ?3)");
}

void index_writer_free(struct index_writer *writer)
{
    sqlite3_finalize(writer->insert);
}

int index_finish(struct index_writer *writer)
{
    sqlite3_stmt *insert = writer->insert;
    struct packed *packed = &writer->packed;
    if (packed->last == 0)
        return SQLITE_OK;
    int rc = sqlite3_bind_int64(insert, 1, writer->channel);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(insert, 2, (sqlite3_int64)packed->last);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob(insert, 3, packed->bytes, (int)packed->len, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sql_run(insert);
    packed->last = 0;
    packed->len = 0;
    return rc;
}

int index_put(struct index_writer *writer, sqlite3_int64 channel, uint64_t seq)
{
    if (channel == writer->channel && packed_add(&writer->packed, seq))
        return SQLITE_OK;
    int rc = index_finish(writer);
    writer->channel = channel;
    if (rc == SQLITE_OK && !packed_add(&writer->packed, seq))
        rc = SQLITE_CORRUPT; /* not in order: 0 */
    return rc;
}

/* ---- reading ---- */

int index_walk_init(struct index_walk *walk, sqlite3 *db)
{
    *walk = (struct index_walk){.seq = 0};
    return sql_prepare(db, &walk->rows,
                       "SELECT seqs FROM by_channel WHERE channel = ?1 AND last > ?2 "
                       "ORDER BY last");
}

void index_walk_free(struct index_walk *walk)
{
    sqlite3_finalize(walk->rows);
}

void index_walk_end(struct index_walk *walk)
{
    sqlite3_reset(walk->rows);
}

/* Begins with the numbers of a row. Returns SQLITE_OK, or SQLITE_NOMEM. */
static int unpack_row(sqlite3_stmt *row, struct unpacking *seqs)
{
    const uint8_t *bytes = sqlite3_column_blob(row, 0);
    if (!bytes)
        return SQLITE_NOMEM;
    *seqs = (struct unpacking){.at = bytes, .end = bytes + sqlite3_column_bytes(row, 0)};
    return SQLITE_OK;
}

/* The next number of the current row. */
static int next_in_row(struct index_walk *walk)
{
    int result = packed_next(&walk->seqs);
    walk->seq = walk->seqs.last;
    return result < 0 ? SQLITE_CORRUPT : result == 0 ? SQLITE_DONE : SQLITE_ROW;
}

int index_walk_next(struct index_walk *walk)
{
    int rc;
    do {
        rc = next_in_row(walk);
        if (rc == SQLITE_DONE && (rc = sqlite3_step(walk->rows)) == SQLITE_ROW) {
            rc = unpack_row(walk->rows, &walk->seqs);
            rc = rc == SQLITE_OK ? next_in_row(walk) : rc;
        }
    } while (rc == SQLITE_ROW && walk->seq <= walk->after);
    if (rc != SQLITE_ROW)
        index_walk_end(walk);
    return rc;
}

int index_walk_start(struct index_walk *walk, sqlite3_int64 channel, uint64_t after)
{
    walk->seqs = (struct unpacking){.at = NULL};
    walk->after = after;
    int rc = sqlite3_bind_int64(walk->rows, 1, channel);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(walk->rows, 2, (sqlite3_int64)after);
    return rc == SQLITE_OK ? index_walk_next(walk) : rc;
}

/* The newest number up to `upto` of a row; *seq stays as it is if there is none. */
static int newest_in_row(sqlite3_stmt *row, uint64_t upto, uint64_t *seq)
{
    struct unpacking seqs;
    int result, rc = unpack_row(row, &seqs);
    if (rc != SQLITE_OK)
        return rc;
    while ((result = packed_next(&seqs)) > 0 && seqs.last <= upto)
        *seq = seqs.last;
    return result < 0 ? SQLITE_CORRUPT : SQLITE_OK;
}

/* The same of the one row that the statement finds. */
static int newest_of_row(sqlite3 *db, const char *text, sqlite3_int64 channel, uint64_t upto,
                         uint64_t *seq)
{
    sqlite3_stmt *row = NULL;
    int rc = sql_prepare(db, &row, text);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(row, 1, channel);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(row, 2, (sqlite3_int64)upto);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(row);
    if (rc == SQLITE_ROW)
        rc = newest_in_row(row, upto, seq);
    sqlite3_finalize(row);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* It is in the row that reaches further, or is the last of the row before. */
int index_newest(sqlite3 *db, sqlite3_int64 channel, uint64_t upto, uint64_t *seq)
{
    *seq = 0;
    int rc = newest_of_row(db,
                           "SELECT seqs FROM by_channel WHERE channel = ?1 AND last > ?2 "
                           "ORDER BY last LIMIT 1",
                           channel, upto, seq);
    if (rc == SQLITE_OK && *seq == 0)
        rc = newest_of_row(db,
                           "SELECT seqs FROM by_channel WHERE channel = ?1 AND last <= ?2 "
                           "ORDER BY last DESC LIMIT 1",
                           channel, upto, seq);
    return rc;
}

/* index.h - the index by channel (schema.h): which messages up to log.settled a channel has.
 *
 * A row has some neighbours of one channel, packed (packed.h), and its key is the channel and the
 * last of them. So a busy channel's message takes a byte, and is written and read with its
 * neighbours. Rows are only added behind those of their channel, and deleted when all of their
 * messages are: the first row of a channel may still have some that are deleted, which are not
 * above the channel's floor.
 *
 * Any thread, on a connection that it owns. Functions that return int return SQLite's result codes.
 */
#ifndef ENCKE_STORE_INDEX_H
#define ENCKE_STORE_INDEX_H

#include <sqlite3.h>
#include <stdint.h>

#include "store/packed.h"

/* ---- writing ---- */

struct index_writer {
    sqlite3_stmt *insert;
    sqlite3_int64 channel; /* of the row that is being packed */
    struct packed packed;
};

/* After a failure index_writer_free is still to be called. */
int index_writer_init(struct index_writer *writer, sqlite3 *db);
void index_writer_free(struct index_writer *writer);

/* Adds a message. They come in the order of channel and seq; index_finish writes the last row. */
int index_put(struct index_writer *writer, sqlite3_int64 channel, uint64_t seq);
int index_finish(struct index_writer *writer);

/* ---- reading ---- */

/* A walk along one channel. */
struct index_walk {
    sqlite3_stmt *rows;
    struct unpacking seqs; /* of the current row */
    uint64_t after;
    uint64_t seq; /* where the walk is */
};

/* After a failure index_walk_free is still to be called. */
int index_walk_init(struct index_walk *walk, sqlite3 *db);
void index_walk_free(struct index_walk *walk);

/* Goes to the first message after that seq, and on to the next. Return SQLITE_ROW with walk->seq,
 * SQLITE_DONE, or the error. The walk is to be ended, by SQLITE_DONE or by index_walk_end, before
 * its transaction is. */
int index_walk_start(struct index_walk *walk, sqlite3_int64 channel, uint64_t after);
int index_walk_next(struct index_walk *walk);
void index_walk_end(struct index_walk *walk);

/* Finds the channel's newest message up to that seq: 0 if there is none. Its statements are
 * prepared for the call. */
int index_newest(sqlite3 *db, sqlite3_int64 channel, uint64_t upto, uint64_t *seq);

#endif

/* stretch.h - the messages that are not settled yet (ledger.h): which channel each is in, kept in
 * memory until all of them are indexed together (index.h).
 *
 * The writer's thread only. Functions that return int return SQLite's result codes.
 */
#ifndef ENCKE_STORE_STRETCH_H
#define ENCKE_STORE_STRETCH_H

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

#include "store/index.h"

struct stretch {
    struct stretch_place {
        sqlite3_int64 channel, seq;
    } * places;
    size_t count, capacity;
    struct index_writer index;
};

/* Prepares the statement, and reads the stretch that is in the database. After a failure
 * stretch_free is still to be called. */
int stretch_init(struct stretch *stretch, sqlite3 *db);
void stretch_free(struct stretch *stretch);

/* Message seq is in that channel. Returns SQLITE_OK or SQLITE_NOMEM. */
int stretch_add(struct stretch *stretch, sqlite3_int64 channel, uint64_t seq);

/* Writes all of them into by_channel. */
int stretch_index(struct stretch *stretch);

/* What stretch_index wrote is committed: nothing is left. */
void stretch_clear(struct stretch *stretch);

/* Messages after head were rolled back. */
void stretch_undo(struct stretch *stretch, uint64_t head);

#endif

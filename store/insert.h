/* insert.h - writes the messages of an append as rows, all or none, in the transaction that runs.
 *
 * First each message is looked at: was it stored before (once.h), may its channel be made? If one
 * is refused, so is the append, and nothing of it is written; the other appends of the transaction
 * go on.
 *
 * The writer's thread only.
 */
#ifndef ENCKE_STORE_INSERT_H
#define ENCKE_STORE_INSERT_H

#include <sqlite3.h>
#include <stdbool.h>

#include "store/append.h"
#include "store/clock.h"
#include "store/ledger.h"
#include "store/once.h"

struct insert {
    struct ledger *ledger; /* both borrowed */
    struct once *once;
    bool settles; /* the transaction writes all keys into their table: so rows need none */
    sqlite3_stmt *row;
};

/* Returns SQLite's result code; after a failure insert_free is still to be called. */
int insert_init(struct insert *insert, sqlite3 *db, struct ledger *ledger, struct once *once);
void insert_free(struct insert *insert);

/* Inserts the append's messages. Sets its status: LOG_OK, and then the seq of each entry, and
 * whether it is a duplicate; or why it is refused, and for which entry. Returns SQLite's result
 * code: after an error the transaction is to be rolled back. */
int insert_append(struct insert *insert, struct append *append, const struct moment *now);

#endif

/* channels.h - the channels that the ledger has in memory, by name and by the id of their rows.
 *
 * The writer's thread only.
 */
#ifndef ENCKE_STORE_CHANNELS_H
#define ENCKE_STORE_CHANNELS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "store/table.h"

struct channel {
    sqlite3_int64 id;
    uint64_t floor; /* messages up to this seq may have been deleted */
    uint64_t count; /* messages retained */
    uint64_t committed_floor, committed_count;
    bool changed; /* in this transaction */
    bool has_row; /* committed */
    bool behind;  /* its row lacks messages of the stretch (ledger.h) */
    TAILQ_ENTRY(channel) changes, stretch;
    UT_hash_handle hh, hh_id;
    uint8_t name_len;
    char name[];
};
TAILQ_HEAD(channel_list, channel);

/* All zero bytes is an empty one. */
struct channels {
    struct channel *by_name, *by_id;
};

/* Finds a channel; NULL if it is not here. */
struct channel *channels_find(const struct channels *channels, const char *name, size_t name_len);
struct channel *channels_find_id(const struct channels *channels, sqlite3_int64 id);

/* Adds one that is not here, all else zero; NULL when out of memory. */
struct channel *channels_add(struct channels *channels, sqlite3_int64 id, const char *name,
                             size_t name_len);

/* Takes one out and frees it. It must be in no list. */
void channels_drop(struct channels *channels, struct channel *channel);

/* Drops those that were added first until at most `keep` are left. */
void channels_shrink(struct channels *channels, unsigned keep);

#endif

/* keys.h - the keys of once.h in memory: a queue in the order in which they were added, and an
 * index by their hash.
 *
 * A key takes 40 bytes, in blocks that never move, and 11 to 22 bytes of the index. Blocks and
 * index are given back as keys go. The index is in many small parts, each of which grows by itself:
 * so no single key waits until a million are indexed anew.
 *
 * Clients choose keys. The index has a keyed hash (table.h) of their hashes: nobody can aim at a
 * place in it, not even who knows a log's secret (once.h).
 *
 * Any thread, one at a time.
 */
#ifndef ENCKE_STORE_KEYS_H
#define ENCKE_STORE_KEYS_H

#include <stdint.h>

enum {
    KEYS_HASH = 16, /* bytes of the hash of a channel and a key */
    KEYS_TEXT = 8,  /* bytes of the hash of a text */
    KEYS_PARTS = 256
};

struct key {
    uint8_t hash[KEYS_HASH];
    uint8_t text[KEYS_TEXT]; /* of the message */
    uint64_t seq;            /* of the message; 0: it has none yet */
    int64_t time_ms;         /* of the message */
};

/* Keys have numbers below 2^31, which start over. All zero: no keys. */
struct keys {
    struct key **blocks; /* a ring: that of a number is at its block's number modulo `ring` */
    uint32_t ring;       /* a power of 2; 0: there is none */
    uint32_t first;      /* the number of the oldest key */
    uint32_t count;
    struct keys_part {
        struct keys_slot {
            uint32_t number; /* with the top bit set; 0: the slot is free */
            uint32_t place;  /* the keyed hash */
        } * slots;
        uint32_t size; /* a power of 2; 0: there is none */
        uint32_t used;
    } parts[KEYS_PARTS];
};

/* Frees all keys: there are none then. */
void keys_free(struct keys *keys);

/* Where in the index the key with that hash (KEYS_HASH bytes) is. The processor begins to fetch
 * it: what the caller does before it calls the next functions costs no time then. */
uint32_t keys_place(const struct keys *keys, const uint8_t *hash);

/* The newest key with that hash, whose place it is; NULL: there is none. Valid until it is dropped.
 */
struct key *keys_find(const struct keys *keys, const uint8_t *hash, uint32_t place);

/* Adds a key behind all others; it hides an older one with the same hash for good. The caller sets
 * all but the hash. Returns NULL when out of memory, and nothing has changed. */
struct key *keys_add(struct keys *keys, const uint8_t *hash, uint32_t place);

/* The key that nth others are older than; nth is below keys->count. */
struct key *keys_at(const struct keys *keys, uint32_t nth);

/* Drops the oldest key, or the newest; there is one. */
void keys_drop_oldest(struct keys *keys);
void keys_drop_newest(struct keys *keys);

#endif

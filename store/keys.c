#include "store/keys.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "store/table.h"

/* Of a block; of a part and of the ring at least. All are powers of 2. */
enum { BLOCK_KEYS = 1024, LEAST_SLOTS = 16, LEAST_RING = 16 };

#define NUMBERS (1u << 31)
#define FULL (1u << 31)

static uint32_t number_at(const struct keys *keys, uint32_t nth)
{
    return (keys->first + nth) % NUMBERS;
}

static struct key **block_with(const struct keys *keys, uint32_t number)
{
    return &keys->blocks[number / BLOCK_KEYS % keys->ring];
}

static struct key *key_of(const struct keys *keys, uint32_t number)
{
    return &(*block_with(keys, number))[number % BLOCK_KEYS];
}

struct key *keys_at(const struct keys *keys, uint32_t nth)
{
    return key_of(keys, number_at(keys, nth));
}

/* ---- blocks ---- */

static int grow_ring(struct keys *keys)
{
    uint32_t ring = keys->ring ? keys->ring * 2 : LEAST_RING;
    uint32_t first = keys->first / BLOCK_KEYS;
    struct key **blocks = calloc(ring, sizeof *blocks);
    if (!blocks)
        return -1;
    for (uint32_t i = 0; i < keys->ring; i++)
        blocks[(first + i) % ring] = keys->blocks[(first + i) % keys->ring];
    free(keys->blocks);
    keys->blocks = blocks;
    keys->ring = ring;
    return 0;
}

/* How many blocks the keys are in. */
static uint32_t blocks_used(const struct keys *keys)
{
    return keys->count ? (keys->first % BLOCK_KEYS + keys->count - 1) / BLOCK_KEYS + 1 : 0;
}

/* A block is mapped, not allocated: so its memory goes back to the system as soon as it is freed,
 * whatever lies behind it. It has ten whole pages. */
static struct key *map_block(void)
{
    void *block = mmap(NULL, BLOCK_KEYS * sizeof(struct key), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return block == MAP_FAILED ? NULL : block;
}

static void free_block(struct key **block)
{
    if (*block)
        munmap(*block, BLOCK_KEYS * sizeof **block);
    *block = NULL;
}

/* Makes room for one more key. There is a block for each number that has a key, and no other. */
static int add_block(struct keys *keys)
{
    uint32_t number = number_at(keys, keys->count);
    if (keys->count > 0 && number % BLOCK_KEYS != 0)
        return 0;
    if (keys->count >= NUMBERS - BLOCK_KEYS)
        return -1;
    if (blocks_used(keys) == keys->ring && grow_ring(keys) != 0)
        return -1;
    struct key **block = block_with(keys, number);
    *block = map_block();
    return *block ? 0 : -1;
}

/* ---- the index ---- */

static uint32_t first_slot(const struct keys_part *part, uint32_t place)
{
    return place / KEYS_PARTS & (part->size - 1);
}

static uint32_t next_slot(const struct keys_part *part, uint32_t slot)
{
    return (slot + 1) & (part->size - 1);
}

/* The slot of the key with that hash; else the free one that it would get. */
static uint32_t find_slot(const struct keys *keys, const struct keys_part *part, uint32_t place,
                          const uint8_t *hash)
{
    uint32_t at = first_slot(part, place);
    for (; part->slots[at].number; at = next_slot(part, at)) {
        const struct keys_slot *slot = &part->slots[at];
        if (slot->place == place &&
            memcmp(key_of(keys, slot->number % NUMBERS)->hash, hash, KEYS_HASH) == 0)
            break;
    }
    return at;
}

static int resize_part(struct keys_part *part, uint32_t size)
{
    struct keys_part resized = {calloc(size, sizeof *part->slots), size, part->used};
    if (!resized.slots)
        return -1;
    for (uint32_t i = 0; i < part->size; i++) {
        if (!part->slots[i].number)
            continue;
        uint32_t at = first_slot(&resized, part->slots[i].place);
        while (resized.slots[at].number)
            at = next_slot(&resized, at);
        resized.slots[at] = part->slots[i];
    }
    free(part->slots);
    *part = resized;
    return 0;
}

/* Three of four slots are in use at most. */
static int grow_part(struct keys_part *part)
{
    if (part->used < part->size / 4 * 3)
        return 0;
    return resize_part(part, part->size ? part->size * 2 : LEAST_SLOTS);
}

/* If there is no memory for a smaller one, it stays. */
static void shrink_part(struct keys_part *part)
{
    if (part->used == 0) {
        free(part->slots);
        *part = (struct keys_part){0};
    } else if (part->size > LEAST_SLOTS && part->used < part->size / 4) {
        resize_part(part, part->size / 2);
    }
}

/* Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm R: what follows moves
 * up, unless it would get before its first slot. */
static void empty_slot(struct keys_part *part, uint32_t at)
{
    uint32_t mask = part->size - 1;
    for (uint32_t next = next_slot(part, at); part->slots[next].number;
         next = next_slot(part, next)) {
        uint32_t first = first_slot(part, part->slots[next].place);
        if (((next - first) & mask) < ((next - at) & mask))
            continue;
        part->slots[at] = part->slots[next];
        at = next;
    }
    part->slots[at].number = 0;
    part->used--;
}

/* A newer key with the same hash may have its slot. */
static void remove_from_index(struct keys *keys, uint32_t number)
{
    const uint8_t *hash = key_of(keys, number)->hash;
    uint32_t place = table_hash(hash, KEYS_HASH);
    struct keys_part *part = &keys->parts[place % KEYS_PARTS];
    if (!part->slots)
        return;
    uint32_t at = find_slot(keys, part, place, hash);
    if (part->slots[at].number != (number | FULL))
        return;
    empty_slot(part, at);
    shrink_part(part);
}

/* ---- keys ---- */

uint32_t keys_place(const struct keys *keys, const uint8_t *hash)
{
    uint32_t place = table_hash(hash, KEYS_HASH);
    const struct keys_part *part = &keys->parts[place % KEYS_PARTS];
    if (part->slots)
        __builtin_prefetch(&part->slots[first_slot(part, place)]);
    return place;
}

struct key *keys_find(const struct keys *keys, const uint8_t *hash, uint32_t place)
{
    const struct keys_part *part = &keys->parts[place % KEYS_PARTS];
    if (!part->slots)
        return NULL;
    uint32_t number = part->slots[find_slot(keys, part, place, hash)].number;
    return number ? key_of(keys, number % NUMBERS) : NULL;
}

struct key *keys_add(struct keys *keys, const uint8_t *hash, uint32_t place)
{
    uint32_t number = number_at(keys, keys->count);
    struct keys_part *part = &keys->parts[place % KEYS_PARTS];
    if (grow_part(part) != 0 || add_block(keys) != 0)
        return NULL;
    struct keys_slot *slot = &part->slots[find_slot(keys, part, place, hash)];
    part->used += slot->number == 0;
    *slot = (struct keys_slot){number | FULL, place};
    struct key *key = key_of(keys, number);
    *key = (struct key){.seq = 0};
    memcpy(key->hash, hash, KEYS_HASH);
    keys->count++;
    return key;
}

void keys_drop_oldest(struct keys *keys)
{
    uint32_t number = keys->first;
    remove_from_index(keys, number);
    if (keys->count == 1 || number % BLOCK_KEYS == BLOCK_KEYS - 1)
        free_block(block_with(keys, number));
    keys->first = number_at(keys, 1);
    keys->count--;
}

void keys_drop_newest(struct keys *keys)
{
    uint32_t number = number_at(keys, keys->count - 1);
    remove_from_index(keys, number);
    if (keys->count == 1 || number % BLOCK_KEYS == 0)
        free_block(block_with(keys, number));
    keys->count--;
}

void keys_free(struct keys *keys)
{
    for (uint32_t i = 0; i < keys->ring; i++)
        free_block(&keys->blocks[i]);
    free(keys->blocks);
    for (int i = 0; i < KEYS_PARTS; i++)
        free(keys->parts[i].slots);
    *keys = (struct keys){.count = 0};
}

/* Keys in memory: in order, found by their hash, and given back. */
#include "support_memory.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "store/keys.h"
#include "store/table.h"

enum { MILLION = 1000000 };

/* Numbers of keys start over at this. */
#define NUMBERS (1u << 31)

/* ---- what is linked in place of mmap ---- */

static bool nothing_is_mapped;

void *__real_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset);

void *__wrap_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
    if (!nothing_is_mapped)
        return __real_mmap(at, len, protection, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

/* ---- keys with numbers ---- */

struct hash {
    uint8_t bytes[KEYS_HASH];
};

static struct hash hash_of(uint64_t number)
{
    struct hash hash = {{0}};
    memcpy(hash.bytes, &number, sizeof number);
    return hash;
}

static struct key *find(const struct keys *keys, uint64_t number)
{
    struct hash hash = hash_of(number);
    return keys_find(keys, hash.bytes, keys_place(keys, hash.bytes));
}

/* Its seq is its number. */
static struct key *add(struct keys *keys, uint64_t number)
{
    struct hash hash = hash_of(number);
    struct key *key = keys_add(keys, hash.bytes, keys_place(keys, hash.bytes));
    if (key)
        key->seq = number;
    return key;
}

static void add_all(struct keys *keys, uint64_t from, uint64_t to)
{
    for (uint64_t number = from; number < to; number++)
        assert_non_null(add(keys, number));
}

/* Exactly these are there, in order. */
static void assert_has(const struct keys *keys, uint64_t from, uint64_t to)
{
    assert_int_equal(keys->count, to - from);
    for (uint64_t number = from; number < to; number++) {
        struct key *key = find(keys, number);
        if (!key || key->seq != number || key != keys_at(keys, (uint32_t)(number - from)))
            fail_msg("key %lu", number);
    }
    assert_null(find(keys, from - 1));
    assert_null(find(keys, to));
}

/* Nothing is allocated but the ring of blocks. */
static void assert_gave_all_back(const struct keys *keys)
{
    assert_int_equal(keys->count, 0);
    for (uint32_t i = 0; i < keys->ring; i++)
        assert_null(keys->blocks[i]);
    for (int i = 0; i < KEYS_PARTS; i++)
        assert_null(keys->parts[i].slots);
}

static uint32_t blocks_of(const struct keys *keys)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < keys->ring; i++)
        count += keys->blocks[i] != NULL;
    return count;
}

static uint64_t slots_of(const struct keys *keys)
{
    uint64_t count = 0;
    for (int i = 0; i < KEYS_PARTS; i++)
        count += keys->parts[i].size;
    return count;
}

/* ---- the tests ---- */

static void a_million_keys_are_found_and_given_back(void **state)
{
    struct keys keys = {.count = 0};
    add_all(&keys, 1, MILLION + 1);
    assert_has(&keys, 1, MILLION + 1);
    assert_in_range(slots_of(&keys), MILLION / 3 * 4, MILLION * 3);
    for (int i = 0; i < MILLION - 1000; i++)
        keys_drop_oldest(&keys);
    assert_has(&keys, MILLION - 999, MILLION + 1);
    assert_in_range(blocks_of(&keys), 1, 2);
    assert_in_range(slots_of(&keys), 1000, 8000);
    while (keys.count > 0)
        keys_drop_oldest(&keys);
    assert_gave_all_back(&keys);
    keys_free(&keys);
}

static void a_million_keys_may_be_taken_back_in_reverse(void **state)
{
    struct keys keys = {.count = 0};
    add_all(&keys, 1, MILLION + 1);
    for (int i = 0; i < MILLION - 5; i++)
        keys_drop_newest(&keys);
    assert_has(&keys, 1, 6);
    while (keys.count > 0)
        keys_drop_newest(&keys);
    assert_gave_all_back(&keys);
    add_all(&keys, 1, 3);
    assert_has(&keys, 1, 3);
    keys_free(&keys);
}

static void numbers_start_over(void **state)
{
    for (uint32_t before = 1; before < 5000; before += 1023) {
        struct keys keys = {.first = NUMBERS - before};
        uint64_t first = 1, next = 1;
        for (int round = 0; round < 20; round++, next += 1000) {
            add_all(&keys, next, next + 1000);
            for (; keys.count > 2500; first++)
                keys_drop_oldest(&keys);
            assert_has(&keys, first, next + 1000);
        }
        for (; next - first > 0; next--)
            keys_drop_newest(&keys);
        assert_gave_all_back(&keys);
        keys_free(&keys);
    }
}

static void the_newest_of_one_hash_is_found_and_an_older_one_is_hidden(void **state)
{
    struct keys keys = {.count = 0};
    add_all(&keys, 1, 4);
    assert_non_null(add(&keys, 2));
    find(&keys, 2)->seq = 99;
    assert_int_equal(keys.count, 4);
    assert_int_equal(keys_at(&keys, 1)->seq, 2);
    keys_drop_oldest(&keys);
    keys_drop_oldest(&keys); /* the hidden one */
    assert_int_equal(find(&keys, 2)->seq, 99);
    keys_drop_newest(&keys);
    assert_null(find(&keys, 2));
    assert_has(&keys, 3, 4);
    keys_free(&keys);
}

static void a_key_that_is_taken_back_leaves_none_of_its_hash(void **state)
{
    struct keys keys = {.count = 0};
    add_all(&keys, 1, 3);
    assert_non_null(add(&keys, 1));
    keys_drop_newest(&keys);
    assert_null(find(&keys, 1));
    keys_drop_oldest(&keys);
    assert_has(&keys, 2, 3);
    keys_free(&keys);
}

/* The nth number from which the index would start at its first or at its last slots. */
static uint64_t colliding(uint64_t *number)
{
    for (;; ++*number) {
        struct hash hash = hash_of(*number);
        uint32_t place = table_hash(hash.bytes, KEYS_HASH);
        uint32_t slot = place / KEYS_PARTS % 16;
        if (place % KEYS_PARTS == 7 && (slot == 15 || slot == 0))
            return (*number)++;
    }
}

/* As if somebody could aim: all in one part, around its end. Each is found whichever goes. */
static void keys_that_collide_are_found_whichever_go(void **state)
{
    enum { COUNT = 200 };
    uint64_t numbers[COUNT], next = 1;
    struct keys keys = {.count = 0};
    for (int i = 0; i < COUNT; i++) {
        numbers[i] = colliding(&next);
        assert_non_null(add(&keys, numbers[i]));
    }
    int from = 0, to = COUNT;
    while (from < to) {
        if (to % 3)
            keys_drop_oldest(&keys), from++;
        if (from < to)
            keys_drop_newest(&keys), to--;
        for (int i = 0; i < COUNT; i++)
            assert_true((find(&keys, numbers[i]) != NULL) == (i >= from && i < to));
    }
    assert_gave_all_back(&keys);
    keys_free(&keys);
}

/* However allocations fail, all that was there stays, and goes. */
static void each_allocation_may_fail(void **state)
{
    unsigned failures = 0;
    for (unsigned nth = 1;; nth++) {
        struct keys keys = {.count = 0};
        uint64_t number = 1;
        memory_fail(nth);
        while (number <= 20000 && add(&keys, number))
            number++;
        if (!memory_has_failed()) {
            keys_free(&keys);
            break;
        }
        failures++;
        if (number < 1000 || nth % 50 == 0)
            assert_has(&keys, 1, number);
        add_all(&keys, number, number + 2000);
        keys_free(&keys);
    }
    assert_true(failures > 500);
}

static void a_key_whose_block_cannot_be_mapped_is_not_added(void **state)
{
    struct keys keys = {.count = 0};
    uint64_t number = 1;
    for (int block = 0; block < 3; block++) {
        nothing_is_mapped = true;
        while (add(&keys, number))
            number++;
        nothing_is_mapped = false;
        assert_has(&keys, 1, number);
        add_all(&keys, number, number + 1);
        number++;
    }
    assert_in_range(number, 2000, 4000);
    keys_free(&keys);
}

static void smaller_parts_that_cannot_be_allocated_stay_larger(void **state)
{
    struct keys keys = {.count = 0};
    add_all(&keys, 1, 20001);
    uint64_t slots = slots_of(&keys);
    for (int i = 0; i < 15000; i++) {
        memory_fail(1);
        keys_drop_oldest(&keys);
        memory_has_failed();
    }
    assert_int_equal(slots_of(&keys), slots);
    assert_has(&keys, 15001, 20001);
    while (keys.count > 0)
        keys_drop_oldest(&keys);
    assert_gave_all_back(&keys);
    keys_free(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_keys_are_found_and_given_back),
        cmocka_unit_test(a_million_keys_may_be_taken_back_in_reverse),
        cmocka_unit_test(numbers_start_over),
        cmocka_unit_test(the_newest_of_one_hash_is_found_and_an_older_one_is_hidden),
        cmocka_unit_test(a_key_that_is_taken_back_leaves_none_of_its_hash),
        cmocka_unit_test(keys_that_collide_are_found_whichever_go),
        cmocka_unit_test(each_allocation_may_fail),
        cmocka_unit_test(a_key_whose_block_cannot_be_mapped_is_not_added),
        cmocka_unit_test(smaller_parts_that_cannot_be_allocated_stay_larger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

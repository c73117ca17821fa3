/* Tables stay as flat as they should be, whatever names clients choose. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "store/table.h"

enum { NAME_LEN = 8 };

struct item {
    UT_hash_handle hh;
    char name[NAME_LEN + 1];
};

static void write_name(char name[NAME_LEN + 1], uint64_t number)
{
    for (int i = 0; i < NAME_LEN; i++, number /= 26)
        name[i] = (char)('a' + number % 26);
    name[NAME_LEN] = '\0';
}

/* Adds count names that uthash's own hash puts into one of 256 buckets. */
static void add_colliding(struct item **table, unsigned count)
{
    struct item *item = NULL;
    for (uint64_t number = 0; count > 0; number++) {
        if (!item)
            item = test_calloc(1, sizeof *item);
        write_name(item->name, number);
        unsigned hash;
        HASH_JEN(item->name, NAME_LEN, hash);
        if ((hash & 255) != 5)
            continue;
        HASH_ADD_STR(*table, name, item);
        assert_non_null(item->hh.tbl);
        item = NULL;
        count--;
    }
    test_free(item);
}

static void free_all(struct item **table)
{
    struct item *item;
    struct item *next;
    HASH_ITER (hh, *table, item, next) {
        HASH_DEL(*table, item);
        test_free(item);
    }
}

static unsigned longest_chain(const struct item *table)
{
    const UT_hash_table *buckets = table->hh.tbl;
    unsigned longest = 0;
    for (unsigned i = 0; i < buckets->num_buckets; i++)
        if (buckets->buckets[i].count > longest)
            longest = buckets->buckets[i].count;
    return longest;
}

/* A table grows so that there are at most ten in a bucket on the average. That one of some
 * thousand buckets then has more than 50 happens once in 10^15 runs. */
static void names_that_collide_under_uthash_s_own_hash_spread_over_all_buckets(void **state)
{
    struct item *table = NULL;
    add_colliding(&table, 20000);
    assert_in_range(longest_chain(table), 1, 50);
    free_all(&table);
}

/* As after an attack by somebody who knew the key. */
static void a_table_whose_buckets_were_uneven_grows_on(void **state)
{
    struct item *table = NULL;
    for (uint64_t number = 0; number < 500; number++) {
        struct item *item = test_calloc(1, sizeof *item);
        write_name(item->name, number * number + (1ull << 36));
        HASH_ADD_BYHASHVALUE(hh, table, name, NAME_LEN, 5, item);
    }
    assert_int_equal(table->hh.tbl->noexpand, 0);
    add_colliding(&table, 20000);
    assert_true(table->hh.tbl->num_buckets >= 2000);
    free_all(&table);
}

static void the_same_key_has_the_same_hash(void **state)
{
    assert_int_equal(table_hash("main", 4), table_hash("main", 4));
    assert_int_not_equal(table_hash("main", 4), table_hash("main", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_collide_under_uthash_s_own_hash_spread_over_all_buckets),
        cmocka_unit_test(a_table_whose_buckets_were_uneven_grows_on),
        cmocka_unit_test(the_same_key_has_the_same_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

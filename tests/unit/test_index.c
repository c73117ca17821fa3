/* The index by channel: packed numbers, and the rows that have them. */
#include "store/index.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "store/sql.h"

enum { NUMBERS = 5000 };

static struct unpacking unpack(const struct packed *packed)
{
    return (struct unpacking){.at = packed->bytes, .end = packed->bytes + packed->len};
}

static uint64_t random_step(void)
{
    return 1 + ((uint64_t)rand() >> (rand() % 31));
}

static void numbers_are_read_back_as_they_were_packed(void **state)
{
    (void)state;
    srand(3);
    for (int round = 0; round < 200; round++) {
        uint64_t numbers[PACKED_BYTES], number = 0;
        struct packed packed = {0};
        size_t count = 0;
        for (number += random_step(); packed_add(&packed, number); number += random_step())
            numbers[count++] = number;
        struct unpacking unpacking = unpack(&packed);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(packed_next(&unpacking), 1);
            assert_int_equal(unpacking.last, numbers[i]);
        }
        assert_int_equal(packed_next(&unpacking), 0);
    }
}

static void the_largest_number_is_packed_and_none_below(void **state)
{
    (void)state;
    struct packed packed = {0};
    assert_false(packed_add(&packed, 0));
    assert_true(packed_add(&packed, 5));
    assert_false(packed_add(&packed, 5));
    assert_false(packed_add(&packed, 4));
    assert_true(packed_add(&packed, INT64_MAX));
    struct unpacking unpacking = unpack(&packed);
    assert_int_equal(packed_next(&unpacking), 1);
    assert_int_equal(packed_next(&unpacking), 1);
    assert_int_equal(unpacking.last, INT64_MAX);
    assert_int_equal(packed_next(&unpacking), 0);
}

static void neighbours_take_a_byte(void **state)
{
    (void)state;
    struct packed packed = {0};
    for (uint64_t number = 1000; number < 1400; number++)
        assert_true(packed_add(&packed, number));
    assert_int_equal(packed.len, 401);
}

static void bytes_that_are_no_numbers_are_noticed(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } wrong[] = {{"\x80", 1},
                 {"\x00", 1},
                 {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10},
                 {"\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01", 10}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const uint8_t *bytes = (const uint8_t *)wrong[i].bytes;
        struct unpacking unpacking = {.at = bytes, .end = bytes + wrong[i].len};
        int result;
        while ((result = packed_next(&unpacking)) > 0)
            ;
        assert_int_equal(result, -1);
    }
}

/* ---- rows ---- */

static sqlite3 *open_index(void)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sql_exec(db, "CREATE TABLE by_channel(channel, last, seqs, "
                                  "PRIMARY KEY (channel, last)) WITHOUT ROWID"),
                     SQLITE_OK);
    return db;
}

/* Puts every third number into channel 1 and the others into 2, in several stretches. */
static void fill(sqlite3 *db)
{
    struct index_writer writer;
    assert_int_equal(index_writer_init(&writer, db), SQLITE_OK);
    for (uint64_t from = 1; from <= NUMBERS; from += 1000) {
        for (sqlite3_int64 channel = 1; channel <= 2; channel++)
            for (uint64_t seq = from; seq < from + 1000; seq++)
                if ((seq % 3 == 0) == (channel == 1))
                    assert_int_equal(index_put(&writer, channel, seq), SQLITE_OK);
        assert_int_equal(index_finish(&writer), SQLITE_OK);
    }
    index_writer_free(&writer);
}

static void a_walk_finds_all_of_a_channel_after_any_number(void **state)
{
    (void)state;
    struct index_walk walk;
    sqlite3 *db = open_index();
    fill(db);
    assert_int_equal(index_walk_init(&walk, db), SQLITE_OK);
    for (uint64_t after = 0; after <= NUMBERS; after += 7) {
        uint64_t expected = after / 3 * 3 + 3;
        int rc = index_walk_start(&walk, 1, after);
        for (; rc == SQLITE_ROW; rc = index_walk_next(&walk), expected += 3)
            assert_int_equal(walk.seq, expected);
        assert_int_equal(rc, SQLITE_DONE);
        assert_true(expected > NUMBERS);
    }
    assert_int_equal(index_walk_start(&walk, 3, 0), SQLITE_DONE);
    index_walk_free(&walk);
    sqlite3_close(db);
}

static void the_newest_up_to_any_number_is_found(void **state)
{
    (void)state;
    sqlite3 *db = open_index();
    fill(db);
    uint64_t seq;
    for (uint64_t upto = 0; upto <= NUMBERS + 10; upto++) {
        assert_int_equal(index_newest(db, 1, upto, &seq), SQLITE_OK);
        assert_int_equal(seq, upto < NUMBERS ? upto / 3 * 3 : NUMBERS / 3 * 3);
    }
    assert_int_equal(index_newest(db, 3, NUMBERS, &seq), SQLITE_OK);
    assert_int_equal(seq, 0);
    sqlite3_close(db);
}

static void a_damaged_row_is_noticed(void **state)
{
    (void)state;
    struct index_walk walk;
    sqlite3 *db = open_index();
    uint64_t seq;
    assert_int_equal(sql_exec(db, "INSERT INTO by_channel VALUES (1, 9, x'0980')"), SQLITE_OK);
    assert_int_equal(index_walk_init(&walk, db), SQLITE_OK);
    assert_int_equal(index_walk_start(&walk, 1, 0), SQLITE_ROW);
    assert_int_equal(walk.seq, 9);
    assert_int_equal(index_walk_next(&walk), SQLITE_CORRUPT);
    assert_int_equal(index_newest(db, 1, 20, &seq), SQLITE_CORRUPT);
    index_walk_free(&walk);
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_read_back_as_they_were_packed),
        cmocka_unit_test(the_largest_number_is_packed_and_none_below),
        cmocka_unit_test(neighbours_take_a_byte),
        cmocka_unit_test(bytes_that_are_no_numbers_are_noticed),
        cmocka_unit_test(a_walk_finds_all_of_a_channel_after_any_number),
        cmocka_unit_test(the_newest_up_to_any_number_is_found),
        cmocka_unit_test(a_damaged_row_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

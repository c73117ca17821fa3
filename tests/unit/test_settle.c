/* Messages whose rows in the books and in the index are not written yet: they are there for every
 * reader, at every start, and an append alone writes one page. */
#include "support_store.h"
#include "support_vfs.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/ledger.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

static int64_t wal_size(const struct store *store)
{
    struct stat st;
    assert_int_equal(stat(store_beside(store, "-wal"), &st), 0);
    return st.st_size;
}

/* A page takes 4096 bytes and 24 for its head. */
static void a_lone_append_writes_one_page(void **state)
{
    struct store *store = *state;
    char data[61];
    memset(data, 'x', 60);
    data[60] = '\0';
    store_open(store);
    store_put(store, "a", data);
    store_put(store, "a", data); /* the channel has its row, and nothing else is due */
    int64_t before = wal_size(store);
    for (int i = 0; i < 400; i++)
        store_put(store, "a", data);
    int64_t pages = (wal_size(store) - before) / (4096 + 24);
    assert_in_range(pages, 400, 440); /* a new page now and then, and the pages above it */
}

static void the_stretch_is_settled_when_it_is_long_enough(void **state)
{
    struct store *store = *state;
    store_open(store);
    for (int i = 1; i < LEDGER_STRETCH_MESSAGES; i++)
        store_put(store, i % 2 ? "a" : "b", "x");
    assert_int_equal(store_sql(store, "SELECT settled FROM log"), 0);
    assert_int_equal(store_sql(store, "SELECT count(*) FROM by_channel"), 0);
    store_put(store, "c", "x");
    assert_int_equal(store_sql(store, "SELECT settled FROM log"), LEDGER_STRETCH_MESSAGES);
    assert_int_equal(store_sql(store, "SELECT count(DISTINCT channel) FROM by_channel"), 3);
    assert_int_equal(store_sql(store, "SELECT sum(count) FROM channel"), LEDGER_STRETCH_MESSAGES);
    store_put(store, "c", "x");
    assert_int_equal(store_sql(store, "SELECT settled FROM log"), LEDGER_STRETCH_MESSAGES);
}

static void few_large_messages_are_settled_too(void **state)
{
    struct store *store = *state;
    char *data = malloc(LEDGER_STRETCH_BYTES / 4);
    assert_non_null(data);
    memset(data, 'x', LEDGER_STRETCH_BYTES / 4 - 1);
    data[LEDGER_STRETCH_BYTES / 4 - 1] = '\0';
    store_open(store);
    for (int i = 0; i < 3; i++)
        store_put(store, "a", data);
    assert_int_equal(store_sql(store, "SELECT settled FROM log"), 0);
    store_put(store, "a", data);
    assert_int_equal(store_sql(store, "SELECT settled FROM log"), 4);
    free(data);
}

static void closing_settles(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put(store, "a", "x");
    store_put(store, "b", "x");
    store_close(store);
    assert_int_equal(store_sql(store, "SELECT settled FROM log"), 2);
    assert_int_equal(store_sql(store, "SELECT count(*) FROM by_channel"), 2);
}

static void what_is_not_settled_is_read_from_the_disk_in_order(void **state)
{
    struct store *store = *state;
    store->options.memory_bytes = 0;
    store_open(store);
    store_put(store, "a", "1");
    store_put(store, "b", "2");
    store_reopen(store); /* these are settled */
    store_put(store, "b", "3");
    store_put(store, "a", "4");
    store_put(store, "c", "5");
    store_put(store, "a", "6");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(store_sql(store, "SELECT settled FROM log"), 2);
        assert_string_equal(store_read_at(store, "a b", 0), "1=1 2=2 3=3 4=4 6=6 next 6");
        assert_string_equal(store_read_at(store, "a", 1), "4=4 6=6 next 6");
        assert_string_equal(store_read_at(store, "c d", 4), "5=5 next 6");
        assert_string_equal(store_read_at(store, "d", 0), "next 6");
        assert_string_equal(store_read(store, "a b", (struct cursor){CURSOR_AT, 0}, 2),
                            "1=1 2=2 next 2 more");
        assert_string_equal(store_read(store, "a b", (struct cursor){CURSOR_AT, 0}, 3),
                            "1=1 2=2 3=3 next 3 more");
        assert_string_equal(store_read(store, "a b", (struct cursor){CURSOR_AT, 3}, 2),
                            "4=4 6=6 next 6");
        assert_int_equal(store_newest(store, "a", UINT64_MAX), 6);
        assert_int_equal(store_newest(store, "a", 6), 4);
        assert_int_equal(store_newest(store, "a", 4), 1);
        assert_int_equal(store_newest(store, "d", 4), 0);
        store_crash(store);
        store_open(store);
    }
}

static void a_start_adds_up_what_a_crash_left(void **state)
{
    struct store *store = *state;
    struct log_stats before, after;
    store_open(store);
    store_put(store, "a", "x");
    store_reopen(store);
    for (int i = 0; i < 100; i++)
        store_put(store, i % 2 ? "a" : "b", "some text");
    log_stats(store->log, &before);
    store_crash(store);
    store_open(store);
    log_stats(store->log, &after);
    assert_int_equal(log_head(store->log), 101);
    assert_int_equal(after.messages, before.messages);
    assert_int_equal(after.bytes, before.bytes);
    assert_int_equal(store_put(store, "a", "y"), 102);
    store_close(store);
    assert_int_equal(store_sql(store, "SELECT count FROM channel WHERE name = 'a'"), 52);
    assert_int_equal(store_sql(store, "SELECT count FROM channel WHERE name = 'b'"), 50);
    assert_int_equal(store_sql(store, "SELECT messages FROM log"), 102);
}

static void retention_counts_what_a_crash_left(void **state)
{
    struct store *store = *state;
    store->options.keep_messages = 5;
    store_open(store);
    for (int i = 0; i < 5; i++)
        store_put(store, "a", "x");
    store_crash(store);
    store_open(store);
    store_put(store, "a", "y");
    assert_string_equal(store_read_at(store, "a", 0), "2=x 3=x 4=x 5=x 6=y next 6 reset");
    assert_int_equal(store_sql(store, "SELECT settled FROM log"), 6);
}

/* All of it was deleted, and no row of a message is left to tell the head. */
static void no_seq_is_given_out_twice_after_retention_emptied_the_log(void **state)
{
    struct store *store = *state;
    store_open(store);
    for (int i = 0; i < 7; i++)
        store_put(store, "a", "x");
    store_close(store);
    store->options.keep_age_ms = 1;
    store_open(store);
    store_settle_at(store, 0);
    store_crash(store);
    store->options.keep_age_ms = 0;
    store_open(store);
    assert_int_equal(store_put(store, "a", "y"), 8);
    assert_string_equal(store_read_at(store, "a", 0), "8=y next 8 reset");
}

/* A transaction that fails changes nothing of the books, whatever it had begun. */
static void a_failed_transaction_leaves_the_books_as_they_were(void **state)
{
    struct store *store = *state;
    store_open(store);
    for (int i = 1; i < LEDGER_STRETCH_MESSAGES; i++)
        store_put(store, i % 2 ? "a" : "b", "x");
    for (unsigned nth = 1; nth < 6; nth++) {
        shim_arm(SHIM_WRITE, nth, SQLITE_FULL, true);
        assert_int_equal(store_put(store, nth % 2 ? "a" : "new", "x"), 0); /* it would settle */
        assert_int_equal(store->last, LOG_FULL);
        shim_disarm();
    }
    assert_int_equal(store_put(store, "c", "x"), LEDGER_STRETCH_MESSAGES);
    assert_int_equal(store_sql(store, "SELECT settled FROM log"), LEDGER_STRETCH_MESSAGES);
    assert_int_equal(store_sql(store, "SELECT count(*) FROM channel"), 3);
    assert_int_equal(store_sql(store, "SELECT count FROM channel WHERE name = 'a'"), 500);
    store_reopen(store); /* which counts and compares */
}

int main(void)
{
    shim_install();
    const struct CMUnitTest tests[] = {
        TEST(a_lone_append_writes_one_page),
        TEST(the_stretch_is_settled_when_it_is_long_enough),
        TEST(few_large_messages_are_settled_too),
        TEST(closing_settles),
        TEST(what_is_not_settled_is_read_from_the_disk_in_order),
        TEST(a_start_adds_up_what_a_crash_left),
        TEST(retention_counts_what_a_crash_left),
        TEST(no_seq_is_given_out_twice_after_retention_emptied_the_log),
        TEST(a_failed_transaction_leaves_the_books_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

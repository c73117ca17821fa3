/* A log that begins anew in place: nothing of before is left, and every old cursor is of another
 * epoch. */
#include "support_store.h"
#include "support_vfs.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/clock.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, shim_setup, shim_teardown)

static const char new_epoch[] = "00112233aabb";

static struct log_news drain(struct store *store)
{
    struct log_news news;
    do {
        store_wait(store);
        log_drain(store->log, &news);
        log_news_free(store->log, &news);
    } while (!news.restarted && !news.failed);
    return news;
}

static enum log_status restart(struct store *store, uint64_t floor)
{
    assert_int_equal(log_restart(store->log, new_epoch, floor), LOG_OK);
    return drain(store).restart;
}

static void put_with_key(struct store *store)
{
    struct message *message = message_new_once("a", "x", 1, clock_wall_ms(), "k", 1);
    assert_int_equal(store_append(store, message), LOG_OK);
    store_settle(store);
}

static void assert_empty(struct store *store, uint64_t floor)
{
    struct log_stats stats;
    log_stats(store->log, &stats);
    assert_string_equal(log_epoch(store->log), new_epoch);
    assert_int_equal(log_head(store->log), floor);
    assert_int_equal(stats.messages, 0);
    assert_int_equal(stats.bytes, 0);
    char expected[60];
    snprintf(expected, sizeof expected, "next %lu", floor);
    assert_string_equal(store_read_at(store, "a", floor), expected);
    snprintf(expected, sizeof expected, "next %lu reset", floor);
    if (floor > 0)
        assert_string_equal(store_read_at(store, "a", floor - 1), expected);
    assert_int_equal(store_newest(store, "a", UINT64_MAX), 0);
}

static void everything_of_before_is_gone(void **state)
{
    struct store *store = *state;
    store->options.once_ms = 600000;
    store_open(store);
    store_put_many(store, "a", 1200);
    store_put_many(store, "b", 30);
    put_with_key(store);
    assert_int_equal(restart(store, 500), LOG_OK);
    for (int i = 0; i < 3; i++) {
        assert_empty(store, 500);
        if (i == 0)
            store_crash(store), store_open(store);
        else
            store_reopen(store);
        assert_false(log_was_put_back(store->log));
    }
    put_with_key(store); /* its key is free again */
    assert_int_equal(store->last_seq, 501);
    assert_string_equal(store_read_at(store, "a b", 500), "501=x next 501");
}

static void it_goes_on_at_once(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put(store, "a", "x");
    assert_int_equal(restart(store, 0), LOG_OK);
    assert_empty(store, 0);
    assert_int_equal(store_put(store, "a", "y"), 1);
    assert_int_equal(store_put(store, "c", "z"), 2);
    assert_string_equal(store_read_at(store, "a c", 0), "1=y 2=z next 2");
    store_reopen(store);
    assert_string_equal(store_read_at(store, "a c", 0), "1=y 2=z next 2");
}

static void nothing_is_appended_meanwhile(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_int_equal(store_queue(store, "a", "x"), LOG_OK);
    assert_int_equal(log_restart(store->log, new_epoch, 9), LOG_QUEUE);
    store_settle(store);
    assert_int_equal(log_restart(store->log, new_epoch, 9), LOG_OK);
    assert_int_equal(log_restart(store->log, new_epoch, 9), LOG_QUEUE);
    assert_int_equal(store_queue(store, "a", "x"), LOG_QUEUE);
    assert_int_equal(drain(store).restart, LOG_OK);
    assert_int_equal(store_put(store, "a", "x"), 10);
}

/* Each write and each sync fails once: all is as it was, or the log has ended; and at the next
 * start it is whole, of one epoch or the other. */
static void one_that_fails_leaves_the_log_whole(void **state)
{
    struct store *store = *state;
    unsigned failures = 0;
    for (unsigned nth = 1, met = 1; met; nth++) {
        store_remove_log(store->path);
        store_open(store);
        store_put_many(store, "a", 20);
        char epoch[EPOCH_LEN + 1];
        strcpy(epoch, log_epoch(store->log));
        shim_arm(SHIM_WRITE | SHIM_SYNC, nth, SQLITE_FULL, true);
        assert_int_equal(log_restart(store->log, new_epoch, 500), LOG_OK);
        struct log_news news = drain(store);
        met = shim_met();
        shim_disarm();
        failures += news.failed || news.restart != LOG_OK;
        if (!news.failed && news.restart != LOG_OK)
            assert_int_equal(store_put(store, "a", "x"), 21);
        store_close(store);
        store_open(store);
        bool anew = strcmp(log_epoch(store->log), epoch) != 0;
        assert_int_equal(log_head(store->log) >= 500, anew);
        assert_true(anew || store_put(store, "a", "y") >= 21);
        store_close(store);
    }
    assert_true(failures > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(everything_of_before_is_gone),
        TEST(it_goes_on_at_once),
        TEST(nothing_is_appended_meanwhile),
        TEST(one_that_fails_leaves_the_log_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Reads of old messages, which wait for the disk in a thread: what goes on meanwhile, who is told
 * what and when, and what is limited. */
#define _GNU_SOURCE
#include "support_memory.h"
#include "support_store.h"
#include "support_vfs.h"

#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/clock.h"
#include "store/reads.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, shim_setup, shim_teardown)

enum { MANY = 100 };

static const struct cursor at_start = {.kind = CURSOR_START};

/* ---- what is asked, and told ---- */

struct asked {
    struct read *read;
    enum log_status status;
    unsigned told;  /* times */
    unsigned order; /* among all that were told */
    size_t count;
    uint64_t first, next;
    bool more, reset;
};

static unsigned told;

static void on_told(void *owner, enum log_status status, struct page *page)
{
    struct asked *asked = owner;
    asked->status = status;
    asked->told++;
    asked->order = told++;
    asked->count = page->count;
    asked->first = page->count > 0 ? page->messages[0]->seq : 0;
    asked->next = page->next;
    asked->more = page->more;
    asked->reset = page->reset;
}

static enum log_status ask(struct store *store, struct asked *asked, const char *channel,
                           struct cursor cursor, size_t limit)
{
    *asked = (struct asked){.status = LOG_LATER};
    return log_read_later(store->log, &channel, 1, cursor, UP_TO(limit), on_told, asked,
                          &asked->read);
}

static void ask_at(struct store *store, struct asked *asked, uint64_t seq, size_t limit)
{
    assert_int_equal(ask(store, asked, "a", (struct cursor){CURSOR_AT, seq}, limit), LOG_OK);
}

static uint64_t waiting(const struct store *store)
{
    struct log_stats stats;
    log_stats(store->log, &stats);
    return stats.reads;
}

static void tell_all(struct store *store)
{
    while (waiting(store) > 0)
        store_tell_reads(store);
}

/* A log with that many messages on channel "a", none of them in memory, and none in the reader's
 * cache. */
static void open_old_log(struct store *store, size_t count)
{
    store->options.memory_bytes = 0;
    store_open(store);
    store_put_many(store, "a", count);
    store_reopen(store);
    store_put(store, "b", "the reader's cache is out of date");
    told = 0;
}

/* ---- meanwhile ---- */

static void while_the_disk_is_silent_appends_and_live_readers_go_on(void **state)
{
    struct store *store = *state;
    struct asked asked[MANY];
    open_old_log(store, MANY);
    shim_stop();
    for (int i = 0; i < MANY; i++)
        ask_at(store, &asked[i], (uint64_t)i, 10);
    shim_wait();
    for (int i = 0; i < 20; i++) {
        uint64_t before = log_head(store->log);
        struct log_news news;
        struct page page;
        const char *channel = "a";
        assert_int_equal(store_queue(store, channel, "news"), LOG_OK);
        store_wait(store);
        log_drain(store->log, &news);
        assert_int_equal(
            log_read(store->log, &channel, 1, (struct cursor){CURSOR_AT, before}, UP_TO(10), &page),
            LOG_OK);
        assert_int_equal(page.count, 1);
        page_free(&page);
        log_news_free(store->log, &news);
    }
    assert_int_equal(told, 0);
    assert_int_equal(waiting(store), MANY);
    shim_go();
    tell_all(store);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(asked[i].status, LOG_OK);
        assert_int_equal(asked[i].told, 1);
        assert_int_equal(asked[i].first, i + 1);
        assert_int_equal(asked[i].count, 10);
    }
}

static void a_page_that_took_long_goes_on_with_what_came_meanwhile(void **state)
{
    struct store *store = *state;
    struct asked asked;
    open_old_log(store, 5);
    shim_stop();
    ask_at(store, &asked, 2, 100);
    shim_wait();
    for (int i = 0; i < 5; i++)
        store_put(store, "a", "news");
    shim_go();
    tell_all(store);
    assert_int_equal(asked.count, 3 + 5);
    assert_int_equal(asked.next, log_head(store->log));
    assert_false(asked.more);
}

/* What comes meanwhile stays in memory, although that is to hold nothing. */
static void a_reader_of_a_quiet_channel_reaches_the_head_of_a_busy_log(void **state)
{
    struct store *store = *state;
    struct asked asked;
    open_old_log(store, 5);
    shim_stop();
    assert_int_equal(ask(store, &asked, "quiet", at_start, 10), LOG_OK);
    shim_wait();
    store_put_many(store, "a", 50);
    shim_go();
    tell_all(store);
    assert_int_equal(asked.status, LOG_OK);
    assert_int_equal(asked.next, log_head(store->log));
    assert_false(asked.more);
    assert_int_equal(shim_pages(), 1);
    store_put(store, "a", "x");
    assert_string_equal(store_read_at(store, "a", log_head(store->log) - 1), "57=x next 57");
    assert_int_equal(shim_pages(), 2); /* it did not stay longer */
}

/* But not without a limit. */
static void of_what_comes_meanwhile_so_much_stays_in_memory(void **state)
{
    struct store *store = *state;
    struct asked quiet, loud;
    enum { LARGE = 1 << 20 };
    char *large = calloc(1, LARGE + 1);
    open_old_log(store, 5);
    memset(large, 'x', LARGE);
    shim_stop();
    assert_int_equal(ask(store, &quiet, "quiet", at_start, 10), LOG_OK);
    ask_at(store, &loud, 0, 100);
    shim_wait();
    for (int i = 0; i <= TAIL_PINNED_BYTES / LARGE; i++)
        store_put(store, "a", large);
    shim_go();
    tell_all(store);
    /* one of them has messages to go on from; the other had to read on */
    assert_int_equal(loud.count, 5);
    assert_true(loud.more);
    assert_int_equal(loud.next, 5);
    assert_int_equal(quiet.count, 0);
    assert_int_equal(quiet.next, log_head(store->log));
    assert_int_equal(shim_pages(), 3);
    free(large);
}

static void what_retention_deletes_meanwhile_is_told(void **state)
{
    struct store *store = *state;
    struct asked asked;
    store->options.keep_messages = 10;
    open_old_log(store, 10);
    shim_stop();
    assert_int_equal(ask(store, &asked, "b", at_start, 100), LOG_OK);
    shim_wait();
    store_put_many(store, "b", 30);
    shim_go();
    tell_all(store);
    assert_false(asked.reset); /* it did not say that it had any */
    assert_int_equal(ask(store, &asked, "b", (struct cursor){CURSOR_AT, 11}, 100), LOG_OK);
    tell_all(store);
    assert_true(asked.reset);
    assert_in_range(asked.count, 10, 12);
    assert_int_equal(asked.next, log_head(store->log));
}

static void begin_anew(struct store *store)
{
    struct log_news news;
    assert_int_equal(log_restart(store->log, "00112233aabb", 100), LOG_OK);
    do {
        store_wait(store);
        log_drain(store->log, &news);
        log_news_free(store->log, &news);
    } while (!news.restarted);
}

static void who_waits_while_the_log_begins_anew_is_told_so(void **state)
{
    struct store *store = *state;
    struct asked asked[3];
    open_old_log(store, 30);
    ask_at(store, &asked[0], 5, 10);
    tell_all(store); /* and it is kept */
    store_put(store, "b", "the reader's cache is out of date");
    shim_stop();
    for (int i = 0; i < 3; i++)
        ask_at(store, &asked[i], (uint64_t)(5 + i), 10);
    shim_wait();
    begin_anew(store);
    store_put(store, "a", "of the new life");
    shim_go();
    tell_all(store);
    ask_at(store, &asked[0], 5, 10);
    tell_all(store);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(asked[i].status, LOG_OK);
        assert_true(asked[i].reset);
        assert_int_equal(asked[i].count, 1);
        assert_int_equal(asked[i].first, 101);
    }
}

/* How often the write-ahead log has started over (sqlite.org/fileformat2.html, 4.1). */
static unsigned times_started_over(const struct store *store)
{
    size_t size;
    char *wal = store_slurp(store_beside(store, "-wal"), &size);
    assert_true(size >= 32);
    unsigned times = (unsigned char)wal[14] * 256U + (unsigned char)wal[15];
    free(wal);
    return times;
}

/* Otherwise each page begins before the last commit, and ends after the next one. */
static void the_write_ahead_log_starts_over_although_pages_are_read_all_the_time(void **state)
{
    enum { PAGES = 200, CHECKPOINT_PAGES = 1000 };
    struct store *store = *state;
    static struct asked asked[PAGES];
    open_old_log(store, 20);
    shim_stop();
    ask_at(store, &asked[0], 0, 1);
    shim_wait();
    unsigned before = times_started_over(store);
    for (int i = 0; i < CHECKPOINT_PAGES + 100; i++)
        store_put(store, "a", "x");
    assert_int_equal(times_started_over(store), before);
    for (unsigned i = 1; i < PAGES && times_started_over(store) == before; i++) {
        ask_at(store, &asked[i], 0, 1 + i);
        while (told < i) {
            shim_step();
            log_tell_reads(store->log, 0);
        }
        store_put(store, "a", "x");
        store_put(store, "a", "x");
    }
    assert_int_equal(times_started_over(store), before + 1);
    shim_go();
    tell_all(store);
}

/* ---- who is told, and when ---- */

static void pages_come_in_the_order_in_which_they_were_asked_for(void **state)
{
    struct store *store = *state;
    struct asked asked[MANY];
    open_old_log(store, MANY);
    for (int i = 0; i < MANY; i++)
        ask_at(store, &asked[i], (uint64_t)(i * 37 % MANY), 3);
    tell_all(store);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(asked[i].order, i);
}

static void all_who_ask_the_same_get_it_from_one_read(void **state)
{
    struct store *store = *state;
    struct asked asked[2 * MANY], other[2];
    open_old_log(store, 50);
    shim_stop();
    for (int i = 0; i < MANY; i++)
        ask_at(store, &asked[i], 7, 10);
    shim_wait();
    for (int i = MANY; i < 2 * MANY; i++)
        ask_at(store, &asked[i], 7, 10); /* it is under way */
    ask_at(store, &other[0], 7, 11);
    ask_at(store, &other[1], 8, 10);
    shim_go();
    tell_all(store);
    for (int i = 0; i < 2 * MANY; i++) {
        assert_int_equal(asked[i].count, 10);
        assert_int_equal(asked[i].next, 17);
    }
    assert_int_equal(shim_pages(), 3);
    ask_at(store, &asked[0], 7, 10); /* it was over a moment ago */
    tell_all(store);
    assert_int_equal(asked[0].next, 17);
    assert_int_equal(shim_pages(), 3);
}

/* The last page says less than it could, once there is news that memory no longer has. */
static void a_page_that_is_out_of_date_is_read_again(void **state)
{
    struct store *store = *state;
    struct asked asked;
    open_old_log(store, 5);
    for (int i = 0; i < 3; i++) {
        ask_at(store, &asked, 2, 100);
        tell_all(store);
        assert_int_equal(asked.next, log_head(store->log));
        assert_false(asked.more);
        store_put(store, "a", "news");
    }
    assert_int_equal(asked.count, 3 + 2);
}

static void what_was_read_a_moment_ago_takes_so_much_memory(void **state)
{
    struct store *store = *state;
    struct asked asked;
    enum { LARGE = READS_KEPT_BYTES / 4, PAGES = 6 };
    char *large = calloc(1, LARGE + 1);
    memset(large, 'x', LARGE);
    store->options.memory_bytes = 0;
    store_open(store);
    for (int i = 0; i < PAGES; i++)
        store_put(store, "a", large);
    for (int again = 0; again < 2; again++)
        for (uint64_t i = 0; i < PAGES; i++) {
            ask_at(store, &asked, i, 1);
            tell_all(store);
            assert_int_equal(asked.first, i + 1);
        }
    assert_int_equal(shim_pages(), 2 * PAGES); /* the oldest had gone each time */
    ask_at(store, &asked, PAGES - 1, 1);
    tell_all(store);
    assert_int_equal(shim_pages(), 2 * PAGES);
    free(large);
}

static void a_read_is_not_kept_once_messages_were_deleted(void **state)
{
    struct store *store = *state;
    struct asked asked;
    store->options.keep_messages = 10;
    open_old_log(store, 10);
    ask_at(store, &asked, 0, 5);
    tell_all(store);
    assert_int_equal(asked.first, 1);
    store_put_many(store, "a", 20);
    ask_at(store, &asked, 0, 5);
    tell_all(store);
    assert_true(asked.reset);
    assert_true(asked.first > 5);
}

static void who_goes_away_is_not_told_and_what_nobody_wants_is_not_read(void **state)
{
    struct store *store = *state;
    struct asked asked[MANY], last;
    open_old_log(store, MANY);
    shim_stop();
    for (int i = 0; i < MANY; i++)
        ask_at(store, &asked[i], (uint64_t)i, 10);
    ask_at(store, &last, 50, 10); /* shares one */
    shim_wait();
    for (int i = 0; i < MANY; i++)
        log_read_cancel(store->log, asked[i].read);
    assert_int_equal(waiting(store), 1);
    shim_go();
    tell_all(store);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(asked[i].told, 0);
    assert_int_equal(last.next, 60);
    assert_in_range(shim_pages(), 1, READS_AHEAD + 1);
}

static struct store *the_store;
static struct asked chained, others[3];

static void ask_and_cancel(void *owner, enum log_status status, struct page *page)
{
    const char *channel = "a";
    on_told(owner, status, page);
    for (int i = 0; i < 3; i++)
        log_read_cancel(the_store->log, others[i].read);
    assert_int_equal(log_read_later(the_store->log, &channel, 1,
                                    (struct cursor){CURSOR_AT, page->next}, UP_TO(10), on_told,
                                    &chained, &chained.read),
                     LOG_OK);
}

static void an_owner_may_ask_again_and_cancel_others_when_it_is_told(void **state)
{
    struct store *store = the_store = *state;
    struct asked asked = {.status = LOG_LATER};
    const char *channel = "a";
    open_old_log(store, MANY);
    chained = asked;
    assert_int_equal(log_read_later(store->log, &channel, 1, at_start, UP_TO(10), ask_and_cancel,
                                    &asked, &asked.read),
                     LOG_OK);
    ask_at(store, &others[0], 0, 10); /* the same */
    ask_at(store, &others[1], 5, 10);
    ask_at(store, &others[2], 6, 10);
    tell_all(store);
    assert_int_equal(asked.next, 10);
    assert_int_equal(chained.next, 20);
    for (int i = 0; i < 3; i++)
        assert_int_equal(others[i].told, 0);
}

/* ---- limits ---- */

static void only_so_much_may_wait(void **state)
{
    struct store *store = *state;
    struct asked asked[MANY], refused;
    store->options.reads_bytes = 20 * (sizeof(struct disk_read) + sizeof(struct read));
    open_old_log(store, MANY);
    shim_stop();
    int count = 0;
    while (count < MANY &&
           ask(store, &asked[count], "a", (struct cursor){CURSOR_AT, (uint64_t)count}, 3) == LOG_OK)
        count++;
    assert_in_range(count, 10, 19);
    assert_int_equal(ask(store, &refused, "a", (struct cursor){CURSOR_AT, 99}, 3), LOG_BUSY);
    shim_go();
    tell_all(store);
    assert_int_equal(refused.told, 0);
    for (int i = 0; i < count; i++)
        assert_int_equal(asked[i].first, i + 1);
    ask_at(store, &asked[0], 99, 3); /* there is room again */
    tell_all(store);
    assert_int_equal(asked[0].first, 100);
}

/* One that is larger than all that may wait can be read alone. */
static void a_read_that_is_too_large_may_wait_alone(void **state)
{
    struct store *store = *state;
    struct asked asked;
    store->options.reads_bytes = 1;
    open_old_log(store, 5);
    ask_at(store, &asked, 0, 3);
    tell_all(store);
    assert_int_equal(asked.count, 3);
}

static void few_pages_are_read_ahead_of_those_who_get_them(void **state)
{
    struct store *store = *state;
    struct asked asked[MANY];
    open_old_log(store, MANY);
    for (int i = 0; i < MANY; i++)
        ask_at(store, &asked[i], (uint64_t)i, 1);
    struct pollfd readable = {.fd = log_reads_fd(store->log), .events = POLLIN};
    while (told < MANY) {
        assert_int_equal(poll(&readable, 1, PATIENCE_MS), 1);
        assert_in_range(shim_pages(), told, told + READS_AHEAD);
        log_tell_reads(store->log, 0); /* one, if it is there already */
    }
}

/* A slow disk: the second message of a page is one too many, and then others have their turn. */
static void a_page_that_takes_too_long_ends(void **state)
{
    struct store *store = *state;
    struct asked asked;
    store->options.read_ms = 1;
    open_old_log(store, 20);
    for (uint64_t seq = 0; seq < 20; seq = asked.next) {
        store_put(store, "b", "the reader's cache is out of date");
        shim_stop();
        ask_at(store, &asked, seq, 100);
        shim_wait();
        for (int64_t now = clock_steady_ms(); clock_steady_ms() < now + 2;)
            ;
        shim_go();
        tell_all(store);
        assert_int_equal(asked.count, 1);
        assert_int_equal(asked.first, seq + 1);
        assert_int_equal(asked.more, seq < 19);
        if (!asked.more)
            break;
    }
    assert_int_equal(asked.next, log_head(store->log));
}

/* ---- memory ---- */

/* Whichever allocation of one thread fails: the read is refused, or its owner is told. Each read
 * has a limit of its own, so none is kept for the next. */
static void fail_each_allocation(struct store *store, void (*let_fail)(unsigned nth), size_t limit)
{
    unsigned nth = 0;
    bool failed;
    do {
        struct asked asked;
        let_fail(++nth);
        enum log_status status = ask(store, &asked, "a", at_start, limit + nth);
        if (status == LOG_OK) {
            tell_all(store);
            status = asked.status;
        }
        failed = memory_has_failed();
        assert_int_equal(status, failed ? LOG_NO_MEMORY : LOG_OK);
        assert_int_equal(waiting(store), 0);
    } while (failed);
    assert_true(nth > 4);
}

static void whatever_allocation_fails_a_read_is_refused_or_told(void **state)
{
    struct store *store = *state;
    open_old_log(store, MANY);
    fail_each_allocation(store, memory_fail, 1);
    fail_each_allocation(store, memory_fail_elsewhere, MANY);
}

/* One that had to be read again asks for memory when it is told. */
static void a_read_that_cannot_go_on_for_lack_of_memory_is_told(void **state)
{
    struct store *store = *state;
    struct asked asked;
    open_old_log(store, 5);
    bool failed = true;
    for (unsigned nth = 1; failed; nth++) {
        store_put(store, "b", "the reader's cache is out of date");
        shim_stop();
        assert_int_equal(ask(store, &asked, "quiet", at_start, nth), LOG_OK);
        shim_wait();
        assert_int_equal(store_queue(store, "a", "x"), LOG_OK);
        store_wait(store);
        memory_fail(1);
        store_drain(store); /* the tail drops all */
        assert_true(memory_has_failed());
        shim_go();
        memory_fail(nth);
        tell_all(store);
        failed = memory_has_failed();
        assert_int_equal(asked.status, failed ? LOG_NO_MEMORY : LOG_OK);
    }
}

/* ---- the end ---- */

static _Atomic bool interrupted;

/* In place of SQLite's. */
void sqlite3_interrupt(sqlite3 *db)
{
    void (*real)(sqlite3 *) = (void (*)(sqlite3 *))dlsym(RTLD_NEXT, "sqlite3_interrupt");
    real(db);
    interrupted = true;
}

static void *close_log(void *arg)
{
    store_close(arg);
    return NULL;
}

/* The read that is stopped would need many more steps. */
static void closing_the_log_ends_the_read_that_is_under_way_and_tells_nobody(void **state)
{
    struct store *store = *state;
    struct asked asked[MANY];
    pthread_t thread;
    enum { LARGE = 100 * 1000 };
    char *large = calloc(1, LARGE + 1);
    memset(large, 'x', LARGE);
    store->options.memory_bytes = 0;
    store_open(store);
    for (int i = 0; i < 50; i++)
        store_put(store, "a", large);
    free(large);
    shim_stop();
    for (int i = 0; i < MANY; i++)
        ask_at(store, &asked[i], 0, (size_t)(100 + i));
    shim_wait();
    interrupted = false;
    assert_int_equal(pthread_create(&thread, NULL, close_log, store), 0);
    while (!interrupted)
        sched_yield();
    shim_step();
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(asked[i].told, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(while_the_disk_is_silent_appends_and_live_readers_go_on),
        TEST(a_page_that_took_long_goes_on_with_what_came_meanwhile),
        TEST(a_reader_of_a_quiet_channel_reaches_the_head_of_a_busy_log),
        TEST(of_what_comes_meanwhile_so_much_stays_in_memory),
        TEST(what_retention_deletes_meanwhile_is_told),
        TEST(who_waits_while_the_log_begins_anew_is_told_so),
        TEST(the_write_ahead_log_starts_over_although_pages_are_read_all_the_time),
        TEST(pages_come_in_the_order_in_which_they_were_asked_for),
        TEST(all_who_ask_the_same_get_it_from_one_read),
        TEST(a_page_that_is_out_of_date_is_read_again),
        TEST(what_was_read_a_moment_ago_takes_so_much_memory),
        TEST(a_read_is_not_kept_once_messages_were_deleted),
        TEST(who_goes_away_is_not_told_and_what_nobody_wants_is_not_read),
        TEST(an_owner_may_ask_again_and_cancel_others_when_it_is_told),
        TEST(only_so_much_may_wait),
        TEST(a_read_that_is_too_large_may_wait_alone),
        TEST(few_pages_are_read_ahead_of_those_who_get_them),
        TEST(a_page_that_takes_too_long_ends),
        TEST(whatever_allocation_fails_a_read_is_refused_or_told),
        TEST(a_read_that_cannot_go_on_for_lack_of_memory_is_told),
        TEST(closing_the_log_ends_the_read_that_is_under_way_and_tells_nobody),
    };
    return cmocka_run_group_tests_name("reads", tests, NULL, NULL);
}

/* The log as the loop sees it: appending, draining, the visible head, pages. */
#include "support_store.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

static void a_new_log_is_empty(void **state)
{
    struct store *store = *state;
    store_open(store);
    struct log_stats stats;
    log_stats(store->log, &stats);
    assert_int_equal(log_head(store->log), 0);
    assert_int_equal(stats.messages, 0);
    assert_int_equal(strlen(log_epoch(store->log)), EPOCH_LEN);
    assert_null(log_error(store->log));
    assert_string_equal(store_read_all(store, "a b"), "next 0");
    assert_string_equal(store_read_at(store, "a", 0), "next 0");
}

static void an_append_is_not_visible_before_drain(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_int_equal(store_queue(store, "a", "x"), LOG_OK);
    store_wait(store); /* it is committed and reported, but not drained */
    assert_int_equal(log_head(store->log), 0);
    assert_string_equal(store_read_all(store, "a"), "next 0");
    store_drain(store);
    assert_int_equal(log_head(store->log), 1);
    assert_string_equal(store_read_all(store, "a"), "1=x next 1");
}

/* The same from the disk, where the row can be seen already. */
static void an_append_is_not_read_from_disk_before_drain(void **state)
{
    struct store *store = *state;
    store->options.memory_bytes = 0;
    store_open(store);
    store_put(store, "a", "x");
    assert_int_equal(store_queue(store, "a", "y"), LOG_OK);
    store_wait(store);
    assert_string_equal(store_read_all(store, "a"), "1=x next 1");
    assert_string_equal(store_read_at(store, "a", 0), "1=x next 1");
    store_drain(store);
    assert_string_equal(store_read_all(store, "a"), "1=x 2=y next 2");
}

static void head_moves_only_in_drain(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put(store, "a", "x");
    assert_int_equal(store_queue(store, "a", "y"), LOG_OK);
    store_wait(store);
    assert_int_equal(log_head(store->log), 1);
    struct log_news news;
    log_drain(store->log, &news);
    assert_int_equal(news.before, 1);
    assert_int_equal(news.head, 2);
    assert_int_equal(log_head(store->log), 2);
    assert_false(news.failed);
    assert_false(STAILQ_EMPTY(&news.done));
    log_news_free(store->log, &news);
}

static void drain_with_nothing_to_say_changes_nothing(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put(store, "a", "x");
    struct log_news news;
    log_drain(store->log, &news);
    assert_int_equal(news.before, 1);
    assert_int_equal(news.head, 1);
    assert_true(STAILQ_EMPTY(&news.done));
    log_news_free(store->log, &news);
    assert_string_equal(store_read_all(store, "a"), "1=x next 1");
}

/* Whatever batches they were committed in. */
static void seqs_rise_by_one_in_queue_order(void **state)
{
    struct store *store = *state;
    uint64_t seen = 0;
    store_open(store);
    for (uintptr_t i = 1; i <= 500; i++) {
        struct message *message = message_new(i % 3 ? "a" : "b", "x", 1, 0);
        assert_int_equal(log_append(store->log, &message, 1, NULL, (void *)i, NULL), LOG_OK);
    }
    struct log_news news;
    struct append *append;
    while (seen < 500) {
        store_wait(store);
        log_drain(store->log, &news);
        STAILQ_FOREACH (append, &news.done, next) {
            assert_int_equal(append->status, LOG_OK);
            assert_int_equal(append->entries[0].message->seq, ++seen);
            assert_int_equal((uintptr_t)append->owner, seen);
        }
        assert_int_equal(news.head, seen);
        log_news_free(store->log, &news);
    }
}

static void a_batch_is_one_commit(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put_many(store, "a", 20000);
    struct log_stats stats;
    log_stats(store->log, &stats);
    assert_int_equal(stats.appended, 20000);
    assert_int_equal(stats.messages, 20000);
    assert_int_equal(stats.queued, 0);
    assert_true(stats.commits < 10000);
}

static uint64_t commits_of(const struct store *store)
{
    struct log_stats stats;
    log_stats(store->log, &stats);
    return stats.commits;
}

static void collected_appends_are_handed_over_as_one_commit(void **state)
{
    struct store *store = *state;
    store->options.collect = true;
    store_open(store);
    log_hand_over(store->log); /* nothing is */
    for (int i = 0; i < 500; i++)
        assert_int_equal(store_queue(store, "a", "x"), LOG_OK);
    log_hand_over(store->log);
    store_settle(store);
    assert_int_equal(log_head(store->log), 500);
    assert_int_equal(commits_of(store), 1);
}

static void a_drain_and_a_close_hand_over_what_is_collected(void **state)
{
    struct store *store = *state;
    store->options.collect = true;
    store_open(store);
    assert_int_equal(store_queue(store, "a", "drained"), LOG_OK);
    store_drain(store);
    store_settle(store);
    assert_string_equal(store_read_all(store, "a"), "1=drained next 1");
    assert_int_equal(store_queue(store, "a", "closed"), LOG_OK);
    store_reopen(store);
    assert_string_equal(store_read_all(store, "a"), "1=drained 2=closed next 2");
}

static void messages_outlive_a_restart(void **state)
{
    struct store *store = *state;
    store_open(store);
    char epoch[EPOCH_LEN + 1];
    strcpy(epoch, log_epoch(store->log));
    store_put(store, "a", "x");
    store_put(store, "b", "");
    store_reopen(store);
    assert_string_equal(log_epoch(store->log), epoch);
    assert_int_equal(log_head(store->log), 2);
    assert_string_equal(store_read_all(store, "a b"), "1=x 2= next 2");
    assert_int_equal(store_put(store, "a", "y"), 3);
}

static void two_logs_have_different_epochs(void **state)
{
    struct store *store = *state;
    store_open(store);
    char epoch[EPOCH_LEN + 1];
    strcpy(epoch, log_epoch(store->log));
    store_close(store);
    remove(store->path);
    store_open(store);
    assert_string_not_equal(log_epoch(store->log), epoch);
}

static void close_commits_what_is_queued(void **state)
{
    struct store *store = *state;
    store_open(store);
    for (int i = 0; i < 300; i++)
        assert_int_equal(store_queue(store, "a", "x"), LOG_OK);
    assert_int_equal(store_close(store), LOG_OK);
    store_open(store);
    assert_int_equal(log_head(store->log), 300);
}

static void every_byte_of_a_message_is_kept(void **state)
{
    struct store *store = *state;
    const char *channel = "a";
    char bytes[256];
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    struct page page;
    for (int disk = 0; disk < 2; disk++) {
        store->options.memory_bytes = disk ? 0 : 1 << 20;
        store_open(store);
        if (!disk) {
            assert_int_equal(store_append(store, message_new(channel, bytes, 256, 1234567)),
                             LOG_OK);
            store_settle(store);
        }
        assert_int_equal(store_page(store, &channel, 1, (struct cursor){0}, UP_TO(10), &page),
                         LOG_OK);
        assert_int_equal(page.count, 1);
        assert_int_equal(page.messages[0]->data_len, 256);
        assert_int_equal(page.messages[0]->time_ms, 1234567);
        assert_memory_equal(message_data(page.messages[0]), bytes, 256);
        assert_string_equal(message_channel(page.messages[0]), "a");
        page_free(&page);
        store_close(store);
    }
}

/* Only a drain makes room in the queue, so the writer cannot get ahead of a loop that does not
 * drain. */
static void queue_is_limited_in_bytes(void **state)
{
    struct store *store = *state;
    size_t size = message_size_of(1, 1);
    store->options.queue_bytes = 10 * size;
    store_open(store);
    for (int i = 0; i < 10; i++)
        assert_int_equal(store_queue(store, "a", "x"), LOG_OK);
    assert_int_equal(store_queue(store, "a", "x"), LOG_QUEUE);
    struct log_stats stats;
    log_stats(store->log, &stats);
    assert_int_equal(stats.queued, 10);
    store_settle(store);
    assert_int_equal(store_queue(store, "a", "x"), LOG_OK);
    store_settle(store);
    assert_int_equal(log_head(store->log), 11);
}

static void a_message_larger_than_the_queue_goes_alone(void **state)
{
    struct store *store = *state;
    store->options.queue_bytes = 10;
    store_open(store);
    assert_int_equal(store_queue(store, "a", "x"), LOG_OK);
    assert_int_equal(store_queue(store, "a", "x"), LOG_QUEUE);
    store_settle(store);
    assert_int_equal(store_put(store, "a", "x"), 2);
}

/* ---- pages ---- */

static const size_t memories[] = {1 << 20, 300, 0}; /* all, some, nothing in memory */

static void a_page_holds_only_its_channels_in_order(void **state)
{
    struct store *store = *state;
    store_open(store);
    for (int i = 0; i < 3; i++) {
        store_put(store, "a", "a");
        store_put(store, "b", "b");
        store_put(store, "c", "c");
    }
    for (int i = 0; i < 3; i++) {
        store->options.memory_bytes = memories[i];
        store_reopen(store);
        assert_string_equal(store_read_all(store, "b"), "2=b 5=b 8=b next 9");
        assert_string_equal(store_read_all(store, "c a"), "1=a 3=c 4=a 6=c 7=a 9=c next 9");
        assert_string_equal(store_read_at(store, "a b", 4), "5=b 7=a 8=b next 9");
        assert_string_equal(store_read_at(store, "a b", 8), "next 9");
        assert_string_equal(store_read_at(store, "none", 0), "next 9");
        assert_string_equal(store_read_all(store, "none"), "next 9");
    }
}

static void more_is_exact(void **state)
{
    struct store *store = *state;
    const struct cursor two = {CURSOR_AT, 2};
    store_open(store);
    for (int i = 0; i < 5; i++)
        store_put(store, i % 2 ? "b" : "a", "x");
    store_put(store, "c", "x");
    for (int i = 0; i < 3; i++) {
        store->options.memory_bytes = memories[i];
        store_reopen(store);
        assert_string_equal(store_read(store, "a b", two, 2), "3=x 4=x next 4 more");
        assert_string_equal(store_read(store, "a b", two, 3), "3=x 4=x 5=x next 6");
        assert_string_equal(store_read(store, "a b", two, 4), "3=x 4=x 5=x next 6");
        assert_string_equal(store_read(store, "b", two, 1), "4=x next 6");
        assert_string_equal(store_read(store, "a", two, 1), "3=x next 3 more");
    }
}

static void a_page_ends_with_the_message_that_brings_it_past_its_bytes(void **state)
{
    struct store *store = *state;
    const char *channel = "a";
    const size_t size = 1000;
    const struct page_limit limit = {100, 2 * size + 2}; /* three pass it, two do not */
    char *data = calloc(1, size);
    store->options.memory_bytes = 64 << 20;
    store_open(store);
    for (int i = 0; i < 4; i++)
        store_append(store, message_new(channel, data, size, 0));
    free(data);
    store_settle(store);
    struct page page;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(store_page(store, &channel, 1, (struct cursor){0}, limit, &page), LOG_OK);
        assert_int_equal(page.count, 3);
        assert_true(page.more);
        assert_int_equal(page.next, 3);
        page_free(&page);
        assert_int_equal(
            store_page(store, &channel, 1, (struct cursor){CURSOR_AT, 1}, limit, &page), LOG_OK);
        assert_int_equal(page.count, 3);
        assert_false(page.more);
        page_free(&page);
        store->options.memory_bytes = 0;
        store_reopen(store);
    }
}

static void a_page_goes_on_from_disk_to_memory(void **state)
{
    struct store *store = *state;
    store->options.memory_bytes = 3 * message_size_of(1, 1);
    store_open(store);
    for (int i = 0; i < 6; i++)
        store_put(store, "a", "x");
    assert_string_equal(store_read_at(store, "a", 0), "1=x 2=x 3=x 4=x 5=x 6=x next 6");
    assert_string_equal(store_read(store, "a", (struct cursor){CURSOR_AT, 1}, 2),
                        "2=x 3=x next 3 more");
    assert_string_equal(store_read(store, "a", (struct cursor){CURSOR_AT, 1}, 3),
                        "2=x 3=x 4=x next 4 more");
    assert_string_equal(store_read(store, "a", (struct cursor){CURSOR_AT, 1}, 5),
                        "2=x 3=x 4=x 5=x 6=x next 6");
}

static void a_page_outlives_the_memory_it_came_from(void **state)
{
    struct store *store = *state;
    const char *channel = "a";
    store->options.memory_bytes = message_size_of(1, 1);
    store->options.keep_messages = 1;
    store_open(store);
    store_put(store, "a", "x");
    struct page page;
    assert_int_equal(store_page(store, &channel, 1, (struct cursor){0}, UP_TO(10), &page), LOG_OK);
    store_put(store, "a", "y");
    assert_string_equal(message_data(page.messages[0]), "x");
    page_free(&page);
}

/* ---- cursors ---- */

static void now_gives_nothing_but_the_head(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put(store, "a", "x");
    assert_string_equal(store_read(store, "a", (struct cursor){.kind = CURSOR_NOW}, 10), "next 1");
}

static void an_unknown_cursor_is_reset(void **state)
{
    struct store *store = *state;
    const struct cursor unknown = {.kind = CURSOR_UNKNOWN};
    store_open(store);
    assert_string_equal(store_read(store, "a", unknown, 10), "next 0 reset");
    store_put(store, "a", "x");
    store_put(store, "a", "y");
    for (int i = 0; i < 3; i++) {
        store->options.memory_bytes = memories[i];
        store_reopen(store);
        assert_string_equal(store_read(store, "a", unknown, 10), "1=x 2=y next 2 reset");
        assert_string_equal(store_read(store, "a", unknown, 1), "1=x next 1 more reset");
        assert_string_equal(store_read(store, "b", unknown, 10), "next 2 reset");
    }
}

static void cursor_ahead_of_the_log_is_reset(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_string_equal(store_read_at(store, "a", 1), "next 0 reset");
    store_put(store, "a", "x");
    assert_string_equal(store_read_at(store, "a", 1), "next 1");
    assert_string_equal(store_read_at(store, "a", 2), "1=x next 1 reset");
    assert_string_equal(store_read_at(store, "a", INT64_MAX), "1=x next 1 reset");
    store->options.memory_bytes = 0;
    store_reopen(store);
    assert_string_equal(store_read_at(store, "a", 2), "1=x next 1 reset");
}

static void many_channels_are_read_at_once(void **state)
{
    struct store *store = *state;
    char names[64 * 4] = "", name[16];
    store_open(store);
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "c%d", i);
        store_put(store, name, "x");
        strcat(strcat(names, i ? " " : ""), name);
    }
    for (int i = 0; i < 3; i++) {
        store->options.memory_bytes = memories[i];
        store_reopen(store);
        assert_string_equal(store_read(store, names, (struct cursor){CURSOR_AT, 58}, 9),
                            "59=x 60=x next 60");
        assert_string_equal(store_read(store, names, (struct cursor){CURSOR_AT, 7}, 2),
                            "8=x 9=x next 9 more");
    }
}

/* ---- one owner ---- */

static void newest_is_the_last_of_its_channel_below_a_seq(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_int_equal(store_newest(store, "a", UINT64_MAX), 0);
    store_put(store, "a", "x");
    store_put(store, "b", "y");
    store_put(store, "a", "z");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(store_newest(store, "a", UINT64_MAX), 3);
        assert_int_equal(store_newest(store, "a", 4), 3);
        assert_int_equal(store_newest(store, "a", 3), 1);
        assert_int_equal(store_newest(store, "a", 2), 1);
        assert_int_equal(store_newest(store, "a", 1), 0);
        assert_int_equal(store_newest(store, "a", 0), 0);
        assert_int_equal(store_newest(store, "b", UINT64_MAX), 2);
        assert_int_equal(store_newest(store, "b", 2), 0);
        assert_int_equal(store_newest(store, "c", UINT64_MAX), 0);
        store_reopen(store);
    }
}

static void newest_is_whole(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put(store, "a", "what it says");
    store_put(store, "b", "");
    struct message *message;
    message = store_newest_message(store, "a", UINT64_MAX);
    assert_int_equal(message->data_len, strlen("what it says"));
    assert_memory_equal(message_data(message), "what it says", message->data_len);
    assert_true(message->time_ms > 0);
    message_drop(message);
    message = store_newest_message(store, "b", UINT64_MAX);
    assert_int_equal(message->data_len, 0);
    message_drop(message);
}

/* It is in the file already, but nobody may see it. */
static void newest_is_not_what_is_not_drained(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put(store, "a", "x");
    assert_int_equal(store_queue(store, "a", "y"), LOG_OK);
    store_wait(store);
    assert_int_equal(store_newest(store, "a", UINT64_MAX), 1);
    assert_int_equal(store_newest(store, "a", 2), 1);
    store_drain(store);
    assert_int_equal(store_newest(store, "a", UINT64_MAX), 2);
}

static void newest_is_not_what_is_retained_no_more(void **state)
{
    struct store *store = *state;
    store->options.keep_messages = 2;
    store_open(store);
    for (int i = 0; i < 5; i++)
        store_put(store, "a", "x");
    assert_int_equal(store_newest(store, "a", UINT64_MAX), 5);
    assert_int_equal(store_newest(store, "a", 5), 4);
    assert_int_equal(store_newest(store, "a", 4), 0);
}

static void second_open_is_refused(void **state)
{
    struct store *store = *state;
    struct log *second = NULL;
    char name[200], why[300], pid[32];
    store_open(store);
    store_put(store, "a", "x");
    assert_int_equal(log_open(&second, &store->options, why, sizeof why), -1);
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_non_null(strstr(why, "in use"));
    assert_non_null(strstr(why, pid));
    assert_int_equal(store_put(store, "a", "y"), 2);

    /* by another name as well */
    snprintf(name, sizeof name, "%s/link.db", store->dir);
    assert_int_equal(symlink(store->path, name), 0);
    store->options.path = name;
    assert_int_equal(log_open(&second, &store->options, why, sizeof why), -1);
    assert_non_null(strstr(why, "in use"));
    store->options.path = store->path;
    store_reopen(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_log_is_empty),
        TEST(an_append_is_not_visible_before_drain),
        TEST(an_append_is_not_read_from_disk_before_drain),
        TEST(head_moves_only_in_drain),
        TEST(drain_with_nothing_to_say_changes_nothing),
        TEST(seqs_rise_by_one_in_queue_order),
        TEST(a_batch_is_one_commit),
        TEST(collected_appends_are_handed_over_as_one_commit),
        TEST(a_drain_and_a_close_hand_over_what_is_collected),
        TEST(messages_outlive_a_restart),
        TEST(two_logs_have_different_epochs),
        TEST(close_commits_what_is_queued),
        TEST(every_byte_of_a_message_is_kept),
        TEST(queue_is_limited_in_bytes),
        TEST(a_message_larger_than_the_queue_goes_alone),
        TEST(a_page_holds_only_its_channels_in_order),
        TEST(more_is_exact),
        TEST(a_page_ends_with_the_message_that_brings_it_past_its_bytes),
        TEST(a_page_goes_on_from_disk_to_memory),
        TEST(a_page_outlives_the_memory_it_came_from),
        TEST(now_gives_nothing_but_the_head),
        TEST(an_unknown_cursor_is_reset),
        TEST(cursor_ahead_of_the_log_is_reset),
        TEST(many_channels_are_read_at_once),
        TEST(newest_is_the_last_of_its_channel_below_a_seq),
        TEST(newest_is_whole),
        TEST(newest_is_not_what_is_not_drained),
        TEST(newest_is_not_what_is_retained_no_more),
        TEST(second_open_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

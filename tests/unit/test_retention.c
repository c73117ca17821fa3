/* What is deleted, when, and that a reader who missed some of it is told. */
#include "support_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "store/retention.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

/* The clocks of this program, the writer's thread included. */
static _Atomic int64_t passed_ms; /* by all of them */
static _Atomic int64_t ahead_ms;  /* what the wall clock says too much */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec += (passed_ms + ahead_ms) / 1000;
    else if (clock == CLOCK_BOOTTIME)
        now->tv_sec += passed_ms / 1000;
    return result;
}

static struct log_stats stats_of(const struct store *store)
{
    struct log_stats stats;
    log_stats(store->log, &stats);
    return stats;
}

/* With a time of the test's choice. */
static void put_at(struct store *store, const char *channel, int64_t time_ms)
{
    assert_int_equal(store_append(store, message_new(channel, "t", 1, time_ms)), LOG_OK);
    store_settle(store);
}

/* ---- by count ---- */

static void a_channel_never_keeps_more_than_its_count(void **state)
{
    struct store *store = *state;
    store->options.keep_messages = 3;
    store_open(store);
    for (uint64_t i = 1; i <= 10; i++) {
        store_put(store, "a", "x");
        assert_int_equal(stats_of(store).messages, i < 3 ? i : 3);
    }
    store_put(store, "b", "y");
    assert_string_equal(store_read_all(store, "a"), "8=x 9=x 10=x next 11");
    assert_string_equal(store_read_all(store, "b"), "11=y next 11");
    store_close(store);
    assert_int_equal(store_sql(store, "SELECT count(*) FROM message"), 4);
    assert_int_equal(store_sql(store, "SELECT floor FROM channel WHERE name = 'a'"), 7);
}

/* Of a thousand messages or more, a sixteenth more may stay until all of that is deleted at once.
 */
static void a_long_channel_is_trimmed_a_piece_at_a_time(void **state)
{
    struct store *store = *state;
    uint64_t before = 0, pieces = 0;
    store->options.keep_messages = 1600;
    store_open(store);
    for (int i = 1; i <= 2500; i++) {
        store_put(store, "a", "x");
        uint64_t now = stats_of(store).messages;
        assert_true(now <= 1700);
        assert_true(i <= 1700 || now >= 1600);
        pieces += now < before;
        before = now;
    }
    assert_int_equal(pieces, 800 / 101 + 1);
    store_close(store);
}

static uint64_t most_of(uint64_t keep_messages)
{
    return retention_most_messages(&(struct retention_limits){.keep_messages = keep_messages});
}

static void what_may_be_left_over_is_bounded(void **state)
{
    assert_int_equal(most_of(999), 999);
    assert_int_equal(most_of(1000), 1062);
    assert_int_equal(most_of(16000), 17000);
    assert_int_equal(most_of(20000), 21000);
    assert_int_equal(most_of(1ULL << 40), (1ULL << 40) + 1000);
}

/* Large batches, too, are trimmed in their own transaction. */
static void retention_keeps_up_with_any_batch(void **state)
{
    struct store *store = *state;
    store->options.keep_messages = 100;
    store_open(store);
    for (int i = 0; i < 20000; i++)
        assert_int_equal(store_queue(store, i % 2 ? "a" : "b", "x"), LOG_OK);
    while (stats_of(store).queued) {
        store_wait(store);
        store_drain(store);
        assert_true(stats_of(store).messages <= 200);
    }
    assert_int_equal(stats_of(store).messages, 200);
}

/* ---- gaps ---- */

static void gap_is_told_after_retention(void **state)
{
    struct store *store = *state;
    store->options.keep_messages = 2;
    store_open(store);
    for (int i = 0; i < 5; i++)
        store_put(store, "a", "x");
    for (int i = 0; i < 2; i++) {
        assert_string_equal(store_read_at(store, "a", 0), "4=x 5=x next 5 reset");
        assert_string_equal(store_read_at(store, "a", 2), "4=x 5=x next 5 reset");
        assert_string_equal(store_read_at(store, "a", 3), "4=x 5=x next 5");
        assert_string_equal(store_read_at(store, "a", 4), "5=x next 5");
        assert_string_equal(store_read_at(store, "b", 0), "next 5");
        assert_string_equal(store_read_all(store, "a"), "4=x 5=x next 5");
        store->options.memory_bytes = 0;
        store_reopen(store);
    }
}

/* The writer is ahead of what the loop has drained: what it deleted meanwhile may be missing from
 * the disk, and must not be missing silently. */
static void gap_of_a_commit_not_yet_drained_is_told(void **state)
{
    struct store *store = *state;
    store->options.keep_messages = 1;
    store->options.memory_bytes = 0;
    store_open(store);
    store_put(store, "a", "x");
    assert_int_equal(store_queue(store, "a", "y"), LOG_OK);
    while (store_sql(store, "SELECT max(seq) FROM message") != 2)
        store_wait(store);
    assert_string_equal(store_read_at(store, "a", 0), "next 1 reset");
    assert_string_equal(store_read_at(store, "a", 1), "next 1");
    store_drain(store);
    assert_string_equal(store_read_at(store, "a", 1), "2=y next 2");
    assert_string_equal(store_read_at(store, "a", 0), "2=y next 2 reset");
}

static void gap_on_one_channel_repeats_nothing_of_the_others(void **state)
{
    struct store *store = *state;
    store->options.keep_messages = 2;
    store_open(store);
    store_put(store, "quiet", "q");
    for (int i = 0; i < 4; i++)
        store_put(store, "busy", "b");
    for (int i = 0; i < 2; i++) {
        assert_string_equal(store_read_at(store, "quiet busy", 1), "4=b 5=b next 5 reset");
        assert_string_equal(store_read_at(store, "quiet busy", 0), "1=q 4=b 5=b next 5 reset");
        assert_string_equal(store_read_at(store, "quiet", 0), "1=q next 5");
        store->options.memory_bytes = 0;
        store_reopen(store);
    }
}

/* Pages through channels with different floors must come to an end. */
static void paging_through_a_gap_gets_to_the_end(void **state)
{
    struct store *store = *state;
    struct cursor cursor = {.kind = CURSOR_START};
    const char *channels[] = {"a", "b"};
    size_t seen = 0;
    store->options.keep_messages = 20;
    store->options.memory_bytes = 5 * message_size_of(1, 1);
    store_open(store);
    for (int i = 0; i < 20; i++)
        store_put(store, "a", "x");
    for (int i = 0; i < 60; i++)
        store_put(store, "b", "y");
    struct page page;
    for (int pages = 0; pages < 100; pages++) {
        assert_int_equal(store_page(store, channels, 2, cursor, UP_TO(3), &page), LOG_OK);
        cursor = (struct cursor){CURSOR_AT, page.next};
        seen += page.count;
        if (!page.more)
            break;
        page_free(&page);
    }
    assert_false(page.more);
    page_free(&page);
    assert_int_equal(seen, 40);
}

static struct gap *read_gap(struct store *store, uint64_t seq)
{
    const char *channels[] = {"a", "b"};
    struct page page;
    assert_int_equal(
        store_page(store, channels, 2, (struct cursor){CURSOR_AT, seq}, UP_TO(1), &page), LOG_OK);
    struct gap *gap = gap_hold(page.gap);
    assert_int_equal(page.reset, gap != NULL);
    page_free(&page);
    return gap;
}

/* The floors are 100 and 90, and then 190 and one that the memory has forgotten. */
static void a_floor_that_falls_out_of_memory_hides_no_gap(void **state)
{
    struct store *store = *state;
    store->options.keep_messages = 3;
    store->options.memory_bytes = 3 * message_size_of(1, 1);
    store_open(store);
    store_put_many(store, "b", 93);
    store_put_many(store, "a", 10);
    struct gap *told = read_gap(store, 1);
    struct gap *again = read_gap(store, 95);
    assert_true(gap_is_known(again, told, 95));
    assert_null(read_gap(store, 103));
    for (int i = 0; i < 90; i++)
        store_put(store, "a", "x");
    struct gap *later = read_gap(store, 103);
    assert_int_equal(later->floors[0] + later->floors[1], told->floors[0] + told->floors[1]);
    assert_false(gap_is_known(later, told, 103));
    assert_true(gap_is_known(later, later, 103));
    gap_drop(told);
    gap_drop(again);
    gap_drop(later);
}

static struct gap *gap_of(uint64_t a, uint64_t b)
{
    return gap_new((uint64_t[]){a, b}, 2);
}

static void a_gap_is_known_until_a_floor_is_past_cursor_and_what_was_told(void **state)
{
    static const struct {
        uint64_t a, b, seq;
        bool known; /* to who was told of 100 and 90 */
    } cases[] = {
        {100, 90, 50, true},                       /* the same */
        {100, 90, 95, true},                       /* only one of them is ahead of the cursor */
        {100, 95, 50, false},                      /* below the highest, and yet another */
        {100, 95, 94, false}, {100, 95, 95, true}, /* given before it went */
        {101, 0, 100, false},                      /* the other is out of memory */
        {100, 0, 95, true},   {190, 0, 103, false},
    };
    struct gap *told = gap_of(100, 90);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gap *gap = gap_of(cases[i].a, cases[i].b);
        if (gap_is_known(gap, told, cases[i].seq) != cases[i].known)
            fail_msg("case %zu", i);
        assert_false(gap_is_known(gap, NULL, cases[i].seq));
        gap->count = 1;
        assert_false(gap_is_known(gap, told, cases[i].seq)); /* of other channels */
        gap_drop(gap);
    }
    gap_drop(told);
}

static void gap_of_a_channel_that_is_gone_is_told(void **state)
{
    struct store *store = *state;
    size_t size = message_size_of(1, 1);
    store->options.keep_bytes = 2 * size;
    store_open(store);
    store_put(store, "a", "x");
    store_put(store, "b", "y");
    assert_string_equal(store_read_at(store, "a", 0), "1=x next 2");
    store_put(store, "b", "z");
    for (int i = 0; i < 2; i++) {
        assert_string_equal(store_read_at(store, "a", 0), "next 3 reset");
        assert_string_equal(store_read_at(store, "a", 1), "next 3");
        assert_string_equal(store_read_all(store, "a"), "next 3");
        store->options.memory_bytes = 0;
        store_reopen(store);
    }
    store_put(store, "a", "w"); /* comes back, and still has its gap */
    assert_string_equal(store_read_at(store, "a", 0), "4=w next 4 reset");
    store_close(store);
    assert_int_equal(store_sql(store, "SELECT floor FROM channel WHERE name = 'a'"), 1);
}

static void channels_that_come_and_go_leave_nothing_behind(void **state)
{
    struct store *store = *state;
    store->options.keep_bytes = 10 * message_size_of(5, 1);
    store_open(store);
    char name[16];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "c%04d", i);
        store_put(store, name, "x");
    }
    assert_int_equal(stats_of(store).messages, 10);
    store_close(store);
    assert_int_equal(store_sql(store, "SELECT count(*) FROM channel"), 10);
    assert_int_equal(store_sql(store, "SELECT forgotten FROM log"), 290);
}

/* ---- by bytes ---- */

static void the_oldest_of_all_go_when_there_are_too_many_bytes(void **state)
{
    struct store *store = *state;
    store->options.keep_bytes = 4 * message_size_of(1, 1) + 1;
    store_open(store);
    for (int i = 0; i < 9; i++)
        store_put(store, i % 2 ? "b" : "a", "x");
    assert_int_equal(stats_of(store).messages, 4);
    assert_int_equal(stats_of(store).bytes, 4 * message_size_of(1, 1));
    assert_string_equal(store_read_all(store, "a b"), "6=x 7=x 8=x 9=x next 9");
}

static void a_message_larger_than_all_that_is_kept_goes_at_once_and_is_told(void **state)
{
    struct store *store = *state;
    store->options.keep_bytes = 10;
    store_open(store);
    assert_int_equal(store_put(store, "a", "x"), 1);
    assert_int_equal(stats_of(store).messages, 0);
    assert_int_equal(stats_of(store).bytes, 0);
    assert_string_equal(store_read_at(store, "a", 0), "next 1 reset");
    assert_int_equal(store_put(store, "a", "x"), 2);
    assert_string_equal(store_read_at(store, "a", 1), "next 2 reset");
}

static void seq_is_never_reused_after_everything_was_deleted(void **state)
{
    struct store *store = *state;
    store->options.keep_bytes = 10;
    store_open(store);
    for (int i = 0; i < 5; i++)
        store_put(store, "a", "x");
    store_reopen(store);
    assert_int_equal(log_head(store->log), 5);
    assert_string_equal(store_read_at(store, "a", 4), "next 5 reset");
    assert_string_equal(store_read_at(store, "a", 5), "next 5");
    assert_int_equal(store_put(store, "a", "x"), 6);
}

/* ---- by age ---- */

static void age_retention_wakes_by_itself(void **state)
{
    struct store *store = *state;
    store->options.keep_age_ms = 50;
    store_open(store);
    for (int i = 0; i < 3; i++) {
        store_put(store, "a", "x");
        store_settle_at(store, 0);
    }
    assert_string_equal(store_read_at(store, "a", 2), "next 3 reset");
    assert_string_equal(store_read_at(store, "a", 3), "next 3");
}

static void age_keeps_what_is_young(void **state)
{
    struct store *store = *state;
    int64_t now = clock_wall_ms();
    store->options.keep_age_ms = 3600 * 1000;
    store_open(store);
    put_at(store, "a", now - 3600 * 1000 - 1);
    assert_int_equal(stats_of(store).messages, 0);
    put_at(store, "a", now - 3500 * 1000);
    put_at(store, "a", now);
    assert_int_equal(stats_of(store).messages, 2);
    assert_string_equal(store_read_all(store, "a"), "2=t 3=t next 3");
}

/* The clock went back: what was appended later looks older. Only the order of the log decides. */
static void an_old_stamp_behind_a_young_one_waits_its_turn(void **state)
{
    struct store *store = *state;
    store->options.keep_age_ms = 3600 * 1000;
    store_open(store);
    put_at(store, "a", clock_wall_ms());
    put_at(store, "b", 5);
    put_at(store, "c", -5);
    store_put(store, "a", "x");
    assert_int_equal(stats_of(store).messages, 4);
}

/* The clock was ahead for a while: its stamps do not keep everything behind them for ever. */
static void a_stamp_from_the_future_goes_with_what_is_behind_it(void **state)
{
    struct store *store = *state;
    store->options.keep_age_ms = 50;
    store_open(store);
    put_at(store, "a", INT64_MAX);
    put_at(store, "a", clock_wall_ms() + 1000000000);
    put_at(store, "b", clock_wall_ms());
    store_settle_at(store, 0);
}

static void future_stamps_alone_stay_and_cost_nothing(void **state)
{
    struct store *store = *state;
    store->options.keep_age_ms = 1000000;
    store_open(store);
    for (int i = 0; i < 5; i++)
        put_at(store, "a", INT64_MAX - i);
    uint64_t commits = stats_of(store).commits;
    assert_int_equal(stats_of(store).messages, 5);
    assert_int_equal(commits, 5);
}

enum { MINUTE_MS = 60 * 1000, HOUR_MS = 60 * MINUTE_MS };

static void a_clock_that_was_ahead_for_a_moment_holds_nothing_up(void **state)
{
    struct store *store = *state;
    store->options.keep_age_ms = 2 * HOUR_MS;
    store_open(store);
    store_put(store, "a", "x");
    ahead_ms = HOUR_MS;
    store_put(store, "a", "x");
    store_put(store, "b", "x");
    ahead_ms = 0;
    passed_ms += MINUTE_MS;
    store_put(store, "a", "x");
    passed_ms += 2 * HOUR_MS - MINUTE_MS / 2;
    store_put(store, "a", "x");
    assert_int_equal(stats_of(store).messages, 2);
    passed_ms += MINUTE_MS;
    store_put(store, "a", "x");
    assert_int_equal(stats_of(store).messages, 2);
}

static void a_first_message_stamped_ahead_puts_off_nothing(void **state)
{
    struct store *store = *state;
    store->options.keep_age_ms = 2 * HOUR_MS;
    ahead_ms = HOUR_MS;
    store_open(store);
    store_put(store, "a", "x");
    ahead_ms = 0;
    passed_ms += 2 * HOUR_MS + MINUTE_MS;
    store_put(store, "a", "x");
    assert_int_equal(stats_of(store).messages, 1);
}

static void a_clock_that_is_wrong_for_a_moment_deletes_nothing_early(void **state)
{
    struct store *store = *state;
    store->options.keep_age_ms = HOUR_MS;
    store_open(store);
    store_put(store, "a", "x");
    for (int i = -1; i <= 1; i++) {
        ahead_ms = i * (int64_t)1000 * HOUR_MS;
        store_put(store, "a", "x");
    }
    ahead_ms = 0;
    passed_ms += HOUR_MS / 2;
    store_put(store, "a", "x");
    assert_int_equal(stats_of(store).messages, 5);
    passed_ms += HOUR_MS / 2 + MINUTE_MS;
    store_put(store, "a", "x");
    assert_int_equal(stats_of(store).messages, 2);
}

/* Of what was there at the start only the stamps are known. */
static void after_a_restart_the_stamps_count(void **state)
{
    struct store *store = *state;
    store->options.keep_age_ms = 2 * HOUR_MS;
    store_open(store);
    ahead_ms = HOUR_MS;
    store_put(store, "a", "x");
    ahead_ms = 0;
    store_put(store, "a", "x");
    store_reopen(store);
    passed_ms += 2 * HOUR_MS + MINUTE_MS;
    store_put(store, "a", "x");
    assert_int_equal(stats_of(store).messages, 3);
    passed_ms += HOUR_MS;
    store_put(store, "a", "x");
    assert_int_equal(stats_of(store).messages, 2);
}

static bool is_in_file(struct store *store, const char *text)
{
    size_t size;
    char *bytes = store_slurp(store->path, &size);
    bool found = memmem(bytes, size, text, strlen(text)) != NULL;
    free(bytes);
    return found;
}

static void a_clock_that_is_set_back_does_not_put_off_the_checkpoint(void **state)
{
    struct store *store = *state;
    int waited_ms = 0;
    store_open(store);
    store_put(store, "a", "to be copied");
    ahead_ms = -HOUR_MS;
    for (; !is_in_file(store, "to be copied") && waited_ms < PATIENCE_MS; waited_ms += 10)
        usleep(10000);
    assert_true(waited_ms < PATIENCE_MS);
    ahead_ms = 0;
}

static void a_stamp_is_told_by_the_clock_as_it_goes_now(void **state)
{
    struct stamps stamps = {.count = 0};
    const struct moment now = {.wall_ms = 100 * HOUR_MS, .steady_ms = 50 * HOUR_MS};
    assert_int_equal(stamps_time(&stamps, 1, 7, &now), 7);
    assert_int_equal(stamps_time(&stamps, 1, -7, &now), 0);
    stamps_note(&stamps, 10, 90 * HOUR_MS, 40 * HOUR_MS);
    stamps_note(&stamps, 20, 92 * HOUR_MS, 41 * HOUR_MS); /* an hour ahead */
    stamps_note(&stamps, 21, 92 * HOUR_MS + 5000, 41 * HOUR_MS);
    stamps_note(&stamps, 30, 92 * HOUR_MS, 42 * HOUR_MS);
    assert_int_equal(stamps.count, 3);
    assert_int_equal(stamps_time(&stamps, 9, 7, &now), 7);
    assert_int_equal(stamps_time(&stamps, 10, 90 * HOUR_MS, &now), 90 * HOUR_MS);
    assert_int_equal(stamps_time(&stamps, 21, 92 * HOUR_MS + 5000, &now), 91 * HOUR_MS + 5000);
    assert_int_equal(stamps_time(&stamps, 30, 92 * HOUR_MS, &now), 92 * HOUR_MS);
    stamps_forget(&stamps, 20);
    assert_int_equal(stamps.count, 2);
    assert_int_equal(stamps_time(&stamps, 20, 92 * HOUR_MS, &now), 91 * HOUR_MS);
}

static void a_clock_that_is_set_more_often_than_is_kept_costs_no_more_memory(void **state)
{
    struct stamps stamps = {.count = 0};
    const struct moment now = {.wall_ms = HOUR_MS, .steady_ms = HOUR_MS};
    for (uint64_t seq = 1; seq <= 2 * STAMPS_MOST; seq++)
        stamps_note(&stamps, seq, seq % 2 ? HOUR_MS : 0, 0);
    assert_int_equal(stamps.count, STAMPS_MOST);
    assert_int_equal(stamps_time(&stamps, 1, 7, &now), 7);
    assert_int_equal(stamps_time(&stamps, 2 * STAMPS_MOST - 1, HOUR_MS, &now), 0);
}

/* ---- limits that were lowered ---- */

static void lowered_limits_are_worked_off_while_nothing_comes(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put_many(store, "a", 5000);
    store_put_many(store, "b", 5000);
    store_put_many(store, "c", 7);
    store->options.keep_messages = 10;
    store_reopen(store);
    store_settle_at(store, 27);
    assert_true(stats_of(store).commits >= 9); /* in small transactions */
    assert_string_equal(store_read(store, "a", (struct cursor){CURSOR_START, 0}, 2),
                        "4991=x 4992=x next 4992 more");

    store->options.keep_bytes = 3 * message_size_of(1, 1);
    store_reopen(store);
    store_settle_at(store, 3);
    store->options.keep_age_ms = 1;
    store_reopen(store);
    store_settle_at(store, 0);
    assert_int_equal(log_head(store->log), 10007);
    store_close(store);
    assert_int_equal(store_sql(store, "SELECT count(*) FROM channel"), 0);
    assert_int_equal(store_sql(store, "SELECT count(*) FROM message"), 0);
}

static void appends_are_taken_during_a_backlog(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put_many(store, "old", 30000);
    store->options.keep_messages = 10;
    store_reopen(store);
    assert_int_equal(store_put(store, "new", "x"), 30001);
    store_settle_at(store, 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_channel_never_keeps_more_than_its_count),
        TEST(a_long_channel_is_trimmed_a_piece_at_a_time),
        cmocka_unit_test(what_may_be_left_over_is_bounded),
        TEST(retention_keeps_up_with_any_batch),
        TEST(gap_is_told_after_retention),
        TEST(gap_of_a_commit_not_yet_drained_is_told),
        TEST(gap_on_one_channel_repeats_nothing_of_the_others),
        TEST(paging_through_a_gap_gets_to_the_end),
        TEST(gap_of_a_channel_that_is_gone_is_told),
        TEST(a_floor_that_falls_out_of_memory_hides_no_gap),
        TEST(a_gap_is_known_until_a_floor_is_past_cursor_and_what_was_told),
        TEST(channels_that_come_and_go_leave_nothing_behind),
        TEST(the_oldest_of_all_go_when_there_are_too_many_bytes),
        TEST(a_message_larger_than_all_that_is_kept_goes_at_once_and_is_told),
        TEST(seq_is_never_reused_after_everything_was_deleted),
        TEST(age_retention_wakes_by_itself),
        TEST(age_keeps_what_is_young),
        TEST(an_old_stamp_behind_a_young_one_waits_its_turn),
        TEST(a_stamp_from_the_future_goes_with_what_is_behind_it),
        TEST(future_stamps_alone_stay_and_cost_nothing),
        TEST(a_clock_that_was_ahead_for_a_moment_holds_nothing_up),
        TEST(a_first_message_stamped_ahead_puts_off_nothing),
        TEST(a_clock_that_is_wrong_for_a_moment_deletes_nothing_early),
        TEST(after_a_restart_the_stamps_count),
        TEST(a_clock_that_is_set_back_does_not_put_off_the_checkpoint),
        cmocka_unit_test(a_stamp_is_told_by_the_clock_as_it_goes_now),
        cmocka_unit_test(a_clock_that_is_set_more_often_than_is_kept_costs_no_more_memory),
        TEST(lowered_limits_are_worked_off_while_nothing_comes),
        TEST(appends_are_taken_during_a_backlog),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Messages that are stored once, however often they are tried; several that are stored all or none;
 * and a position that is committed with them. */
#include "support_memory.h"
#include "support_store.h"
#include "support_vfs.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/clock.h"
#include "store/ledger.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, shim_teardown)

static int setup(void **state)
{
    if (shim_setup(state) != 0)
        return -1;
    struct store *store = *state;
    store->options.once_ms = 600000;
    return 0;
}

/* What became of the last append, from its report. */
static struct outcome {
    enum log_status status;
    uint32_t refused;
    char ids[200]; /* "3 4dup 5" */
} outcome;

static void take_outcome(struct append *append)
{
    size_t at = 0;
    outcome = (struct outcome){.status = append->status, .refused = append->refused};
    for (uint32_t i = 0; i < append->count && append->status == LOG_OK; i++)
        at += (size_t)snprintf(outcome.ids + at, sizeof outcome.ids - at, "%s%lu%s", i ? " " : "",
                               append->entries[i].message->seq,
                               append->entries[i].duplicate ? "dup" : "");
}

static const struct append_ops ops = {.done = take_outcome};

static unsigned duplicates;

static void add_duplicates(struct append *append)
{
    assert_int_equal(append->status, LOG_OK);
    for (uint32_t i = 0; i < append->count; i++)
        duplicates += append->entries[i].duplicate;
}

static const struct append_ops count_duplicates = {.done = add_duplicates};

/* Makes the message that "channel:key:text" or "channel::text" says. */
static struct message *make(const char *said)
{
    char text[100], *rest = text;
    snprintf(text, sizeof text, "%s", said);
    const char *channel = strsep(&rest, ":"), *key = strsep(&rest, ":");
    return *key ? message_new_once(channel, rest, strlen(rest), clock_wall_ms(), key, strlen(key))
                : message_new(channel, rest, strlen(rest), clock_wall_ms());
}

static enum log_status queue_at(struct store *store, const char *messages, uint64_t seq,
                                const char *position)
{
    struct message *list[32];
    char text[1000], *rest = text;
    size_t count = 0;
    snprintf(text, sizeof text, "%s", messages);
    for (char *said; (said = strsep(&rest, " "));)
        assert_non_null(list[count++] = make(said));
    enum log_status status =
        log_append_at(store->log, list, count, seq, position, &ops, NULL, NULL);
    for (size_t i = 0; i < count && status != LOG_OK; i++)
        message_drop(list[i]);
    return status;
}

/* Waits for all that is queued. */
static void drain(struct store *store)
{
    struct log_stats stats;
    struct log_news news;
    struct append *append;
    do {
        store_wait(store);
        log_drain(store->log, &news);
        STAILQ_FOREACH (append, &news.done, next) {
            append->ops->done(append);
        }
        log_news_free(store->log, &news);
        log_stats(store->log, &stats);
    } while (stats.queued);
}

/* Appends messages, blanks between them, and says what they got. */
static const char *put(struct store *store, const char *messages)
{
    assert_int_equal(queue_at(store, messages, 0, NULL), LOG_OK);
    drain(store);
    if (outcome.status != LOG_OK)
        snprintf(outcome.ids, sizeof outcome.ids, "refused %u: %s", outcome.refused,
                 log_status_text(outcome.status));
    return outcome.ids;
}

static const char used[] = "refused 0: the key was used for another message";

/* ---- once ---- */

static void a_message_with_a_key_is_stored_once(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_string_equal(put(store, "a:k:x"), "1");
    assert_string_equal(put(store, "a:k:x"), "1dup");
    assert_string_equal(put(store, "a::x"), "2");
    assert_string_equal(put(store, "a:k:x"), "1dup");
    assert_string_equal(store_read_all(store, "a"), "1=x 2=x next 2");
}

static void another_text_under_the_same_key_is_refused(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_string_equal(put(store, "a:k:x"), "1");
    assert_string_equal(put(store, "a:k:y"), used);
    assert_string_equal(store_read_all(store, "a"), "1=x next 1");
    assert_string_equal(put(store, "a::y"), "2"); /* nothing is lost of the seqs either */
}

static void a_key_belongs_to_its_channel(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_string_equal(put(store, "a:k:x"), "1");
    assert_string_equal(put(store, "b:k:y"), "2");
    assert_string_equal(put(store, "ak:k:y"), "3");
    assert_string_equal(put(store, "a:kk:y"), "4");
}

static void two_at_the_same_moment_store_one(void **state)
{
    struct store *store = *state;
    store_open(store);
    for (int i = 0; i < 20; i++)
        assert_int_equal(queue_at(store, "a:k:x", 0, NULL), LOG_OK);
    drain(store);
    assert_string_equal(outcome.ids, "1dup");
    assert_string_equal(store_read_all(store, "a"), "1=x next 1");
}

static void a_key_outlives_crashes_settling_restarts_and_its_message(void **state)
{
    struct store *store = *state;
    store->options.keep_messages = 2;
    store_open(store);
    assert_string_equal(put(store, "a:k:x"), "1");
    store_crash(store); /* not settled: read from the message's row */
    store_open(store);
    assert_string_equal(put(store, "a:k:x"), "1dup");
    assert_string_equal(put(store, "a:k:y"), used);
    store_reopen(store); /* settled: read from the table */
    assert_string_equal(put(store, "a:k:x"), "1dup");
    assert_string_equal(put(store, "a:k:y"), used);
    for (int i = 0; i < 5; i++)
        store_put(store, "a", "z");
    assert_string_equal(store_read_at(store, "a", 1), "5=z 6=z next 6 reset");
    assert_string_equal(put(store, "a:k:x"), "1dup");
    store_crash(store);
    store_open(store);
    assert_string_equal(put(store, "a:k:x"), "1dup");
    assert_string_equal(put(store, "a:k:y"), used);
}

static void a_key_is_forgotten_after_its_time(void **state)
{
    struct store *store = *state;
    store->options.once_ms = 1;
    store_open(store);
    assert_string_equal(put(store, "a:k:x"), "1");
    for (int64_t end = clock_steady_ms() + 2; clock_steady_ms() < end;)
        ;
    store_reopen(store);
    assert_string_equal(put(store, "a:k:y"), "2"); /* another text: a new message */
    store_close(store);                            /* the second one may be too old by now, too */
    assert_int_equal(store_sql(store, "SELECT count(*) FROM once WHERE last = 1"), 0);
    store_open(store);
}

/* Keys that nobody asks for again go when others come. */
static void old_keys_leave_the_table(void **state)
{
    struct store *store = *state;
    char said[40];
    store->options.once_ms = 1;
    store_open(store);
    for (int i = 0; i < 50; i++) {
        snprintf(said, sizeof said, "a:key%d:x", i);
        put(store, said);
    }
    for (int64_t end = clock_steady_ms() + 2; clock_steady_ms() < end;)
        ;
    store_close(store); /* settles the keys; some may be old already */
    store_open(store);
    put(store, "a:new:x");
    store_close(store);
    assert_int_equal(store_sql(store, "SELECT count(*) FROM once WHERE last <= 50"), 0);
    store_open(store); /* which counts them */
}

/* The table has the key that is too old, and the row of the message has the new one. */
static void a_key_that_is_used_again_after_its_time_survives_a_crash(void **state)
{
    struct store *store = *state;
    store->options.once_ms = 1;
    store_open(store);
    assert_string_equal(put(store, "a:k:x"), "1");
    store_reopen(store);
    for (int64_t end = clock_steady_ms() + 2; clock_steady_ms() < end;)
        ;
    assert_string_equal(put(store, "a:k:x"), "2");
    store_crash(store);
    for (int i = 0; i < 3; i++) { /* each start counts and compares */
        store_open(store);
        assert_int_equal(store_close(store), LOG_OK);
    }
    store_open(store);
    assert_string_equal(store_read_all(store, "a"), "1=x 2=x next 2");
}

static void keys_are_bounded(void **state)
{
    struct store *store = *state;
    store->options.once_keys = 3;
    store_open(store);
    assert_string_equal(put(store, "a:1:x a:2:x a:3:x"), "1 2 3");
    for (int i = 0; i < 2; i++) {
        assert_string_equal(put(store, "a:4:x"),
                            "refused 0: as many keys of messages are kept as may be");
        assert_string_equal(put(store, "a:1:x"), "1dup");
        store_reopen(store);
    }
    assert_string_equal(put(store, "a::x"), "4");
    store_close(store);
    store->options.once_ms = 1; /* they are too old now */
    store_open(store);
    assert_string_equal(put(store, "a:4:x"), "5");
}

/* ---- the table ---- */

/* Appends that many messages with the keys from `first` on, in one append; says how many are
 * duplicates. */
static unsigned put_many(struct store *store, unsigned first, unsigned count)
{
    struct message *messages[LEDGER_STRETCH_MESSAGES];
    char text[20];
    for (unsigned i = 0; i < count; i++) {
        snprintf(text, sizeof text, "%u", first + i);
        messages[i] =
            message_new_once("a", text, strlen(text), clock_wall_ms(), text, strlen(text));
        assert_non_null(messages[i]);
    }
    assert_int_equal(
        log_append_at(store->log, messages, count, 0, NULL, &count_duplicates, NULL, NULL), LOG_OK);
    duplicates = 0;
    drain(store);
    return duplicates;
}

/* A transaction that settles leaves no key in its messages' rows. */
static void keys_of_a_long_append_are_in_the_table_alone(void **state)
{
    struct store *store = *state;
    store_open(store);
    put_many(store, 0, 3);
    assert_int_equal(store_sql(store, "SELECT count(once) FROM message"), 3);
    put_many(store, 3, LEDGER_STRETCH_MESSAGES);
    store_crash(store);
    assert_int_equal(store_sql(store, "SELECT count(once) FROM message"), 3);
    assert_int_equal(store_sql(store, "SELECT sum(length(keys)) / 32 FROM once"),
                     LEDGER_STRETCH_MESSAGES + 3);
    store_open(store);
    assert_int_equal(put_many(store, 3, LEDGER_STRETCH_MESSAGES), LEDGER_STRETCH_MESSAGES);
    assert_int_equal(put_many(store, 0, 4), 4);
}

static void many_keys_take_several_rows(void **state)
{
    struct store *store = *state;
    store_open(store);
    for (int i = 0; i < 3; i++) /* all of them but the first few are less than a stretch */
        put_many(store, 999 * (unsigned)i, 999);
    assert_int_equal(store_sql(store, "SELECT count(*) FROM once"), 2);
    store_reopen(store);
    for (int i = 0; i < 3; i++)
        assert_int_equal(put_many(store, 999 * (unsigned)i, 999), 999);
}

static void seqs_and_times_far_apart_are_kept(void **state)
{
    struct store *store = *state;
    static const uint64_t seqs[] = {1, 1ULL << 32, (1ULL << 32) + 5, 1ULL << 60};
    static const int64_t times[] = {INT64_MAX, -5, INT64_MIN, 0};
    char key[2] = "0";
    store->options.once_ms = INT64_MAX;
    store_open(store);
    for (int i = 0; i < 4; i++, key[0]++) {
        struct message *message = message_new_once("a", "x", 1, times[i], key, 1);
        assert_int_equal(log_append_at(store->log, &message, 1, seqs[i], NULL, &ops, NULL, NULL),
                         LOG_OK);
    }
    drain(store);
    for (int i = 0; i < 2; i++) {
        store_reopen(store);
        assert_string_equal(put(store, "a:0:x a:1:x a:2:x a:3:x"),
                            "1dup 4294967296dup 4294967301dup 1152921504606846976dup");
        assert_int_equal(store_sql(store, "SELECT count(*) FROM once"), 4);
    }
}

/* All that a row could say wrongly, in a table of three keys in two rows. */
static void a_damaged_table_is_refused(void **state)
{
    static const char *const damages[] = {
        "DELETE FROM once WHERE last = 3",
        "UPDATE once SET keys = x'' WHERE last = 3",
        "UPDATE once SET keys = CAST(keys || x'00' AS BLOB) WHERE last = 3",
        "UPDATE once SET keys = CAST(keys || keys AS BLOB) WHERE last = 3",
        "UPDATE once SET last = 4 WHERE last = 2",
        "UPDATE once SET keys = CAST(substr(keys, 33) || substr(keys, 1, 32) AS BLOB) WHERE last = "
        "2",
    };
    struct store *store = *state;
    size_t size;
    store_open(store);
    put(store, "a:1:x a:2:x");
    store_reopen(store);
    put(store, "a:3:x");
    store_close(store);
    char *whole = store_slurp(store->path, &size);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        store_sql(store, damages[i]);
        if (store_try_open(store) == 0)
            fail_msg("opened after: %s", damages[i]);
        store_remove_log(store->path);
        store_spit(store->path, whole, size);
    }
    store_open(store);
    assert_string_equal(put(store, "a:1:x a:2:x a:3:x"), "1dup 2dup 3dup");
    free(whole);
}

static void assert_table_gets_empty(struct store *store)
{
    for (int64_t end = clock_steady_ms() + 10000; clock_steady_ms() < end;)
        if (store_sql(store, "SELECT count(*) FROM once") == 0)
            return;
    fail_msg("old keys are in the table for ever");
}

static void old_keys_go_while_nothing_comes(void **state)
{
    struct store *store = *state;
    store->options.once_ms = 1;
    store_open(store);
    for (unsigned i = 0; i < 3; i++)
        put_many(store, 1000 * i, LEDGER_STRETCH_MESSAGES);
    assert_table_gets_empty(store);
    put(store, "a:0:y");
    assert_int_equal(outcome.status, LOG_OK);
}

static void keys_that_are_too_old_at_the_start_go(void **state)
{
    struct store *store = *state;
    store_open(store);
    for (int i = 0; i < 100; i++) { /* in rows of their own */
        char said[40];
        snprintf(said, sizeof said, "a:key%d:x", i);
        put(store, said);
        store_reopen(store);
    }
    assert_int_equal(store_sql(store, "SELECT count(*) FROM once"), 100);
    store_close(store);
    store->options.once_ms = 1;
    store_open(store);
    assert_table_gets_empty(store);
}

/* ---- several ---- */

static void several_are_stored_in_order(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_string_equal(put(store, "a::x b:k:y a::z"), "1 2 3");
    assert_string_equal(store_read_all(store, "a b"), "1=x 2=y 3=z next 3");
    assert_string_equal(put(store, "b:k:y a::w"), "2dup 4");
    assert_string_equal(put(store, "a:n:v a:n:v"), "5 5dup");
    assert_string_equal(put(store, "a:n:v b:k:y"), "5dup 2dup");
}

static void one_that_is_refused_keeps_the_others_out(void **state)
{
    struct store *store = *state;
    store_open(store);
    put(store, "a:k:x");
    assert_string_equal(put(store, "a::1 a:new:2 a:k:other a::3"),
                        "refused 2: the key was used for another message");
    assert_string_equal(put(store, "a:m:1 a:m:2"),
                        "refused 1: the key was used for another message");
    assert_string_equal(store_read_all(store, "a"), "1=x next 1");
    assert_string_equal(put(store, "a:new:4"), "2"); /* its key was not taken */
    assert_string_equal(put(store, "a:m:2"), "3");
}

static void channels_are_bounded(void **state)
{
    struct store *store = *state;
    static const char full[] = "as many channels are kept as may be";
    store->options.max_channels = 2;
    store_open(store);
    assert_string_equal(put(store, "a::x b::x"), "1 2");
    for (int i = 0; i < 3; i++) {
        char expected[100];
        snprintf(expected, sizeof expected, "refused 1: %s", full);
        assert_string_equal(put(store, "a::y c::y"), expected);
        put(store, "c:k:y");
        assert_int_equal(outcome.status, LOG_CHANNELS);
        if (i == 0)
            store_crash(store), store_open(store);
        else
            store_reopen(store);
    }
    assert_string_equal(store_read_all(store, "a b c"), "1=x 2=x next 2");
    store_close(store);
    store->options.keep_age_ms = 1; /* they go, and make room */
    store_open(store);
    store_settle_at(store, 0);
    assert_string_equal(put(store, "c:k:y d::y"), "3 4");
}

static void a_full_disk_stores_nothing_and_takes_no_key(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put(store, "a", "x");
    shim_arm(SHIM_WRITE, 1, SQLITE_FULL, true);
    put(store, "a:k:y b:l:z");
    assert_int_equal(outcome.status, LOG_FULL);
    shim_disarm();
    assert_string_equal(put(store, "a:k:other b:l:z"), "2 3");
}

static void an_append_survives_each_allocation_that_fails(void **state)
{
    struct store *store = *state;
    unsigned nth = 0;
    store_open(store);
    enum log_status status;
    do {
        memory_fail(++nth);
        struct message *messages[] = {message_new_once("a", "x", 1, 0, "k", 1)};
        status = !messages[0] ? LOG_NO_MEMORY
                              : log_append_at(store->log, messages, 1, 0, "p", &ops, NULL, NULL);
        bool failed = memory_has_failed();
        assert_int_equal(status, failed ? LOG_NO_MEMORY : LOG_OK);
        if (status != LOG_OK)
            message_drop(messages[0]);
    } while (status != LOG_OK);
    assert_true(nth > 2);
    drain(store);
    assert_string_equal(outcome.ids, "1");
}

/* The writer's allocations: a message whose key cannot be kept is not stored. */
static void a_key_that_finds_no_memory_fails_its_message(void **state)
{
    struct store *store = *state;
    unsigned failures = 0;
    bool failed = true;
    for (unsigned nth = 1; failed; nth++) {
        store_open(store);
        memory_fail_elsewhere(nth);
        put(store, "a:k:x");
        failed = memory_has_failed();
        failures += failed;
        assert_int_equal(outcome.status, failed ? LOG_NO_MEMORY : LOG_OK);
        put(store, "a:k:y"); /* another text: the key was not taken */
        assert_int_equal(outcome.status, failed ? LOG_OK : LOG_CONFLICT);
        store_close(store);
        store_remove_log(store->path);
    }
    assert_true(failures >= 2); /* a part of the index, and the ring of blocks */
}

/* ---- positions ---- */

static void a_position_is_committed_with_its_messages(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_string_equal(log_position(store->log), "");
    assert_int_equal(queue_at(store, "a::x a::y", 10, "rev 7"), LOG_OK);
    drain(store);
    assert_string_equal(outcome.ids, "10 11");
    assert_string_equal(log_position(store->log), "rev 7");
    assert_string_equal(put(store, "a:k:z"), "12"); /* without one: it stays */
    for (int i = 0; i < 3; i++) {
        assert_string_equal(log_position(store->log), "rev 7");
        if (i == 0)
            store_crash(store), store_open(store);
        else
            store_reopen(store);
    }
    assert_int_equal(queue_at(store, "a:k:z", 20, "rev 8"), LOG_OK); /* nothing is new but it */
    drain(store);
    assert_string_equal(outcome.ids, "12dup");
    store_crash(store);
    store_open(store);
    assert_string_equal(log_position(store->log), "rev 8");
    assert_int_equal(log_head(store->log), 12);
    assert_string_equal(store_read_at(store, "a", 5), "10=x 11=y 12=z next 12");
}

static void a_seq_that_does_not_rise_is_refused(void **state)
{
    struct store *store = *state;
    store_open(store);
    static const uint64_t wrong[] = {1, 9, 10, 11, INT64_MAX, UINT64_MAX};
    assert_int_equal(queue_at(store, "a::x a::y", 10, "p"), LOG_OK);
    drain(store);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(queue_at(store, "a::z", wrong[i], "q"), LOG_OK);
        drain(store);
        assert_int_equal(outcome.status, LOG_ORDER);
    }
    assert_string_equal(log_position(store->log), "p");
    assert_int_equal(queue_at(store, "a::z", 12, "q"), LOG_OK);
    drain(store);
    assert_string_equal(log_position(store->log), "q");
}

static void a_position_of_a_transaction_that_failed_is_not_there(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_int_equal(queue_at(store, "a::x", 0, "p"), LOG_OK);
    drain(store);
    shim_arm(SHIM_WRITE, 1, SQLITE_FULL, true);
    assert_int_equal(queue_at(store, "a::x", 0, "q"), LOG_OK);
    drain(store);
    shim_disarm();
    assert_string_equal(log_position(store->log), "p");
    store_reopen(store);
    assert_string_equal(log_position(store->log), "p");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_with_a_key_is_stored_once),
        TEST(another_text_under_the_same_key_is_refused),
        TEST(a_key_belongs_to_its_channel),
        TEST(two_at_the_same_moment_store_one),
        TEST(a_key_outlives_crashes_settling_restarts_and_its_message),
        TEST(a_key_is_forgotten_after_its_time),
        TEST(old_keys_leave_the_table),
        TEST(a_key_that_is_used_again_after_its_time_survives_a_crash),
        TEST(keys_are_bounded),
        TEST(keys_of_a_long_append_are_in_the_table_alone),
        TEST(many_keys_take_several_rows),
        TEST(seqs_and_times_far_apart_are_kept),
        TEST(a_damaged_table_is_refused),
        TEST(old_keys_go_while_nothing_comes),
        TEST(keys_that_are_too_old_at_the_start_go),
        TEST(several_are_stored_in_order),
        TEST(one_that_is_refused_keeps_the_others_out),
        TEST(channels_are_bounded),
        TEST(a_full_disk_stores_nothing_and_takes_no_key),
        TEST(an_append_survives_each_allocation_that_fails),
        TEST(a_key_that_finds_no_memory_fails_its_message),
        TEST(a_position_is_committed_with_its_messages),
        TEST(a_seq_that_does_not_rise_is_refused),
        TEST(a_position_of_a_transaction_that_failed_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

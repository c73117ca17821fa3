/* A log of an earlier format is brought to today's when it is opened: whole or not at all. */
#include "support_disk.h"
#include "support_store.h"
#include "support_vfs.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST(name) cmocka_unit_test_setup_teardown(name, shim_setup, shim_teardown)

/* What Encke 0.1 made: channel a has every third message, and has lost the first ten; b has had
 * others, and lost them all. */
static const char format_1[] =
    "PRAGMA page_size=4096; PRAGMA journal_mode=WAL; BEGIN;"
    "PRAGMA application_id=1164862315; PRAGMA user_version=1;"
    "CREATE TABLE log(\n"
    "  id INTEGER PRIMARY KEY CHECK (id = 1),\n"
    "  epoch TEXT NOT NULL CHECK (length(epoch) = 12),\n"
    "  head INTEGER NOT NULL,\n"
    "  forgotten INTEGER NOT NULL,\n"
    "  messages INTEGER NOT NULL,\n"
    "  bytes INTEGER NOT NULL\n"
    ") STRICT;"
    "CREATE TABLE channel(\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  name TEXT NOT NULL UNIQUE,\n"
    "  floor INTEGER NOT NULL,\n"
    "  count INTEGER NOT NULL\n"
    ") STRICT;"
    "CREATE TABLE message(\n"
    "  seq INTEGER PRIMARY KEY,\n"
    "  channel INTEGER NOT NULL,\n"
    "  time_ms INTEGER NOT NULL,\n"
    "  data BLOB NOT NULL\n"
    ") STRICT;"
    "CREATE INDEX message_by_channel ON message(channel);"
    "INSERT INTO channel VALUES (2, 'a', 10, 0), (3, 'c', 7, 0);"
    "WITH RECURSIVE n(seq) AS (SELECT 11 UNION ALL SELECT seq + 1 FROM n WHERE seq < %u) "
    "INSERT INTO message SELECT seq, CASE WHEN seq %% 3 = 0 THEN 2 ELSE 3 END, 1000 * seq, "
    "CAST(seq AS BLOB) FROM n;"
    "UPDATE channel SET count = (SELECT count(*) FROM message WHERE channel = channel.id);"
    "INSERT INTO log SELECT 1, '0123456789ab', %u + 2, 9, count(*), sum(length(data) + 65) "
    "FROM message; COMMIT";

static void make_format_1(struct store *store, unsigned newest)
{
    char sql[sizeof format_1 + 40];
    sqlite3 *db;
    snprintf(sql, sizeof sql, format_1, newest, newest);
    assert_int_equal(sqlite3_open(store->path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* Of messages 11 to 20, all that any reader may ask. */
static void assert_all_there(struct store *store)
{
    assert_string_equal(log_epoch(store->log), "0123456789ab");
    assert_int_equal(log_head(store->log), 22);
    assert_string_equal(store_read_at(store, "a", 10), "12=12 15=15 18=18 next 22");
    assert_string_equal(store_read_at(store, "a", 15), "18=18 next 22");
    assert_string_equal(store_read_at(store, "a", 9), "12=12 15=15 18=18 next 22 reset");
    assert_string_equal(store_read_at(store, "c", 7),
                        "11=11 13=13 14=14 16=16 17=17 19=19 20=20 next 22");
    assert_string_equal(store_read_at(store, "b", 8), "next 22 reset");
    assert_string_equal(store_read_at(store, "b", 9), "next 22");
    assert_int_equal(store_newest(store, "a", 18), 15);
}

static void every_cursor_of_an_earlier_format_stays_good(void **state)
{
    struct store *store = *state;
    make_format_1(store, 20);
    store->options.memory_bytes = 0;
    for (int i = 0; i < 2; i++) {
        store_open(store);
        assert_all_there(store);
        store_close(store);
    }
    store->options.memory_bytes = 1 << 20;
    store_open(store);
    assert_all_there(store);
    assert_int_equal(store_put(store, "b", "new"), 23);
    assert_string_equal(store_read_at(store, "a b", 15), "18=18 23=new next 23");
}

static char told[4][300];
static int tellings;

static void take_line(enum log_tell_level level, const char *line)
{
    if (level == LOG_TELL_WARN) /* of the file's mode, which this test chose */
        return;
    snprintf(told[tellings++ % 4], sizeof *told, "%s", line);
}

static void a_migration_is_told_once(void **state)
{
    struct store *store = *state;
    make_format_1(store, 20);
    store->options.tell = take_line;
    store_open(store);
    assert_int_equal(tellings, 1);
    assert_non_null(strstr(told[0], "was brought to format 2: earlier versions cannot open it"));
    store_reopen(store);
    assert_int_equal(tellings, 1);
}

static void altered_tables_of_an_earlier_format_are_refused(void **state)
{
    struct store *store = *state;
    make_format_1(store, 20);
    store_sql(store, "ALTER TABLE message ADD COLUMN x TEXT");
    assert_int_equal(store_try_open(store), -1);
    assert_non_null(strstr(store->why, "its tables are not those"));
    assert_int_equal(store_sql(store, "PRAGMA user_version"), 1);
}

static void counts_of_an_earlier_format_that_are_wrong_are_refused(void **state)
{
    struct store *store = *state;
    make_format_1(store, 20);
    store_sql(store, "DELETE FROM message WHERE seq = 12");
    assert_int_equal(store_try_open(store), -1);
    assert_non_null(strstr(store->why, "its counts are not those"));
    assert_int_equal(store_sql(store, "PRAGMA user_version"), 1);
}

/* Each write and each sync fails once: the log is not opened, or it is; and then it opens. */
static void a_migration_that_fails_leaves_the_log_as_it_was(void **state)
{
    struct store *store = *state;
    size_t size, failures = 0;
    make_format_1(store, 20);
    char *before = store_slurp(store->path, &size);
    store->options.memory_bytes = 0;
    for (unsigned nth = 1, met = 1; met; nth++) {
        store_remove_log(store->path);
        store_spit(store->path, before, size);
        shim_arm(SHIM_WRITE | SHIM_SYNC, nth, SQLITE_FULL, true);
        failures += store_try_open(store) != 0;
        met = shim_met();
        store_close(store);
        shim_disarm();
        store_open(store);
        assert_all_there(store);
        store_close(store);
    }
    assert_true(failures > 5);
    free(before);
}

static unsigned random_below(unsigned *seed, unsigned below)
{
    *seed = *seed * 1103515245 + 12345;
    return (*seed >> 16) % below;
}

/* Starts on the log in a child, and ends it in the middle of that write. Returns whether it met it.
 */
static bool kill_migration(struct store *store, unsigned writes)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        shim_arm(SHIM_WRITE | SHIM_SYNC, writes, SHIM_CRASH, false);
        store_try_open(store);
        _exit(3);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 0;
}

static unsigned long env_number(const char *name, unsigned long usual)
{
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 10) : usual;
}

/* Its first and last messages, one in the middle, and the counts. */
static void assert_large_log(struct store *store, unsigned newest)
{
    struct log_stats stats;
    log_stats(store->log, &stats);
    assert_int_equal(stats.messages, newest - 10);
    assert_string_equal(log_epoch(store->log), "0123456789ab");
    const struct cursor middle = {CURSOR_AT, newest / 2 / 3 * 3 - 1};
    char expected[60];
    snprintf(expected, sizeof expected, "%lu=%lu next %lu more", middle.seq + 1, middle.seq + 1,
             middle.seq + 1);
    assert_string_equal(store_read(store, "a", middle, 1), expected);
    assert_string_equal(store_read(store, "a", (struct cursor){CURSOR_AT, 10}, 1),
                        "12=12 next 12 more");
}

/* Killed at random writes; ENCKE_MIGRATE says how many messages there are (make torture: 10^6). */
static void a_migration_that_is_killed_is_done_whole_at_the_next_start(void **state)
{
    struct store *store = *state;
    unsigned newest = (unsigned)env_number("ENCKE_MIGRATE", 20000), seed = newest;
    unsigned halves = 0, killed = 0;
    size_t size;
    make_format_1(store, newest);
    char *before = store_slurp(store->path, &size);
    unsigned writes = newest / 90; /* about as many as a migration and what follows */
    for (int i = 0; i < 20; i++) {
        store_remove_log(store->path);
        store_spit(store->path, before, size);
        killed += kill_migration(store, 1 + random_below(&seed, writes));
        int64_t version = store_sql(store, "PRAGMA user_version");
        assert_true(version == 1 || version == 2);
        halves += version == 1;
        assert_int_equal(store_sql(store, "SELECT count(*) FROM message"), newest - 10);
        store_open(store);
        assert_large_log(store, newest);
        assert_int_equal(store_close(store), LOG_OK);
    }
    print_message("%u of 20 killed, %u of them before it was committed\n", killed, halves);
    assert_true(killed >= 10);
    free(before);
}

/* ---- power cuts ---- */

enum { CUTS = 400 };

static struct {
    char dir[100];
    unsigned count;
} cuts;

static void path_of_cut(unsigned i, char *path)
{
    snprintf(path, 200, "%s/%u.db", cuts.dir, i);
}

static void keep_each_cut(void *arg)
{
    char path[200];
    (void)arg;
    for (int luck = 0; luck < DISK_LUCKS && cuts.count < CUTS; luck++) {
        path_of_cut(cuts.count, path);
        disk_cut(path, (enum disk_luck)luck, cuts.count++);
    }
}

static void open_cuts(struct store *store)
{
    char path[200];
    for (unsigned i = 0; i < cuts.count; i++) {
        path_of_cut(i, path);
        store->options.path = path;
        if (store_try_open(store) != 0)
            fail_msg("cut %u: %s", i, store->why);
        assert_all_there(store);
        assert_int_equal(store_put(store, "a", "new"), 23);
        assert_int_equal(store_close(store), LOG_OK);
        store_remove_log(path);
    }
    store->options.path = store->path;
}

/* With each sync failing once before, or with none: what it lost is called clean. Returns whether
 * it was met. */
static bool cut_after_failed_sync(struct store *store, unsigned nth, enum disk_loss loss)
{
    if (nth)
        shim_arm(SHIM_SYNC, nth, SQLITE_IOERR_FSYNC, false);
    disk_start(store->path, loss);
    disk_each_cut(keep_each_cut, NULL);
    for (int i = 0; i < 2; i++) {
        if (store_try_open(store) == 0)
            store_close(store);
        if (i == 0 && nth && !shim_met())
            break;
    }
    bool met = nth == 0 || shim_met();
    shim_disarm();
    disk_each_cut(NULL, NULL);
    disk_stop();
    return met;
}

static void a_power_cut_at_any_point_of_a_migration_loses_nothing(void **state)
{
    struct store *store = *state;
    size_t size;
    unsigned all = 0;
    make_format_1(store, 20);
    char *before = store_slurp(store->path, &size);
    snprintf(cuts.dir, sizeof cuts.dir, "%s/cuts", store->dir);
    assert_int_equal(mkdir(cuts.dir, 0700), 0);
    store->options.memory_bytes = 0;
    for (int loss = 0; loss < DISK_LOSSES; loss++) {
        bool met = true;
        for (unsigned nth = 0; met; nth++) {
            store_remove_log(store->path);
            store_spit(store->path, before, size);
            cuts.count = 0;
            met = cut_after_failed_sync(store, nth, (enum disk_loss)loss);
            all += cuts.count;
            open_cuts(store);
        }
    }
    print_message("%u power cuts: each log opened, with all its messages\n", all);
    assert_true(all > 500);
    assert_int_equal(rmdir(cuts.dir), 0);
    free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_cursor_of_an_earlier_format_stays_good),
        TEST(a_migration_is_told_once),
        TEST(altered_tables_of_an_earlier_format_are_refused),
        TEST(counts_of_an_earlier_format_that_are_wrong_are_refused),
        TEST(a_migration_that_fails_leaves_the_log_as_it_was),
        TEST(a_power_cut_at_any_point_of_a_migration_loses_nothing),
        TEST(a_migration_that_is_killed_is_done_whole_at_the_next_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

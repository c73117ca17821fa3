/* The log's file: what is refused and stays untouched, what is recovered, what is noticed. */
#include "support_store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

static void make_log(struct store *store)
{
    store_open(store);
    store_put_many(store, "a", 500);
    assert_int_equal(store_close(store), LOG_OK);
}

/* Opening is refused with these words, and the file is unchanged afterwards. */
static void assert_refused(struct store *store, const char *words)
{
    size_t before_size;
    char *before = store_slurp(store->path, &before_size), *after;
    if (store_try_open(store) == 0)
        fail_msg("it was opened, but should have been refused: %s", words);
    if (!strstr(store->why, words) || !strstr(store->why, store->path) || strchr(store->why, '\n'))
        fail_msg("refused with \"%s\", which does not say \"%s\"", store->why, words);
    size_t after_size;
    after = store_slurp(store->path, &after_size);
    assert_int_equal(before_size, after_size);
    assert_memory_equal(before, after, before_size);
    free(before);
    free(after);
}

/* Writes over a few bytes of the file. */
static void patch(struct store *store, long at, const void *bytes, size_t size)
{
    FILE *file = fopen(store->path, "r+b");
    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

/* ---- making one ---- */

static void a_new_log_has_its_marks(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_close(store);
    size_t size;
    char *bytes = store_slurp(store->path, &size);
    assert_memory_equal(bytes, "SQLite format 3", 16);
    assert_memory_equal(bytes + 68, "Enck", 4);
    assert_memory_equal(bytes + 60, "\0\0\0\2", 4);
    assert_memory_equal(bytes + 18, "\2\2", 2); /* WAL */
    free(bytes);
    assert_int_equal(access(store_beside(store, "-wal"), F_OK), -1);
    assert_int_equal(access(store_beside(store, ".encke-new"), F_OK), -1);
    struct stat st;
    assert_int_equal(stat(store->path, &st), 0);
    assert_int_equal(st.st_mode & 0002, 0);
}

static void leftovers_of_a_crash_while_making_one_do_no_harm(void **state)
{
    struct store *store = *state;
    store_spit(store_beside(store, ".encke-new"), "half a file", 11);
    store_spit(store_beside(store, ".encke-new-wal"), "half a log", 10);
    store_spit(store_beside(store, ".encke-new-journal"), "half a journal", 14);
    make_log(store);
    assert_int_equal(access(store_beside(store, ".encke-new"), F_OK), -1);
    assert_int_equal(access(store_beside(store, ".encke-new-wal"), F_OK), -1);
    store_open(store);
    assert_int_equal(log_head(store->log), 500);
}

static void a_write_ahead_log_without_its_file_is_not_played_back(void **state)
{
    struct store *store = *state;
    store_spit(store_beside(store, "-wal"), "something", 9);
    assert_int_equal(store_try_open(store), -1);
    assert_non_null(strstr(store->why, "is missing"));
    assert_int_equal(access(store->path, F_OK), -1);
}

static void no_place_for_a_log_is_told(void **state)
{
    struct store *store = *state;
    char name[200];
    snprintf(name, sizeof name, "%s/none/log.db", store->dir);
    store->options.path = name;
    assert_int_equal(store_try_open(store), -1);
    assert_non_null(strstr(store->why, "cannot be made"));
    snprintf(name, sizeof name, "%s/dangling.db", store->dir);
    assert_int_equal(symlink("/nonexistent/log.db", name), 0);
    assert_int_equal(store_try_open(store), -1);
    assert_non_null(strstr(store->why, "no place for a log"));
    store->options.path = "";
    assert_int_equal(store_try_open(store), -1);
    store->options.path = store->dir;
    assert_int_equal(store_try_open(store), -1);
    assert_non_null(strstr(store->why, "is a folder: name a file in it"));
    snprintf(name, sizeof name, "%s.lock", store->dir);
    assert_int_equal(access(name, F_OK), -1);
}

/* As somebody who may not: for root as nobody. */
static void a_folder_that_is_another_users_is_told(void **state)
{
    struct store *store = *state;
    assert_int_equal(chmod(store->dir, 0555), 0);
    setfsuid(geteuid() == 0 ? 65534 : geteuid());
    assert_int_equal(store_try_open(store), -1);
    setfsuid(geteuid());
    assert_int_equal(chmod(store->dir, 0700), 0);
    assert_non_null(
        strstr(store->why, "Permission denied: let the daemon's user write to its folder"));
}

/* ---- refused ---- */

static void foreign_file_is_refused_and_untouched(void **state)
{
    struct store *store = *state;
    store_spit(store->path, "Dear diary,\n", 12);
    assert_refused(store, "nor any SQLite file");
    store_spit(store->path, "", 0);
    assert_refused(store, "is empty");
    remove(store->path);
    store_sql(store, "CREATE TABLE log(epoch)");
    assert_refused(store, "some other program's SQLite file");
    assert_int_equal(access(store_beside(store, "-wal"), F_OK), -1);
}

static void newer_file_is_refused_and_untouched(void **state)
{
    struct store *store = *state;
    make_log(store);
    store_sql(store, "PRAGMA user_version=3");
    assert_refused(store, "made by a newer Encke");
    store_sql(store, "PRAGMA user_version=0");
    assert_refused(store, "does not know");
}

static void truncated_file_is_refused_and_untouched(void **state)
{
    struct store *store = *state;
    make_log(store);
    struct stat st;
    assert_int_equal(stat(store->path, &st), 0);
    assert_int_equal(truncate(store->path, st.st_size - 1), 0);
    assert_refused(store, "cut short");
    assert_int_equal(truncate(store->path, 4096), 0);
    assert_refused(store, "cut short");
    assert_int_equal(truncate(store->path, 90), 0);
    assert_refused(store, "cut short");
    assert_int_equal(truncate(store->path, 40), 0);
    assert_refused(store, "cut short");
}

static void altered_tables_are_refused(void **state)
{
    struct store *store = *state;
    make_log(store);
    store_sql(store, "CREATE TRIGGER t AFTER INSERT ON message BEGIN DELETE FROM message; END");
    assert_refused(store, "its tables are not those");
    store_sql(store, "DROP TRIGGER t");
    store_sql(store, "ANALYZE"); /* SQLite's own tables do not count */
    store_open(store);
    store_close(store);
    store_sql(store, "DROP TABLE once");
    assert_refused(store, "its tables are not those");
}

static void damaged_page_is_refused_and_untouched(void **state)
{
    struct store *store = *state;
    make_log(store);
    char junk[4096];
    memset(junk, 0xa5, sizeof junk);
    struct stat st;
    assert_int_equal(stat(store->path, &st), 0);
    patch(store, st.st_size - 4096, junk, sizeof junk);
    assert_refused(store, "is damaged");
    assert_int_equal(access(store_beside(store, "-wal"), F_OK), -1);
}

static void a_row_that_makes_no_sense_is_refused(void **state)
{
    struct store *store = *state;
    make_log(store);
    store_sql(store, "UPDATE log SET settled = 499");
    assert_refused(store, "makes no sense");
    store_sql(store, "UPDATE log SET settled = 500, epoch = 'NOT AN EPOCH'");
    assert_refused(store, "makes no sense");
    store_sql(store, "DELETE FROM log");
    assert_refused(store, "makes no sense");
}

static void counts_that_are_not_those_of_the_messages_are_refused(void **state)
{
    struct store *store = *state;
    make_log(store);
    store_sql(store, "DELETE FROM message WHERE seq = 100");
    assert_refused(store, "its counts are not those");
}

/* ---- after a crash ---- */

/* Appends in a child that ends without closing anything, as kill -9 would have it. */
static void crash_after(struct store *store, int appends)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (store_try_open(store) != 0)
            _exit(2);
        for (int i = 0; i < appends; i++)
            store_put(store, "a", "x");
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_log_that_was_killed_opens_with_all_that_it_acknowledged(void **state)
{
    struct store *store = *state;
    crash_after(store, 25);
    struct stat st;
    assert_int_equal(stat(store_beside(store, "-wal"), &st), 0);
    assert_true(st.st_size > 0);
    crash_after(store, 25);
    store_open(store);
    assert_int_equal(log_head(store->log), 50);
    assert_int_equal(store_put(store, "a", "x"), 51);
}

/* A checkpoint that is cut off leaves a file shorter than its header says; the rest is in the
 * write-ahead log. */
static void a_cut_off_checkpoint_is_recovered(void **state)
{
    struct store *store = *state;
    store->options.memory_bytes = 0;
    crash_after(store, 900);
    size_t wal_size;
    char *wal = store_slurp(store_beside(store, "-wal"), &wal_size);
    struct stat made;
    assert_int_equal(stat(store->path, &made), 0);
    store_sql(store, "PRAGMA wal_checkpoint(TRUNCATE)");
    size_t db_size;
    char *db = store_slurp(store->path, &db_size);
    assert_true((size_t)made.st_size < db_size);
    store_spit(store->path, db, (size_t)made.st_size); /* of which only these pages got there */
    store_spit(store_beside(store, "-wal"), wal, wal_size);
    store_open(store);
    assert_int_equal(log_head(store->log), 900);
    free(wal);
    free(db);
}

/* Opening and closing must not move what the write-ahead log holds into a file that is refused. */
static void damage_with_a_write_ahead_log_leaves_both_untouched(void **state)
{
    struct store *store = *state;
    char junk[2048], *before, *after;
    make_log(store);
    crash_after(store, 5);
    memset(junk, 0xa5, sizeof junk);
    for (long page = 2; page <= 4; page++) /* those that the log rewrote hide their damage */
        patch(store, page * 4096, junk, sizeof junk);
    struct stat st;
    assert_int_equal(stat(store_beside(store, "-wal"), &st), 0);
    assert_true(st.st_size > 0);
    size_t before_size;
    before = store_slurp(store_beside(store, "-wal"), &before_size);
    assert_refused(store, "is damaged");
    size_t after_size;
    after = store_slurp(store_beside(store, "-wal"), &after_size);
    assert_int_equal(before_size, after_size);
    assert_memory_equal(before, after, before_size);
    free(before);
    free(after);
}

/* ---- while it is open ---- */

static void a_log_that_is_removed_acknowledges_nothing_more(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_int_equal(store_put(store, "a", "x"), 1);
    assert_int_equal(unlink(store->path), 0);
    assert_int_equal(store_put(store, "a", "x"), 0);
    assert_int_equal(store->last, LOG_FAILED);
    assert_true(store->failed);
    assert_non_null(strstr(log_error(store->log), "removed or replaced"));
    assert_int_equal(store_queue(store, "a", "x"), LOG_FAILED);
    assert_int_equal(store_close(store), LOG_FAILED);
}

static void a_log_that_is_replaced_acknowledges_nothing_more(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_int_equal(store_put(store, "a", "x"), 1);
    store_spit(store_beside(store, ".other"), "x", 1);
    assert_int_equal(rename(store_beside(store, ".other"), store->path), 0);
    assert_int_equal(store_put(store, "a", "x"), 0);
    assert_int_equal(store->last, LOG_FAILED);
    assert_int_equal(store_close(store), LOG_FAILED);
}

static sqlite3 *other_program(struct store *store, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(store->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static void a_lock_of_another_program_is_told_and_passes(void **state)
{
    struct store *store = *state;
    store->options.memory_bytes = 0;
    store_open(store);
    assert_int_equal(store_put(store, "a", "x"), 1);
    sqlite3 *other = other_program(store, "BEGIN IMMEDIATE");
    assert_int_equal(store_put(store, "a", "y"), 0);
    assert_int_equal(store->last, LOG_LOCKED);
    assert_false(store->failed);
    assert_non_null(log_error(store->log));
    assert_string_equal(store_read_all(store, "a"), "1=x next 1"); /* reads go on */
    sqlite3_exec(other, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(other);
    assert_int_equal(store_put(store, "a", "z"), 2);
    assert_string_equal(store_read_all(store, "a"), "1=x 2=z next 2");
}

static void a_log_that_another_program_holds_does_not_open(void **state)
{
    struct store *store = *state;
    make_log(store);
    sqlite3 *other =
        other_program(store, "PRAGMA locking_mode=EXCLUSIVE; UPDATE log SET settled = 500");
    assert_int_equal(store_try_open(store), -1);
    assert_non_null(strstr(store->why, "locked by another program"));
    sqlite3_close(other);
    store_open(store);
}

static void another_program_may_read_and_checkpoint(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put_many(store, "a", 100);
    sqlite3_close(other_program(store, "SELECT count(*) FROM message"));
    sqlite3_close(other_program(store, "PRAGMA wal_checkpoint(TRUNCATE)"));
    assert_int_equal(store_put(store, "a", "x"), 101);
    assert_int_equal(store_put(store, "a", "x"), 102);
    store_reopen(store);
    assert_int_equal(log_head(store->log), 102);
}

static void another_program_that_wrote_is_noticed(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_int_equal(store_put(store, "a", "x"), 1);
    sqlite3_close(other_program(store, "INSERT INTO message VALUES (2, 1, 0, x'79', NULL, NULL)"));
    assert_int_equal(store_put(store, "a", "z"), 0);
    assert_int_equal(store->last, LOG_FAILED);
    assert_non_null(strstr(log_error(store->log), "another program"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_log_has_its_marks),
        TEST(leftovers_of_a_crash_while_making_one_do_no_harm),
        TEST(a_write_ahead_log_without_its_file_is_not_played_back),
        TEST(no_place_for_a_log_is_told),
        TEST(a_folder_that_is_another_users_is_told),
        TEST(foreign_file_is_refused_and_untouched),
        TEST(newer_file_is_refused_and_untouched),
        TEST(truncated_file_is_refused_and_untouched),
        TEST(altered_tables_are_refused),
        TEST(damaged_page_is_refused_and_untouched),
        TEST(a_row_that_makes_no_sense_is_refused),
        TEST(counts_that_are_not_those_of_the_messages_are_refused),
        TEST(a_log_that_was_killed_opens_with_all_that_it_acknowledged),
        TEST(a_cut_off_checkpoint_is_recovered),
        TEST(damage_with_a_write_ahead_log_leaves_both_untouched),
        TEST(a_log_that_is_removed_acknowledges_nothing_more),
        TEST(a_log_that_is_replaced_acknowledges_nothing_more),
        TEST(a_lock_of_another_program_is_told_and_passes),
        TEST(a_log_that_another_program_holds_does_not_open),
        TEST(another_program_may_read_and_checkpoint),
        TEST(another_program_that_wrote_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

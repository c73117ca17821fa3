/* An older copy that is put back gets a new epoch; nothing else does. */
#include "support_store.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/mark.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

static void copy(const char *from, const char *to)
{
    size_t size;
    char *bytes = store_slurp(from, &size);
    store_spit(to, bytes, size);
    free(bytes);
}

/* A copy as `sqlite3 log.db .backup` makes one, of a log that may be in use. */
static void back_up(struct store *store, const char *to)
{
    sqlite3 *from_db;
    assert_int_equal(sqlite3_open(store->path, &from_db), SQLITE_OK);
    sqlite3 *to_db;
    assert_int_equal(sqlite3_open(to, &to_db), SQLITE_OK);
    sqlite3_backup *backup = sqlite3_backup_init(to_db, "main", from_db, "main");
    assert_non_null(backup);
    assert_int_equal(sqlite3_backup_step(backup, -1), SQLITE_DONE);
    sqlite3_backup_finish(backup);
    sqlite3_close(to_db);
    sqlite3_close(from_db);
}

/* Puts the copy in the place of the closed log. */
static void put_back(struct store *store, const char *copied)
{
    remove(store->path);
    remove(store_beside(store, "-wal"));
    remove(store_beside(store, "-shm"));
    copy(copied, store->path);
}

static char epoch[EPOCH_LEN + 1];

static void open_and_note_epoch(struct store *store)
{
    store_open(store);
    strcpy(epoch, log_epoch(store->log));
}

static void assert_as_it_was_left(struct store *store, uint64_t head)
{
    store_open(store);
    assert_false(log_was_put_back(store->log));
    assert_string_equal(log_epoch(store->log), epoch);
    assert_int_equal(log_head(store->log), head);
}

static void assert_recognised(struct store *store, uint64_t head)
{
    store_open(store);
    assert_true(log_was_put_back(store->log));
    assert_string_not_equal(log_epoch(store->log), epoch);
    assert_int_equal(log_head(store->log), head);
    strcpy(epoch, log_epoch(store->log));
}

/* Appends in a process that ends without closing the log, and before the last ones are reported. */
static void put_and_be_killed(struct store *store, int count)
{
    pid_t pid = fork();
    if (pid == 0) {
        store_open(store);
        for (int i = 0; i < count; i++)
            store_put(store, "a", "x");
        store_queue(store, "a", "perhaps");
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void an_older_copy_gets_a_new_epoch(void **state)
{
    struct store *store = *state;
    open_and_note_epoch(store);
    store_put_many(store, "a", 10);
    store_close(store);
    copy(store->path, store_beside(store, ".copy"));
    assert_as_it_was_left(store, 10);
    store_put(store, "a", "x");
    store_close(store);
    put_back(store, store_beside(store, ".copy"));
    assert_recognised(store, 10);
    assert_int_equal(store_put(store, "a", "x"), 11);
    store_close(store);
    assert_as_it_was_left(store, 11);
    store_close(store);
    put_back(store, store_beside(store, ".copy")); /* of an epoch that is over */
    assert_recognised(store, 10);
}

static void every_copy_of_a_run_that_was_killed_is_recognised_but_the_last(void **state)
{
    struct store *store = *state;
    uint64_t head;
    for (int count = 0; count < 5; count++) {
        open_and_note_epoch(store);
        store_put(store, "a", "x");
        head = log_head(store->log);
        back_up(store, store_beside(store, ".copy"));
        store_close(store);
        put_and_be_killed(store, count);
        if (count)
            put_back(store, store_beside(store, ".copy"));
        store_open(store);
        assert_int_equal(log_was_put_back(store->log), count > 0);
        assert_int_equal(strcmp(log_epoch(store->log), epoch) == 0, count == 0);
        assert_true(log_head(store->log) >= head);
        store_close(store);
        remove(store_beside(store, ".copy"));
    }
}

static void a_copy_that_lacks_nothing_keeps_the_epoch(void **state)
{
    struct store *store = *state;
    open_and_note_epoch(store);
    store_put_many(store, "a", 10);
    back_up(store, store_beside(store, ".copy"));
    store_close(store);
    put_back(store, store_beside(store, ".copy"));
    assert_as_it_was_left(store, 10);
}

static void a_log_that_was_killed_keeps_its_epoch(void **state)
{
    struct store *store = *state;
    open_and_note_epoch(store);
    store_close(store);
    for (int i = 0; i < 5; i++) {
        put_and_be_killed(store, i);
        store_open(store);
        assert_false(log_was_put_back(store->log));
        assert_string_equal(log_epoch(store->log), epoch);
        store_close(store);
    }
}

/* The record was not synced with the last commits. */
static void a_mark_that_a_power_cut_set_back_is_no_reason(void **state)
{
    struct store *store = *state;
    open_and_note_epoch(store);
    store_put_many(store, "a", 10);
    store_close(store);
    copy(store_beside(store, ".lock"), store_beside(store, ".copy"));
    assert_as_it_was_left(store, 10);
    store_put_many(store, "a", 10);
    store_close(store);
    copy(store_beside(store, ".copy"), store_beside(store, ".lock"));
    assert_as_it_was_left(store, 20);
}

static void a_log_without_a_record_is_taken_for_what_it_says(void **state)
{
    static const char *const locks[] = {"", "4711\n",
                                        "4711                           \n9999....6b0c5d6f9a3",
                                        "4711                           \n9999....6b0c5d6f9a3x"};
    struct store *store = *state;
    open_and_note_epoch(store);
    store_put_many(store, "a", 10);
    store_close(store);
    remove(store_beside(store, ".lock"));
    assert_as_it_was_left(store, 10);
    store_close(store);
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) {
        store_spit(store_beside(store, ".lock"), locks[i], strlen(locks[i]));
        assert_as_it_was_left(store, 10);
        store_close(store);
    }
}

static void a_new_log_where_one_was_removed_is_not_put_back(void **state)
{
    struct store *store = *state;
    open_and_note_epoch(store);
    store_put_many(store, "a", 10);
    store_close(store);
    remove(store->path);
    store_open(store);
    assert_false(log_was_put_back(store->log));
    assert_string_not_equal(log_epoch(store->log), epoch);
}

/* A cursor of the epoch that is put back may be above what is in it. */
static void an_empty_copy_of_an_epoch_that_is_over_gets_a_new_one(void **state)
{
    struct store *store = *state;
    open_and_note_epoch(store);
    store_close(store);
    copy(store->path, store_beside(store, ".copy"));
    assert_as_it_was_left(store, 0);
    store_put_many(store, "a", 10);
    store_close(store);
    remove(store->path);
    store_open(store);
    assert_int_equal(store_put(store, "a", "x"), 1);
    store_close(store);
    put_back(store, store_beside(store, ".copy"));
    store_open(store);
    assert_string_not_equal(log_epoch(store->log), epoch);
}

static int open_mark_by(struct store *store, int flags, char *why, size_t why_size)
{
    int fd = open(store_beside(store, ".lock"), flags | O_CLOEXEC), result;
    char now[EPOCH_LEN + 1];
    strcpy(now, epoch);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(store->path, &db), SQLITE_OK);
    struct mark mark;
    result = mark_open(&mark, fd, db, now, why, why_size);
    if (result >= 0)
        mark_close(&mark);
    sqlite3_close(db);
    close(fd);
    return result;
}

/* Otherwise each later start would take the log for another one. */
static void a_new_epoch_that_cannot_be_remembered_is_not_begun(void **state)
{
    struct store *store = *state;
    open_and_note_epoch(store);
    store_close(store);
    copy(store->path, store_beside(store, ".copy"));
    assert_as_it_was_left(store, 0);
    store_put(store, "a", "x");
    store_close(store);
    char why[600];
    assert_int_equal(open_mark_by(store, O_RDONLY, why, sizeof why), 0); /* it only stays behind */
    put_back(store, store_beside(store, ".copy"));
    assert_int_equal(open_mark_by(store, O_RDONLY, why, sizeof why), -1);
    assert_non_null(strstr(why, ".lock cannot be written: Bad file descriptor"));
    assert_int_equal(open_mark_by(store, O_RDWR, why, sizeof why), 1);
}

/* Nor does it end the process, though the file is mapped. */
static void a_lock_that_is_cut_while_in_use_only_stays_behind(void **state)
{
    struct store *store = *state;
    open_and_note_epoch(store);
    store_put(store, "a", "x");
    assert_int_equal(truncate(store_beside(store, ".lock"), 0), 0);
    store_put(store, "a", "x");
    store_close(store);
    assert_as_it_was_left(store, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_older_copy_gets_a_new_epoch),
        TEST(every_copy_of_a_run_that_was_killed_is_recognised_but_the_last),
        TEST(a_copy_that_lacks_nothing_keeps_the_epoch),
        TEST(a_log_that_was_killed_keeps_its_epoch),
        TEST(a_mark_that_a_power_cut_set_back_is_no_reason),
        TEST(a_log_without_a_record_is_taken_for_what_it_says),
        TEST(a_new_log_where_one_was_removed_is_not_put_back),
        TEST(an_empty_copy_of_an_epoch_that_is_over_gets_a_new_one),
        TEST(a_new_epoch_that_cannot_be_remembered_is_not_begun),
        TEST(a_lock_that_is_cut_while_in_use_only_stays_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

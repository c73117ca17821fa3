/* The log's files are removed, replaced, cut short, or opened under another name. */
#include "support_store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

/* The next append fails, with the log, and with these words. */
static void assert_ends(struct store *store, const char *words)
{
    uint64_t acknowledged = store->acknowledged;
    assert_int_equal(store_put(store, "a", "late"), 0);
    assert_int_equal(store->last, LOG_FAILED);
    assert_true(store->failed);
    assert_int_equal(store->acknowledged, acknowledged);
    if (!strstr(log_error(store->log), words))
        fail_msg("\"%s\" does not say \"%s\"", log_error(store->log), words);
    assert_int_equal(store_queue(store, "a", "x"), LOG_FAILED);
    assert_int_equal(store_close(store), LOG_FAILED);
}

/* A removed file ends the log, and all that was acknowledged is there at the next start. */
static void assert_removal_ends(struct store *store, const char *suffix, const char *words)
{
    store_open(store);
    store_put_many(store, "a", 32);
    assert_int_equal(unlink(store_beside(store, suffix)), 0);
    assert_ends(store, words);
    store_open(store);
    assert_true(log_head(store->log) >= 32);
}

static void a_write_ahead_log_that_is_removed_ends_the_log_and_is_saved(void **state)
{
    assert_removal_ends(*state, "-wal", "-wal was removed or replaced");
}

/* Otherwise a program that copies the log would go unnoticed, and get pages of different times. */
static void an_index_that_is_removed_ends_the_log(void **state)
{
    assert_removal_ends(*state, "-shm", "-shm was removed or replaced");
}

/* If the database is another one now, nothing may be copied into it. */
static void a_database_that_was_written_to_is_not_written_over(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put_many(store, "a", 32);
    assert_int_equal(unlink(store_beside(store, "-wal")), 0);
    size_t before_size;
    char *before = store_slurp(store->path, &before_size);
    FILE *file = fopen(store->path, "r+b"); /* the same bytes, but it is a stranger's */
    assert_int_equal(fwrite(before, 1, before_size, file), before_size);
    assert_int_equal(fclose(file), 0);
    assert_ends(store, "-wal was removed or replaced");
    size_t after_size;
    char *after = store_slurp(store->path, &after_size);
    assert_int_equal(before_size, after_size);
    assert_memory_equal(before, after, before_size);
    free(before);
    free(after);
}

static void a_write_ahead_log_that_is_replaced_ends_the_log(void **state)
{
    struct store *store = *state;
    char *wal, other[200];
    store_open(store);
    store_put(store, "a", "x");
    size_t size;
    wal = store_slurp(store_beside(store, "-wal"), &size);
    strcpy(other, store_beside(store, ".other"));
    store_spit(other, wal, size);
    free(wal);
    assert_int_equal(rename(other, store_beside(store, "-wal")), 0);
    assert_ends(store, "-wal was removed or replaced");
}

static void a_write_ahead_log_that_is_cut_short_ends_the_log(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put_many(store, "a", 32);
    assert_int_equal(truncate(store_beside(store, "-wal"), 5000), 0);
    assert_ends(store, "-wal was cut short");
}

static void a_database_that_is_cut_short_ends_the_log(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put_many(store, "a", 1000);
    store_reopen(store);
    store_put(store, "a", "x");
    struct stat st;
    assert_int_equal(stat(store->path, &st), 0);
    assert_int_equal(truncate(store->path, st.st_size - 4096), 0);
    assert_ends(store, "was cut short");
}

/* The log fails though nothing is committed: the watched descriptor tells of it. */
static void assert_noticed(struct store *store, struct pollfd *watch, const char *words)
{
    assert_int_equal(poll(watch, 1, PATIENCE_MS), 1);
    log_look(store->log);
    store_wait(store);
    store_drain(store);
    assert_true(store->failed);
    assert_non_null(strstr(log_error(store->log), words));
    assert_int_equal(store_close(store), LOG_FAILED);
}

static void a_file_that_goes_is_noticed_while_nothing_is_committed(void **state)
{
    struct store *store = *state;
    const char *suffixes[] = {"", "-wal", "-shm"};
    for (int i = 0; i < 3; i++) {
        store_open(store);
        store_put(store, "a", "x");
        struct pollfd watch = (struct pollfd){.fd = log_watch_fd(store->log), .events = POLLIN};
        assert_true(watch.fd >= 0);
        log_look(store->log); /* SQLite may set a file's owner where it opens it first */
        store_put(store, "a", "x");
        assert_int_equal(poll(&watch, 1, 0), 0); /* our own commits are no news */
        assert_int_equal(unlink(store_beside(store, suffixes[i])), 0);
        assert_noticed(store, &watch, "removed or replaced");
        store->failed = false;
        remove(store_beside(store, "-wal"));
        remove(store_beside(store, "-shm"));
    }
}

static void a_database_that_is_cut_short_is_noticed_while_nothing_is_committed(void **state)
{
    struct store *store = *state;
    store_open(store);
    store_put_many(store, "a", 1000);
    store_reopen(store); /* with a checkpoint */
    struct pollfd watch = (struct pollfd){.fd = log_watch_fd(store->log), .events = POLLIN};
    struct stat st;
    assert_int_equal(stat(store->path, &st), 0);
    assert_int_equal(truncate(store->path, st.st_size - 4096), 0);
    assert_noticed(store, &watch, "was cut short");
}

/* Nothing is committed then, and so no commit looks. */
static void a_file_that_goes_is_noticed_while_another_program_holds_the_lock(void **state)
{
    struct store *store = *state;
    sqlite3 *other = NULL;
    store_open(store);
    assert_int_equal(sqlite3_open(store->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(store_queue(store, "a", "y"), LOG_OK);
    assert_int_equal(unlink(store_beside(store, "-wal")), 0);
    log_look(store->log);
    assert_int_equal(store_queue(store, "a", "z"), LOG_OK);
    while (!store->failed) {
        store_wait(store);
        store_drain(store);
    }
    assert_int_equal(store->acknowledged, 0);
    assert_non_null(strstr(log_error(store->log), "-wal was removed"));
    sqlite3_close(other);
}

static void a_change_of_mode_is_noticed_and_passes(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_int_equal(chmod(store->path, 0600), 0);
    log_look(store->log);
    assert_int_equal(store_put(store, "a", "x"), 1);
}

/* Opens the log under another name in another process, and expects to be refused. */
static void assert_refused_elsewhere(struct store *store, const char *path)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct store other = {.options = store->options};
        other.options.path = path;
        if (store_try_open(&other) == 0)
            _exit(1);
        _exit(strstr(other.why, "under another name") ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_hard_link_of_a_log_in_use_is_refused(void **state)
{
    struct store *store = *state;
    char other[200];
    strcpy(other, store_beside(store, ".link"));
    store_open(store);
    assert_int_equal(store_put(store, "a", "x"), 1);
    assert_int_equal(link(store->path, other), 0);
    assert_refused_elsewhere(store, other);
    assert_int_equal(store_put(store, "a", "y"), 2); /* and SQLite's own locks were left alone */
    store_reopen(store);
    assert_string_equal(store_read_all(store, "a"), "1=x 2=y next 2");
}

static void a_bind_mount_of_a_log_in_use_is_refused(void **state)
{
    struct store *store = *state;
    char dir[200], path[300];
    strcpy(dir, store_beside(store, ".bind"));
    snprintf(path, sizeof path, "%s/log.db", dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    store_open(store);
    store_spit(path, "", 0);
    if (mount(store->path, path, NULL, MS_BIND, NULL) == 0) {
        assert_refused_elsewhere(store, path);
        assert_int_equal(umount(path), 0);
    } else {
        assert_int_equal(errno, EPERM); /* only root can */
    }
    strcat(path, ".lock");
    remove(path);
    snprintf(path, sizeof path, "%s/log.db", dir);
    remove(path);
}

/* ---- a write-ahead log that cannot start over ---- */

static char told[2][1000];
static int tellings;

static void tell(enum log_tell_level level, const char *line)
{
    (void)level;
    assert_true(tellings < 2);
    snprintf(told[tellings++], sizeof *told, "%s", line);
}

static uint64_t wal_bytes(struct store *store)
{
    struct log_stats stats;
    struct stat st;
    for (;;) {
        log_stats(store->log, &stats);
        assert_int_equal(stat(store_beside(store, "-wal"), &st), 0);
        if (stats.wal_bytes == (uint64_t)st.st_size)
            return stats.wal_bytes;
        store_wait(store); /* a commit is not reported yet */
        store_drain(store);
    }
}

/* As a backup that hangs does. */
static void a_long_read_of_another_program_is_told_and_when_it_is_over(void **state)
{
    struct store *store = *state;
    char *data = calloc(1, 4000001);
    sqlite3 *other = NULL;
    memset(data, 'x', 4000000);
    tellings = 0;
    store->options.memory_bytes = 0;
    store->options.keep_messages = 2;
    store->options.tell = tell;
    store_open(store);
    store_put(store, "a", "x");
    assert_int_equal(sqlite3_open(store->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN; SELECT * FROM log", NULL, NULL, NULL), SQLITE_OK);
    while (wal_bytes(store) < LOG_WAL_MUCH) {
        assert_int_equal(tellings, 0);
        assert_int_not_equal(store_put(store, "a", data), 0);
    }
    assert_int_equal(tellings, 1);
    assert_non_null(strstr(told[0], "-wal has grown to"));
    assert_int_not_equal(store_put(store, "a", data), 0);
    assert_int_equal(tellings, 1);
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 3 && tellings < 2; i++) /* one copies all of it, the next starts over */
        assert_int_not_equal(store_put(store, "a", data), 0);
    assert_int_equal(tellings, 2);
    assert_non_null(strstr(told[1], "usual size"));
    assert_true(wal_bytes(store) <= LOG_WAL_USUAL);
    sqlite3_close(other);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_write_ahead_log_that_is_removed_ends_the_log_and_is_saved),
        TEST(a_database_that_was_written_to_is_not_written_over),
        TEST(a_write_ahead_log_that_is_replaced_ends_the_log),
        TEST(an_index_that_is_removed_ends_the_log),
        TEST(a_write_ahead_log_that_is_cut_short_ends_the_log),
        TEST(a_database_that_is_cut_short_ends_the_log),
        TEST(a_file_that_goes_is_noticed_while_nothing_is_committed),
        TEST(a_database_that_is_cut_short_is_noticed_while_nothing_is_committed),
        TEST(a_file_that_goes_is_noticed_while_another_program_holds_the_lock),
        TEST(a_change_of_mode_is_noticed_and_passes),
        TEST(a_hard_link_of_a_log_in_use_is_refused),
        TEST(a_bind_mount_of_a_log_in_use_is_refused),
        TEST(a_long_read_of_another_program_is_told_and_when_it_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Disks that are full, broken, or gone in mid-write. In the numbered cases the same work is done
 * again and again, and its first, second, third… write or sync fails, until none is left to fail.
 */
#include "support_store.h"
#include "support_vfs.h"

#include "store/reader.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/clock.h"
#include "store/sql.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, shim_setup, shim_teardown)

/* How many writes of a single byte, the writer's to the pipe, fail for lack of memory. */
static _Atomic int bytes_to_refuse;

ssize_t write(int fd, const void *bytes, size_t len)
{
    if (len == 1 && bytes_to_refuse > 0) {
        bytes_to_refuse--;
        errno = ENOMEM;
        return -1;
    }
    return syscall(SYS_write, fd, bytes, len);
}

/* What is retained of channel "a", in order, as the messages' numbers. */
static size_t read_all(struct store *store, unsigned *numbers, size_t room)
{
    struct cursor cursor = {.kind = CURSOR_START};
    const char *channel = "a";
    size_t count = 0;
    struct page page;
    bool more;
    do {
        assert_int_equal(store_page(store, &channel, 1, cursor, UP_TO(room), &page), LOG_OK);
        assert_true(count + page.count <= room);
        for (size_t i = 0; i < page.count; i++)
            numbers[count++] = (unsigned)atoi(message_data(page.messages[i]));
        cursor = (struct cursor){CURSOR_AT, page.next};
        more = page.more;
        page_free(&page);
    } while (more);
    return count;
}

/* ---- full ---- */

static void a_full_disk_fails_the_append_and_passes(void **state)
{
    struct store *store = *state;
    store_open(store);
    assert_int_equal(store_put(store, "a", "1"), 1);
    shim_arm(SHIM_WRITE, 1, SQLITE_FULL, true);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_put(store, "a", "2"), 0);
        assert_int_equal(store->last, LOG_FULL);
        assert_false(store->failed);
        assert_string_equal(store_read_all(store, "a"), "1=1 next 1");
    }
    assert_non_null(log_error(store->log));
    shim_disarm();
    assert_int_equal(store_put(store, "a", "3"), 2);
    store_reopen(store);
    assert_string_equal(store_read_all(store, "a"), "1=1 2=3 next 2");
}

/* A quota or a file size limit gives another error than a disk without room. */
static void a_file_size_limit_counts_as_a_full_disk(void **state)
{
    struct store *store = *state;
    char *data = malloc(60001);
    memset(data, 'x', 60000);
    data[60000] = '\0';
    signal(SIGXFSZ, SIG_IGN);
    store_open(store);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit limit = before;
    limit.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    do
        store_put(store, "a", data);
    while (store->last == LOG_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    if (store->last != LOG_FULL)
        fail_msg("status %d: %s", store->last, log_error(store->log));
    uint64_t seq = store_put(store, "a", data);
    assert_int_equal(seq, store->acknowledged);
    free(data);
}

/* Retention cannot work on a full disk either; it goes on once there is room, by itself. */
static void retention_survives_a_full_disk(void **state)
{
    struct store *store = *state;
    store->options.keep_age_ms = 3000; /* or it is gone before the disk is full */
    store_open(store);
    store_put(store, "a", "x");
    shim_arm(SHIM_WRITE, 1, SQLITE_FULL, true);
    while (shim_met() == 0) {
        store_wait(store); /* it reports what it lives through */
        store_drain(store);
    }
    assert_false(store->failed);
    shim_disarm();
    store_settle_at(store, 0);
}

/* The same work in every numbered case: small and large batches, retention, a checkpoint. The
 * numbers of the messages that were acknowledged go into acked. */
enum { WORK_MESSAGES = 160, WORK_LARGE = 90000, LARGEST_BATCH = 20, KEEP = 40 };

static size_t work(struct store *store, unsigned *acked, bool *failed)
{
    char *data = calloc(1, WORK_LARGE + 1);
    unsigned number = 0;
    size_t count = 0;
    *failed = false;
    while (number < WORK_MESSAGES) {
        unsigned batch = number % LARGEST_BATCH ? 1 + number % 7 : LARGEST_BATCH;
        for (unsigned i = 0; i < batch && number < WORK_MESSAGES; i++) {
            int len = snprintf(data, 16, "%u", ++number);
            if (number % 3 == 0) {
                memset(data + len, ' ', (size_t)(WORK_LARGE - len));
                len = WORK_LARGE;
            }
            if (store_append(store, message_new("a", data, (size_t)len, clock_wall_ms())) != LOG_OK)
                goto out; /* its message leaks into the list below only when the log has failed */
        }
        struct log_news news;
        struct append *append;
        struct log_stats stats;
        do {
            store_wait(store);
            log_drain(store->log, &news);
            STAILQ_FOREACH (append, &news.done, next) {
                /* after a failure nothing is acknowledged any more */
                assert_false(*failed && append->status == LOG_OK);
                if (append->status == LOG_OK)
                    acked[count++] = (unsigned)atoi(message_data(append->entries[0].message));
                else if (append->status == LOG_FAILED)
                    *failed = true;
            }
            *failed = *failed || news.failed;
            log_news_free(store->log, &news);
            log_stats(store->log, &stats);
        } while (stats.queued);
        if (*failed)
            break;
    }
out:
    free(data);
    return count;
}

/* The cases grow apart after the first ones: the last of a thousand page writes are much alike. */
static unsigned next_case(unsigned nth)
{
    return nth < 24 ? nth + 1 : nth + nth / 4;
}

/* What was acknowledged last, as far as retention keeps it for sure (a batch that was not
 * acknowledged may be there and have pushed some out), must be all there, in order. */
static void assert_kept(struct store *store, const unsigned *acked, size_t count, unsigned nth)
{
    static unsigned kept[KEEP];
    size_t there = read_all(store, kept, KEEP), from = 0;
    size_t first = count > KEEP - LARGEST_BATCH ? count - (KEEP - LARGEST_BATCH) : 0;
    while (from < there && first < count && kept[from] != acked[first])
        from++;
    for (size_t i = first; i < count; i++, from++)
        if (from >= there || kept[from] != acked[i])
            fail_msg("case %u: message %u was acknowledged and is lost", nth, acked[i]);
}

static void every_write_may_meet_a_full_disk(void **state)
{
    struct store *store = *state;
    static unsigned acked[WORK_MESSAGES], kept[WORK_MESSAGES];
    store->options.memory_bytes = 0;
    for (unsigned nth = 1;; nth = next_case(nth)) {
        bool failed;
        store_open(store);
        shim_arm(SHIM_WRITE, nth, SQLITE_FULL, false);
        size_t count = work(store, acked, &failed);
        unsigned met = shim_met();
        shim_disarm();
        assert_false(failed);
        if (!met)
            assert_int_equal(count, WORK_MESSAGES);
        store_reopen(store); /* here is exactly what was acknowledged: nothing else was written */
        assert_int_equal(read_all(store, kept, WORK_MESSAGES), count);
        assert_memory_equal(kept, acked, count * sizeof *acked);
        store_close(store);
        store_remove_log(store->path);
        if (!met)
            break;
    }
}

/* Does the work while the nth operation of the kind fails with rc. Whatever comes of it, what was
 * acknowledged is there at the next start. Returns whether there was an nth operation. */
static bool survives_a_failure(struct store *store, enum shim_op op, unsigned nth, int rc)
{
    static unsigned acked[WORK_MESSAGES];
    bool failed;
    store_open(store);
    shim_arm((int)op, nth, rc, false);
    size_t count = work(store, acked, &failed);
    if (failed) {
        assert_non_null(strstr(log_error(store->log), "I/O error"));
        assert_int_equal(store_queue(store, "a", "x"), LOG_FAILED);
    }
    enum log_status status = store_close(store);
    bool met = shim_met() > 0; /* perhaps only in the checkpoint that follows the last answer */
    assert_false((failed || status != LOG_OK) && !met);
    assert_false(failed && status != LOG_FAILED);
    if (met && op == SHIM_SYNC)
        assert_int_equal(shim_syncs(), nth); /* it was never tried again */
    shim_disarm();
    store_open(store);
    assert_kept(store, acked, count, nth);
    store_close(store);
    store_remove_log(store->path);
    return met;
}

static void every_write_may_fail(void **state)
{
    struct store *store = *state;
    store->options.keep_messages = KEEP;
    unsigned nth = 1;
    while (survives_a_failure(store, SHIM_WRITE, nth, SQLITE_IOERR_WRITE))
        nth = next_case(nth);
}

static void every_sync_may_fail_and_stops_the_writer(void **state)
{
    struct store *store = *state;
    store->options.keep_messages = KEEP;
    unsigned nth = 1;
    while (survives_a_failure(store, SHIM_SYNC, nth, SQLITE_IOERR_FSYNC))
        nth = next_case(nth);
}

/* ---- no memory ---- */

static sqlite3_mem_methods memory;
static unsigned allocations_left; /* 0: no fault armed */
static unsigned allocations_refused;

static bool refuse(void)
{
    unsigned left = __atomic_load_n(&allocations_left, __ATOMIC_RELAXED);
    if (left == 0)
        return false;
    __atomic_store_n(&allocations_left, left - 1, __ATOMIC_RELAXED);
    if (left > 1)
        return false;
    __atomic_fetch_add(&allocations_refused, 1, __ATOMIC_RELAXED);
    return true;
}

static void *short_malloc(int size)
{
    return refuse() ? NULL : memory.xMalloc(size);
}

static void *short_realloc(void *old, int size)
{
    return refuse() ? NULL : memory.xRealloc(old, size);
}

static void lend_memory(void)
{
    sqlite3_shutdown();
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory);
    sqlite3_mem_methods lent = memory;
    lent.xMalloc = short_malloc;
    lent.xRealloc = short_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &lent);
}

static void take_memory_back(void)
{
    sqlite3_shutdown();
    sqlite3_config(SQLITE_CONFIG_MALLOC, &memory);
}

static void a_byte_that_could_not_be_written_is_written_again(void **state)
{
    struct store *store = *state;
    store_open(store);
    bytes_to_refuse = 3;
    assert_int_equal(store_put(store, "a", "x"), 1);
    assert_int_equal(bytes_to_refuse, 0);
    bytes_to_refuse = 1;
    store_put_many(store, "a", 100);
    assert_int_equal(store_put(store, "a", "x"), 102);
    assert_int_equal(bytes_to_refuse, 0);
}

/* An errno that an earlier call left says nothing about SQLite's error. */
static void a_stale_errno_makes_no_failure_a_full_disk(void **state)
{
    struct store *store = *state;
    store->options.memory_bytes = 0;
    store_open(store);
    store_put(store, "a", "x");
    struct reader *reader;
    struct message *message;
    assert_int_equal(reader_open(&reader, store->path, store->why, sizeof store->why), 0);
    shim_arm(SHIM_READ, 1, SQLITE_IOERR_SHMMAP, true);
    errno = ENOSPC;
    assert_int_equal(reader_newest(reader, "a", UINT64_MAX >> 1, &message), LOG_FAILED);
    assert_true(shim_met() > 0);
    shim_disarm();
    reader_close(reader);
}

/* One allocation in SQLite fails: the call may fail with it, but the log goes on. */
static void every_allocation_may_fail(void **state)
{
    struct store *store = *state;
    unsigned seen = 0, failures = 0;
    lend_memory();
    store->options.keep_messages = 5;
    store->options.memory_bytes = 2 * message_size_of(1, 1);
    for (unsigned nth = 1; nth < 400; nth += nth < 100 ? 1 : 11) {
        store_open(store);
        store_put_many(store, "b", 10);
        seen = (unsigned)log_head(store->log);
        __atomic_store_n(&allocations_left, nth, __ATOMIC_RELAXED);
        for (int i = 0; i < 3; i++) {
            uint64_t seq = store_put(store, "a", "x");
            if (seq == 0) {
                failures++;
                assert_int_equal(store->last, LOG_NO_MEMORY);
            } else {
                assert_int_equal(seq, ++seen);
            }
            const char *said = store_read_all(store, "a b");
            if (strncmp(said, "status", 6) == 0) {
                failures++;
                assert_string_equal(said, store_status(LOG_NO_MEMORY));
            }
        }
        __atomic_store_n(&allocations_left, 0, __ATOMIC_RELAXED);
        assert_false(store->failed);
        char *expected = strdup(store_read_all(store, "a b"));
        store_reopen(store);
        assert_string_equal(store_read_all(store, "a b"), expected);
        free(expected);
        store_close(store);
    }
    assert_true(failures > 0 && allocations_refused > 0);
    take_memory_back();
}

static void a_read_that_fails_ends_the_log(void **state)
{
    struct store *store = *state;
    store->options.memory_bytes = 0;
    store_open(store);
    store_put_many(store, "a", 3000);
    store_reopen(store);
    shim_arm(SHIM_READ, 1, SQLITE_IOERR_READ, true);
    assert_string_equal(store_read_all(store, "a"), store_status(LOG_FAILED));
    shim_disarm();
    store_wait(store);
    store_drain(store);
    assert_true(store->failed);
    assert_non_null(strstr(log_error(store->log), "reading the log"));
    assert_int_equal(store_queue(store, "a", "x"), LOG_FAILED);
}

/* ---- crashes ---- */

struct shared {
    size_t count;
    unsigned acked[WORK_MESSAGES];
};

/* Like work, but tells the parent at once what was acknowledged. */
static void work_and_tell(struct store *store, struct shared *shared)
{
    static char data[WORK_LARGE + 1];
    for (unsigned number = 1; number <= WORK_MESSAGES; number++) {
        int len = snprintf(data, sizeof data, "%u", number);
        if (number % 3 == 0) {
            memset(data + len, ' ', (size_t)(WORK_LARGE - len));
            data[WORK_LARGE] = '\0';
        }
        if (store_put(store, "a", data) == 0)
            _exit(3);
        shared->acked[shared->count] = number;
        __atomic_store_n(&shared->count, shared->count + 1, __ATOMIC_RELEASE);
    }
}

/* Runs a child up to the nth write or sync. Returns whether it got that far. */
static bool run_until_crash(struct store *store, struct shared *shared, int op, unsigned nth)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (store_try_open(store) != 0)
            _exit(2);
        shim_arm(op, nth, SHIM_CRASH, false);
        work_and_tell(store, shared);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 0;
}

static void assert_all_kept(struct store *store, const struct shared *shared, unsigned nth)
{
    store_open(store);
    assert_kept(store, shared->acked, shared->count, nth);
    assert_true(log_head(store->log) >= shared->count);
    /* and it can go on */
    uint64_t head = log_head(store->log);
    assert_int_equal(store_put(store, "a", "1000"), head + 1);
    store_close(store);
}

/* Memory that a child shares with the test. */
static struct shared *share_memory(void)
{
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
    return shared;
}

static void every_operation_may_be_the_last(void **state)
{
    struct store *store = *state;
    struct shared *shared = share_memory();
    const int ops[] = {SHIM_WRITE, SHIM_SYNC};
    store->options.keep_messages = KEEP;
    for (int op = 0; op < 2; op++) {
        bool crashed = true;
        for (unsigned nth = 1; crashed; nth = next_case(nth)) {
            shared->count = 0;
            store_open(store);
            store_close(store);
            crashed = run_until_crash(store, shared, ops[op], nth);
            assert_all_kept(store, shared, nth);
            store_remove_log(store->path);
        }
    }
    munmap(shared, sizeof *shared);
}

/* ---- power cuts ---- */

/* The folder of what is on the disk: the last part of the path is the same as the log's. */
struct image {
    char dir[200], path[300];
};

static void make_image_dir(const struct store *store, struct image *image)
{
    snprintf(image->dir, sizeof image->dir, "%s/image", store->dir);
    snprintf(image->path, sizeof image->path, "%s/log.db", image->dir);
    assert_int_equal(mkdir(image->dir, 0700), 0);
}

/* Makes an empty log, on the disk as well. From now on only what is synced gets there. */
static void start_image(struct store *store, const struct image *image)
{
    store_open(store);
    store_close(store);
    size_t size;
    char *bytes = store_slurp(store->path, &size);
    store_spit(image->path, bytes, size);
    free(bytes);
    shim_image(image->dir);
}

/* The power is cut: only what is on the disk is left. */
static void cut_power(struct store *store, const struct image *image)
{
    store_remove_log(store->path);
    store->options.path = image->path;
}

static void end_image(struct store *store, const struct image *image)
{
    store_remove_log(image->path);
    store->options.path = store->path;
}

static unsigned next_cut(unsigned nth)
{
    return nth < 8 ? nth + 1 : nth * 2;
}

/* This is what synchronous=FULL is for. */
static void a_power_cut_loses_nothing_that_was_acknowledged(void **state)
{
    struct store *store = *state;
    struct shared *shared = share_memory();
    struct image image;
    make_image_dir(store, &image);
    store->options.keep_messages = KEEP;
    bool crashed = true;
    for (unsigned nth = 1; crashed; nth = next_cut(nth)) {
        shared->count = 0;
        start_image(store, &image);
        crashed = run_until_crash(store, shared, SHIM_WRITE | SHIM_SYNC, nth);
        shim_image(NULL);
        cut_power(store, &image);
        assert_all_kept(store, shared, nth);
        end_image(store, &image);
    }
    assert_int_equal(rmdir(image.dir), 0);
    munmap(shared, sizeof *shared);
}

/* A crash before the fsync leaves a commit that the next start finds in the write-ahead log, though
 * the disk may not have it yet. It must have it before anybody is shown the commit. */
static void what_a_restart_shows_survives_a_power_cut(void **state)
{
    struct store *store = *state;
    struct shared *shared = share_memory();
    struct image image;
    make_image_dir(store, &image);
    bool crashed = true;
    for (unsigned nth = 1; crashed; nth = next_cut(nth)) {
        shared->count = 0;
        start_image(store, &image);
        crashed = run_until_crash(store, shared, SHIM_SYNC, nth);
        store_open(store);
        shim_image(NULL);
        char *shown = strdup(store_read_all(store, "a"));
        store_close(store);
        cut_power(store, &image);
        store_open(store);
        assert_string_equal(store_read_all(store, "a"), shown);
        free(shown);
        store_close(store);
        end_image(store, &image);
    }
    assert_int_equal(rmdir(image.dir), 0);
    munmap(shared, sizeof *shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_full_disk_fails_the_append_and_passes),
        TEST(a_file_size_limit_counts_as_a_full_disk),
        TEST(retention_survives_a_full_disk),
        TEST(every_write_may_meet_a_full_disk),
        TEST(every_write_may_fail),
        TEST(every_sync_may_fail_and_stops_the_writer),
        TEST(every_allocation_may_fail),
        TEST(a_byte_that_could_not_be_written_is_written_again),
        TEST(a_stale_errno_makes_no_failure_a_full_disk),
        TEST(a_read_that_fails_ends_the_log),
        TEST(every_operation_may_be_the_last),
        TEST(a_power_cut_loses_nothing_that_was_acknowledged),
        TEST(what_a_restart_shows_survives_a_power_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

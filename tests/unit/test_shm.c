/* The -shm is a mapping: on a full disk its holes would be a SIGBUS. So its room is reserved
 * before. */
#include "support_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/shm.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

/* Whether each byte of the file lies in a block that is there. */
static void assert_without_holes(const char *path)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_size > 0);
    assert_true(st.st_blocks * 512 >= st.st_size);
    close(fd);
}

static void the_index_has_room_for_more_than_the_write_ahead_log_has(void **state)
{
    struct store *store = *state;
    char *data = calloc(1, 3000001);
    sqlite3 *other = NULL;
    memset(data, 'x', 3000000);
    store->options.memory_bytes = 0;
    store_open(store);
    assert_without_holes(store_beside(store, "-shm"));
    assert_int_equal(sqlite3_open(store->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN; SELECT * FROM log", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 10; i++) { /* the reader keeps it from starting over */
        assert_int_not_equal(store_put(store, "a", data), 0);
        assert_without_holes(store_beside(store, "-shm"));
    }
    struct stat st;
    assert_int_equal(stat(store_beside(store, "-shm"), &st), 0);
    assert_true(st.st_size >= 3 * (32 << 10)); /* 7,000 pages and more need two parts, and room */
    sqlite3_close(other);
    free(data);
}

/* While another program uses the log, its index stays as it is. */
static void an_index_in_use_is_not_made_anew(void **state)
{
    struct store *store = *state;
    sqlite3 *other = NULL;
    store_open(store);
    store_put(store, "a", "x");
    store_close(store);
    assert_int_equal(sqlite3_open(store->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN; SELECT * FROM log", NULL, NULL, NULL), SQLITE_OK);
    pid_t child = fork(); /* as locks are those of processes */
    assert_true(child >= 0);
    if (child == 0) {
        if (store_try_open(store) != 0 || store_put(store, "a", "y") != 2)
            _exit(1);
        _exit(store_close(store) == LOG_OK ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    store_open(store);
    assert_string_equal(store_read_all(store, "a"), "1=x 2=y next 2");
}

/* ---- a real disk with small blocks, really full ---- */

static bool mount_image(const char *image, const char *dir)
{
    char command[600];
    snprintf(command, sizeof command,
             "{ truncate -s 8M %s && mkfs.ext4 -q -b 1024 -m 0 %s && mount -o loop %s %s; } "
             ">/dev/null 2>&1",
             image, image, image, dir);
    return system(command) == 0;
}

static void fill(const char *path)
{
    static const size_t sizes[] = {65536, 1024, 1};
    static char bytes[65536];
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0);
    for (size_t i = 0; i < 3; i++)
        while (write(fd, bytes, sizes[i]) > 0)
            ;
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

/* With so many bytes free a write-ahead log has room for some pages, but its index not for as many.
 * The daemon need not open the log or store anything, but says why. */
static void work_with_room(struct store *store, const char *ballast, off_t room)
{
    static char data[3001];
    memset(data, 'x', sizeof data - 1);
    store_open(store);
    assert_int_not_equal(store_put(store, "a", data), 0);
    assert_int_equal(store_close(store), LOG_OK);
    fill(ballast);
    struct stat st;
    assert_int_equal(stat(ballast, &st), 0);
    assert_int_equal(truncate(ballast, st.st_size - room), 0);
    if (store_try_open(store) == 0) {
        for (int full = 0; full < 3; full += store->last == LOG_FULL) {
            store_put(store, "a", data);
            assert_false(store->failed);
        }
        assert_int_equal(store_close(store), LOG_OK);
    } else {
        assert_non_null(strstr(store->why, "make room"));
    }
    remove(ballast);
    store_open(store);
    assert_int_equal(log_head(store->log), store->acknowledged);
    assert_int_not_equal(store_put(store, "a", data), 0);
    store_close(store);
}

static void a_full_disk_with_small_blocks_is_an_error_and_no_signal(void **state)
{
    struct store *store = *state;
    char image[100], dir[100], ballast[120];
    snprintf(image, sizeof image, "%s/image", store->dir);
    snprintf(dir, sizeof dir, "%s/small", store->dir);
    snprintf(ballast, sizeof ballast, "%s/ballast", dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    if (mount_image(image, dir)) {
        int status = 0;
        snprintf(store->path, sizeof store->path, "%.80s/log.db", dir);
        off_t room;
        for (room = 0; room <= 160 << 10 && status == 0; room += 4 << 10) {
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                store->acknowledged = 0;
                work_with_room(store, ballast, room);
                _exit(0);
            }
            assert_int_equal(waitpid(child, &status, 0), child);
            remove(store->path);
        }
        assert_int_equal(umount(dir), 0);
        if (status != 0)
            fail_msg("%ld bytes free: ended with %d", (long)room - (4 << 10), status);
    } else {
        print_message("no small file system can be mounted here: not tried\n");
    }
    remove(image);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_index_has_room_for_more_than_the_write_ahead_log_has),
        TEST(an_index_in_use_is_not_made_anew),
        TEST(a_full_disk_with_small_blocks_is_an_error_and_no_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What is said of a log that cannot be opened: each cause has its own advice, and a sound log is
 * never called damaged. */
#include "support_store.h"
#include "support_vfs.h"

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

#include "store/schema.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, shim_setup, shim_teardown)

static void assert_advice(const char *why, const char *advice, const char *cause)
{
    if (!strstr(why, advice))
        fail_msg("%s: \"%s\" does not say \"%s\"", cause, why, advice);
    if (strstr(why, "damaged") || strstr(why, "move it away") || strchr(why, '\n'))
        fail_msg("%s: \"%s\"", cause, why);
}

/* A log with something in its write-ahead log, as a kill leaves it. */
static void leave_a_log(struct store *store)
{
    store_open(store);
    store_put(store, "a", "x");
    shim_arm(SHIM_WRITE, 1, SQLITE_IOERR_WRITE, true);
    store_put(store, "a", "y");
    store_close(store);
    shim_disarm();
}

/* ---- the table, by a disk that says so ---- */

static const struct {
    int op, rc, error;
    const char *advice;
} causes[] = {
    {SHIM_WRITE, SQLITE_FULL, ENOSPC, "make room on its disk"},
    {SHIM_WRITE, SQLITE_IOERR_WRITE, EDQUOT, "in the quota of its owner"},
    {SHIM_WRITE, SQLITE_IOERR_WRITE, EFBIG, "LimitFSIZE"},
    {SHIM_WRITE, SQLITE_IOERR_WRITE, EIO, "its disk has failed"},
    {SHIM_SYNC, SQLITE_IOERR_FSYNC, EIO, "its disk has failed"},
    {SHIM_SYNC, SQLITE_IOERR_FSYNC, ENOSPC, "make room on its disk"},
    {SHIM_SYNC, SQLITE_IOERR_FSYNC, EDQUOT, "in the quota of its owner"},
    {SHIM_READ, SQLITE_IOERR_READ, EIO, "its disk has failed"},
    {SHIM_READ, SQLITE_IOERR_READ, 0, "its disk has failed"},
    {SHIM_MAP, SQLITE_IOERR_SHMSIZE, ENOSPC, "make room on its disk"},
    {SHIM_MAP, SQLITE_IOERR_SHMMAP, ENOMEM, "too little memory"},
    {SHIM_MAP, SQLITE_IOERR_SHMOPEN, EROFS, "make its file system writable"},
    {SHIM_MAP, SQLITE_NOMEM, 0, "too little memory"},
    {SHIM_MAP, SQLITE_BUSY, 0, "locked by another program"},
    {SHIM_OPEN, SQLITE_CANTOPEN, EMFILE, "LimitNOFILE"},
    {SHIM_OPEN, SQLITE_CANTOPEN, ENFILE, "fs.file-max"},
    {SHIM_OPEN, SQLITE_READONLY_DIRECTORY, ENOENT, "let the daemon's user write"},
    {SHIM_OPEN, SQLITE_PERM, 0, "let the daemon's user write"},
    {SHIM_OPEN, SQLITE_CANTOPEN, ELOOP, "nothing was changed"},
};

/* Opens with the nth operation of the kind failing, and all after it. Returns whether it was met.
 */
static bool open_and_fail(struct store *store, size_t i, unsigned nth)
{
    char cause[100];
    snprintf(cause, sizeof cause, "cause %zu, operation %u", i, nth);
    shim_errno(causes[i].error);
    shim_arm(causes[i].op, nth, causes[i].rc, true);
    int opened = store_try_open(store);
    bool met = shim_met() > 0;
    shim_disarm();
    if (opened != 0) {
        if (!strstr(store->why, store->path))
            fail_msg("%s: \"%s\" does not name the log", cause, store->why);
        assert_advice(store->why, causes[i].advice, cause);
    } else if (nth == 1) {
        fail_msg("%s: it was opened", cause);
    }
    store_close(store);
    return met;
}

static void each_cause_has_its_advice_and_none_is_damage(void **state)
{
    struct store *store = *state;
    for (size_t i = 0; i < sizeof causes / sizeof *causes; i++) {
        unsigned nth = 0;
        do
            leave_a_log(store);
        while (open_and_fail(store, i, ++nth));
    }
    store_open(store);
    assert_int_equal(log_head(store->log), store->acknowledged);
}

/* quick_check reports a page that it cannot read as a row of its result, like damage. */
static void a_page_that_cannot_be_read_is_not_called_damaged(void **state)
{
    struct store *store = *state;
    char why[200] = "";
    sqlite3 *db = NULL;
    store->options.memory_bytes = 0;
    store_open(store);
    store_put_many(store, "a", 1000);
    store_close(store);
    assert_int_equal(sqlite3_open(store->path, &db), SQLITE_OK);
    shim_arm(SHIM_READ, 6, SQLITE_IOERR_READ, true);
    assert_int_equal(schema_check_pages(db, why, sizeof why) & 0xff, SQLITE_IOERR);
    shim_disarm();
    sqlite3_close(db);
}

/* ---- the table, by real file systems ---- */

/* A small file system of its own for the log, or false where that is forbidden. */
static bool mount_small(struct store *store, char *dir, const char *options)
{
    snprintf(dir, 100, "%s/small", store->dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    if (mount("encke-test", dir, "tmpfs", 0, options) != 0) {
        assert_int_equal(errno, EPERM); /* only root can */
        return false;
    }
    snprintf(store->path, sizeof store->path, "%s/log.db", dir);
    return true;
}

static void no_inodes_left_is_no_damage(void **state)
{
    struct store *store = *state;
    char dir[100], name[200];
    if (mount_small(store, dir, "size=4m,nr_inodes=12")) {
        leave_a_log(store);
        remove(store_beside(store, "-shm")); /* as after a reboot */
        for (int i = 0;; i++) {
            snprintf(name, sizeof name, "%s/%d", dir, i);
            int fd = open(name, O_CREAT | O_WRONLY, 0600);
            if (fd < 0)
                break;
            close(fd);
        }
        assert_int_equal(errno, ENOSPC);
        assert_int_equal(store_try_open(store), -1);
        assert_advice(store->why, "df -i", "no inodes");
        snprintf(name, sizeof name, "%s/0", dir);
        remove(name);
        store_open(store);
        assert_string_equal(store_read_all(store, "a"), "1=x next 1");
        store_close(store);
        assert_int_equal(umount(dir), 0);
    }
    rmdir(dir);
}

static void a_file_system_that_became_read_only_is_no_damage(void **state)
{
    struct store *store = *state;
    char dir[100];
    if (mount_small(store, dir, "size=4m")) {
        leave_a_log(store);
        assert_int_equal(mount("none", dir, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
        assert_int_equal(store_try_open(store), -1);
        assert_advice(store->why, "make its file system writable", "read-only");
        assert_int_equal(mount("none", dir, NULL, MS_REMOUNT, NULL), 0);
        store_open(store);
        assert_string_equal(store_read_all(store, "a"), "1=x next 1");
        store_close(store);
        assert_int_equal(umount(dir), 0);
    }
    rmdir(dir);
}

/* Another user than root opens it, since root may write anywhere. */
static void a_folder_that_may_not_be_written_is_no_damage(void **state)
{
    struct store *store = *state;
    leave_a_log(store);
    remove(store_beside(store, "-shm"));
    if (geteuid() == 0) {
        const uid_t nobody = 65534;
        assert_int_equal(chown(store->path, nobody, nobody), 0);
        assert_int_equal(chown(store_beside(store, "-wal"), nobody, nobody), 0);
        assert_int_equal(chown(store_beside(store, ".lock"), nobody, nobody), 0);
    }
    assert_int_equal(chmod(store->dir, 0555), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
            _exit(3);
        if (store_try_open(store) == 0)
            _exit(1);
        assert_advice(store->why, "let the daemon's user write", "folder");
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(chmod(store->dir, 0700), 0);
    store_open(store);
    assert_string_equal(store_read_all(store, "a"), "1=x next 1");
}

/* ---- modes ---- */

static mode_t mode_of(struct store *store, const char *suffix)
{
    struct stat st;
    assert_int_equal(stat(store_beside(store, suffix), &st), 0);
    return st.st_mode & 07777;
}

static void a_log_is_for_its_owner_and_group_whatever_the_umask(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    struct store *store = *state;
    mode_t before = umask(0);
    for (int round = 0; round < 2; round++) {
        mode_t mode = round ? 0600 : 0640;
        umask(round ? 077 : 0);
        store_open(store);
        store_put(store, "a", "x");
        for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
            assert_int_equal(mode_of(store, suffixes[i]), mode);
        store_close(store);
        for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
            remove(store_beside(store, suffixes[i]));
    }
    umask(before);
}

static char told[400];

static void tell(enum log_tell_level level, const char *line)
{
    snprintf(told, sizeof told, "%d %s", level, line);
}

static void a_log_that_all_may_read_is_told_and_left(void **state)
{
    struct store *store = *state;
    store->options.tell = tell;
    told[0] = '\0';
    store_open(store);
    assert_string_equal(told, "");
    store_close(store);
    assert_int_equal(chmod(store->path, 0644), 0);
    store_open(store);
    assert_non_null(strstr(told, "mode 0644"));
    assert_int_equal(told[0], '0' + LOG_TELL_WARN);
    assert_int_equal(mode_of(store, ""), 0644);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_cause_has_its_advice_and_none_is_damage),
        TEST(a_page_that_cannot_be_read_is_not_called_damaged),
        TEST(no_inodes_left_is_no_damage),
        TEST(a_file_system_that_became_read_only_is_no_damage),
        TEST(a_folder_that_may_not_be_written_is_no_damage),
        TEST(a_log_is_for_its_owner_and_group_whatever_the_umask),
        TEST(a_log_that_all_may_read_is_told_and_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

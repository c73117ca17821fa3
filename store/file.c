#define _GNU_SOURCE
#include "store/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/advice.h"
#include "store/lock.h"
#include "store/schema.h"
#include "store/sql.h"
#include "store/wal.h"

/* Offsets in the 100 bytes that begin every SQLite file, big-endian:
 * https://sqlite.org/fileformat2.html#the_database_header */
enum {
    HEADER_SIZE = 100,
    AT_PAGE_SIZE = 16,
    AT_CHANGES = 24,
    AT_PAGES = 28,
    AT_USER_VERSION = 60,
    AT_APPLICATION = 68,
    AT_VALID_FOR = 92
};

/* Files up to this size are looked through page by page at every start, which takes some tenths of
 * a second at most. In a larger one that would hold up the restart that people wait for; damage
 * there is told when a damaged page is read. */
enum { QUICK_CHECK_BYTES = 64 << 20 };

/* How long a lock of another program (a backup, the sqlite3 shell) is waited for. Appends wait as
 * long, so it stays well under the time that an orderly stop may take. */
enum { BUSY_MS = 1000 };

#define SAY(...) snprintf(why, why_size, __VA_ARGS__)

static uint32_t number_at(const unsigned char *header, int at)
{
    return (uint32_t)header[at] << 24 | (uint32_t)header[at + 1] << 16 |
           (uint32_t)header[at + 2] << 8 | header[at + 3];
}

/* The size of the file at path with suffix appended, or -1 if there is none. */
static int64_t size_beside(const char *path, const char *suffix)
{
    char name[PATH_MAX];
    if ((size_t)snprintf(name, sizeof name, "%s%s", path, suffix) >= sizeof name)
        return -1;
    struct stat st;
    return lstat(name, &st) == 0 ? st.st_size : -1;
}

char *file_resolve(const char *path, char *why, size_t why_size)
{
    char *whole = realpath(path, NULL);
    struct stat st;
    if (whole && (stat(whole, &st) != 0 || !S_ISDIR(st.st_mode)))
        return whole;
    if (whole) {
        SAY("%s is a folder: name a file in it", whole);
        free(whole);
        return NULL;
    }
    char copy[PATH_MAX], dir[PATH_MAX];
    if (errno != ENOENT || lstat(path, &st) == 0 || path[0] == '\0' ||
        (size_t)snprintf(copy, sizeof copy, "%s", path) >= sizeof copy ||
        path[strlen(path) - 1] == '/') {
        SAY("%.200s is no place for a log: %s", path, strerror(errno ? errno : ENOENT));
        return NULL;
    }
    if (!realpath(dirname(copy), dir)) {
        SAY("%s cannot be made: %s: %s", path, copy, strerror(errno));
        return NULL;
    }
    snprintf(copy, sizeof copy, "%s", path);
    if (asprintf(&whole, "%s/%s", strcmp(dir, "/") ? dir : "", basename(copy)) < 0) {
        SAY("out of memory");
        return NULL;
    }
    return whole;
}

/* ---- making one ---- */

int file_draw_epoch(char epoch[EPOCH_LEN + 1])
{
    unsigned char bytes[EPOCH_LEN / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return -1;
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(epoch + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_RDONLY | O_CLOEXEC);
    int result = fd < 0 ? -1 : fsync(fd);
    if (fd >= 0)
        close(fd);
    return result;
}

static int sync_directory_of(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    return sync_path(dirname(copy), O_DIRECTORY);
}

/* Messages are for their readers alone, whatever the umask. SQLite gives the files that it makes
 * beside the log the mode of the log itself. */
static int make_empty(const char *name)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    return fd < 0 ? -1 : close(fd);
}

/* Builds a whole log under the name temp. WAL mode comes last: it is recorded in the header, and
 * closing leaves no other file. */
static int build(const char *temp, char *why, size_t why_size)
{
    sqlite3 *db = NULL;
    if (make_empty(temp) != 0) {
        SAY("%s cannot be made: %s: %s", temp, strerror(errno), advice_for(errno));
        return -1;
    }
    char epoch[EPOCH_LEN + 1];
    if (file_draw_epoch(epoch) != 0) {
        SAY("no random number for the log's epoch: %s", strerror(errno));
        return -1;
    }
    errno = 0;
    int rc = sqlite3_open_v2(temp, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_extended_result_codes(db, 1);
    if (rc == SQLITE_OK)
        rc = sql_exec(db, "PRAGMA page_size=4096");
    if (rc == SQLITE_OK)
        rc = schema_build(db, epoch);
    if (rc == SQLITE_OK)
        rc = sql_exec(db, "PRAGMA journal_mode=WAL");
    if (rc != SQLITE_OK)
        advice_explain(temp, "made", "SQLite", db, rc, why, why_size);
    sqlite3_close(db);
    if (rc == SQLITE_OK && sync_path(temp, 0) != 0) {
        SAY("%s cannot be synced: %s: %s", temp, strerror(errno), advice_for(errno));
        return -1;
    }
    return rc == SQLITE_OK ? 0 : -1;
}

static void remove_temporary(const char *temp)
{
    static const char *const suffixes[] = {"", "-journal", "-wal", "-shm"};
    char name[PATH_MAX];
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if ((size_t)snprintf(name, sizeof name, "%s%s", temp, suffixes[i]) < sizeof name)
            unlink(name);
}

/* Gives the file its name, never replacing another. A file system without RENAME_NOREPLACE can
 * link, or has neither and says so. */
static int publish(const char *temp, const char *path)
{
    if (renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    return link(temp, path) == 0 ? unlink(temp) : -1;
}

/* A name that could not be synced is taken back: at the next start a sync of the directory might
 * succeed and yet prove nothing. */
static int name_it(const char *temp, const char *path, char *why, size_t why_size)
{
    bool named = publish(temp, path) == 0;
    if (named && sync_directory_of(path) == 0)
        return 0;
    SAY("%s cannot be made: %s", path, strerror(errno));
    if (named)
        unlink(path);
    return -1;
}

/* The temporary name is always the same, so that what a crash left is made use of no more than
 * once; the lock keeps a second process out. */
static int create(const char *path, char *why, size_t why_size)
{
    int result = -1;
    /* SQLite would play an orphaned write-ahead log back into the new file. */
    if (size_beside(path, "-wal") > 0 || size_beside(path, "-journal") > 0) {
        SAY("%s is missing, but its -wal or -journal is there: put the file back or move those "
            "away",
            path);
        return -1;
    }
    char temp[PATH_MAX];
    if ((size_t)snprintf(temp, sizeof temp, "%s.encke-new", path) >= sizeof temp) {
        SAY("%.80s...: the path is too long", path);
        return -1;
    }
    remove_temporary(temp);
    if (build(temp, why, why_size) == 0 && name_it(temp, path, why, why_size) == 0)
        result = 0;
    remove_temporary(temp);
    return result;
}

/* ---- looking at one ---- */

/* Only what is surely a log of this format gets past this. */
static int check_marks(const char *path, const unsigned char *header, char *why, size_t why_size)
{
    uint32_t version = number_at(header, AT_USER_VERSION);
    if (number_at(header, AT_APPLICATION) != SCHEMA_APPLICATION)
        SAY("%s is some other program's SQLite file, not an Encke log: choose another path", path);
    else if (version > SCHEMA_VERSION)
        SAY("%s was made by a newer Encke (format %u, this one knows up to %d): upgrade Encke",
            path, version, SCHEMA_VERSION);
    else if (version < SCHEMA_VERSION)
        SAY("%s has format %u, which this Encke does not know: choose another path", path, version);
    else
        return 0;
    return -1;
}

static void say_cut_short(const char *path, int64_t size, char *why, size_t why_size)
{
    SAY("%s was cut short, to %lld bytes: put back a copy, or move it away to begin a new log",
        path, (long long)size);
}

/* The header's count of pages is only good if it was written with the last change; and while there
 * is a write-ahead log, a checkpoint that was cut off may have written the header before the pages
 * that it counts. */
static int check_length(const char *path, const unsigned char *header, int64_t size, char *why,
                        size_t why_size)
{
    int64_t page = header[AT_PAGE_SIZE] << 8 | header[AT_PAGE_SIZE + 1];
    int64_t pages = number_at(header, AT_PAGES);
    if (page == 1)
        page = 65536;
    if (number_at(header, AT_CHANGES) != number_at(header, AT_VALID_FOR) ||
        size_beside(path, "-wal") > 0 || size >= page * pages)
        return 0;
    say_cut_short(path, size, why, why_size);
    return -1;
}

static int inspect(const char *path, int fd, char *why, size_t why_size)
{
    unsigned char header[HEADER_SIZE] = {0};
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        SAY("%s is not a regular file: choose another path", path);
        return -1;
    }
    ssize_t len = pread(fd, header, sizeof header, 0);
    if (len < 0) {
        SAY("%s cannot be read: %s", path, strerror(errno));
        return -1;
    }
    if (len == 0)
        SAY("%s is empty, not an Encke log: remove it, or choose another path", path);
    else if (memcmp(header, "SQLite format 3", 16) != 0)
        SAY("%s is not an Encke log, nor any SQLite file: choose another path", path);
    else if (len < HEADER_SIZE)
        say_cut_short(path, st.st_size, why, why_size);
    else if (check_marks(path, header, why, why_size) == 0)
        return check_length(path, header, st.st_size, why, why_size);
    return -1;
}

/* What SQLite says of rc, with the advice for its cause. Returns -1. */
static int explain(const struct file *file, int rc, const char *doing, char *why, size_t why_size)
{
    advice_explain(file->path, "opened", doing, file->db, rc, why, why_size);
    return -1;
}

/* Everything that is looked at before anything is changed. */
static int check(struct file *file, char *why, size_t why_size)
{
    char what[400] = "";
    int64_t size = size_beside(file->path, "") + size_beside(file->path, "-wal");
    if (sqlite3_db_readonly(file->db, "main"))
        return explain(file, SQLITE_READONLY, "it cannot be written", why, why_size);
    int rc = schema_check(file->db, file->epoch, what, sizeof what);
    if (rc == SQLITE_OK && size <= QUICK_CHECK_BYTES)
        rc = schema_check_pages(file->db, what, sizeof what);
    if (rc == SQLITE_OK)
        return 0;
    advice_write(file->path, "opened", rc, what, why, why_size);
    return -1;
}

/* Sets the connection up for writing. The write-ahead log is checkpointed by the writer itself,
 * and cut to 16 MiB when it starts over, after a large burst. */
static int prepare(struct file *file, char *why, size_t why_size)
{
    sqlite3_stmt *mode = NULL;
    bool wal = false;
    errno = 0;
    int rc = sql_exec(file->db, "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; "
                                "PRAGMA journal_size_limit=16777216; PRAGMA temp_store=MEMORY;");
    if (rc == SQLITE_OK)
        rc = sql_prepare(file->db, &mode, "PRAGMA journal_mode=WAL");
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(mode);
        wal = rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(mode, 0), "wal") == 0;
    }
    sqlite3_finalize(mode);
    return wal ? 0 : explain(file, rc, "it cannot be set to WAL mode", why, why_size);
}

/* Copies what the last run left in the write-ahead log, now that it is surely on the disk: a
 * database page that was lost in a checkpoint before is among them, as SQLite counts a page as
 * copied only after the database was synced. Where it cannot copy all (no room, a reader), the
 * writer tries again. Then the names of both files are put on the disk, for the run that made them
 * may have ended before, and SQLite passes over the error when it syncs their directory. */
static int settle(struct file *file, char *why, size_t why_size)
{
    int pages = 0, copied = 0;
    errno = 0;
    int rc = sqlite3_wal_checkpoint_v2(file->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &copied);
    file->pending = rc != SQLITE_OK || copied < pages;
    if (sql_status(rc) == LOG_FAILED)
        return explain(file, rc, "what the last run left cannot be synced", why, why_size);
    if (sync_directory_of(file->path) == 0)
        return 0;
    SAY("the directory of %s cannot be synced: %s: %s", file->path, strerror(errno),
        advice_for(errno));
    return -1;
}

static int connect_to(struct file *file, char *why, size_t why_size)
{
    errno = 0;
    int rc =
        sqlite3_open_v2(file->path, &file->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_extended_result_codes(file->db, 1);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(file->db, BUSY_MS);
    return rc == SQLITE_OK ? 0 : explain(file, rc, "SQLite", why, why_size);
}

/* Logs that were made under a usual umask before modes were set are left as they are: somebody may
 * count on it by now. */
static void tell_mode(const struct file *file, log_tell *tell)
{
    struct stat st;
    if (!tell || fstat(file->fd, &st) != 0 || (st.st_mode & 0007) == 0)
        return;
    char line[PATH_MAX + 100];
    snprintf(line, sizeof line, "%s is open to every user of this machine (mode %04o): chmod o= it",
             file->path, st.st_mode & 07777U);
    tell(LOG_TELL_WARN, line);
}

int file_open(struct file *file, char *path, log_tell *tell, char *why, size_t why_size)
{
    *file = (struct file){.path = path, .fd = -1, .shm.fd = -1, .place = PLACE_NONE};
    if (size_beside(path, "") < 0 && create(path, why, why_size) != 0)
        goto out;
    bool pending = size_beside(path, "-wal") > 0;
    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file->fd < 0) {
        SAY("%s cannot be opened: %s: %s", path, strerror(errno), advice_for(errno));
        goto out;
    }
    if (inspect(path, file->fd, why, why_size) != 0 ||
        lock_file(file->fd, path, why, why_size) != 0 ||
        wal_rewrite(path, tell, why, why_size) != 0 ||
        shm_open_for(&file->shm, path, size_beside(path, "-wal"), why, why_size) != 0 ||
        connect_to(file, why, why_size) != 0)
        goto out;
    if (check(file, why, why_size) == 0 && prepare(file, why, why_size) == 0 &&
        settle(file, why, why_size) == 0 &&
        place_mark(&file->place, path, file->fd, &file->shm, why, why_size) == 0) {
        tell_mode(file, tell);
        return 0;
    }
    /* Closing would move what is in the write-ahead log into a file that we refuse. */
    if (pending)
        sqlite3_db_config(file->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
out:
    sqlite3_close(file->db);
    shm_close(&file->shm);
    if (file->fd >= 0)
        close(file->fd);
    *file = (struct file){.fd = -1, .shm.fd = -1, .place = PLACE_NONE};
    return -1;
}

/* A log that failed is left as it is: what is in its write-ahead log is read at the next start. So
 * is one whose last checkpoint failed: sqlite3_close would try it again, and if only the fsync had
 * failed, a second one that succeeds would prove nothing, and the write-ahead log would go. */
void file_close(struct file *file, bool trusted)
{
    int rc = SQLITE_ERROR;
    /* a reader of another program's must not hold up the end */
    sqlite3_busy_timeout(file->db, 0);
    if (trusted)
        rc = sqlite3_wal_checkpoint_v2(file->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (rc != SQLITE_OK)
        sqlite3_db_config(file->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(file->db);
    mark_close(&file->mark);
    shm_close(&file->shm);
    place_free(&file->place);
    close(file->fd);
    free(file->path);
    *file = (struct file){.fd = -1, .shm.fd = -1, .place = PLACE_NONE};
}

#define _GNU_SOURCE
#include "store/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/advice.h"
#include "store/create.h"
#include "store/header.h"
#include "store/lock.h"
#include "store/migrate.h"
#include "store/path.h"
#include "store/schema.h"
#include "store/sql.h"
#include "store/wal.h"

/* Files up to this size are checked page by page at every start, which takes some tenths of a
 * second at most. In a larger file that would delay a restart that people wait for; there, damage
 * is reported when a damaged page is read. */
enum { QUICK_CHECK_BYTES = 64 << 20 };

/* How long to wait for a lock of another program (a backup, the sqlite3 shell). Appends wait as
 * long, so it stays well below the time that an orderly stop may take. */
enum { WRITE_BUSY_MS = 1000 };

/* What SQLite says of rc, with the advice for its cause. Returns -1. */
static int explain_open(const struct file *file, int rc, const char *doing, char *why,
                        size_t why_size)
{
    advice_explain(file->path, "opened", doing, file->db, rc, why, why_size);
    return -1;
}

/* The checks that come before anything is changed. */
static int check_contents(struct file *file, char *why, size_t why_size)
{
    if (sqlite3_db_readonly(file->db, "main"))
        return explain_open(file, SQLITE_READONLY, "it cannot be written", why, why_size);
    char what[SQL_ERROR_SIZE] = "";
    int64_t size = path_size(file->path, "") + path_size(file->path, "-wal");
    int rc = migrate_check(file->db, &file->old, what, sizeof what);
    if (rc == SQLITE_OK && size <= QUICK_CHECK_BYTES)
        rc = schema_check_pages(file->db, what, sizeof what);
    if (rc == SQLITE_OK && !file->old)
        rc = schema_check(file->db, file->epoch, what, sizeof what);
    if (rc == SQLITE_OK && !file->old && size <= QUICK_CHECK_BYTES)
        rc = schema_check_counts(file->db, what, sizeof what);
    if (rc == SQLITE_OK)
        return 0;
    advice_write(file->path, "opened", rc, what, why, why_size);
    return -1;
}

/* Brings a log of an earlier version to today's format. */
static int migrate_contents(struct file *file, log_tell *tell, char *why, size_t why_size)
{
    char what[SQL_ERROR_SIZE] = "";
    if (!file->old)
        return 0;
    int rc = migrate_run(file->db, &file->shm, file->path, tell, what, sizeof what);
    if (rc == SQLITE_OK)
        rc = schema_check(file->db, file->epoch, what, sizeof what);
    if (rc != SQLITE_OK) {
        advice_write(file->path, "opened", rc, what, why, why_size);
        return -1;
    }
    if (tell) {
        char line[PATH_MAX + 100];
        snprintf(line, sizeof line, "%s was brought to format %d: earlier versions cannot open it",
                 file->path, SCHEMA_VERSION);
        tell(LOG_TELL_INFO, line);
    }
    return 0;
}

/* Sets the connection up for writing. The writer itself checkpoints the write-ahead log, which
 * SQLite cuts to 16 MiB (LOG_WAL_USUAL) when it starts over after a large burst. */
static int set_up_connection(struct file *file, char *why, size_t why_size)
{
    sqlite3_stmt *mode = NULL;
    bool wal = false;
    int rc = sql_exec(file->db, "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; "
                                "PRAGMA journal_size_limit=16777216; PRAGMA temp_store=MEMORY;");
    if (rc == SQLITE_OK)
        rc = sql_prepare(file->db, &mode, "PRAGMA journal_mode=WAL");
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(mode);
        wal = rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(mode, 0), "wal") == 0;
    }
    sqlite3_finalize(mode);
    return wal ? 0 : explain_open(file, rc, "it cannot be set to WAL mode", why, why_size);
}

/* Copies into the database what the last run left in the write-ahead log, which is surely on the
 * disk by now. That includes each database page that an earlier checkpoint lost, since SQLite
 * counts a page as copied only after the database was synced. If not all can be copied (no room, a
 * reader), the writer tries again. Then the names of both files are put on the disk: the run that
 * made them may have ended before it did that, and SQLite ignores an error when it syncs their
 * directory. */
static int copy_what_was_left(struct file *file, char *why, size_t why_size)
{
    int pages = 0, copied = 0;
    errno = 0;
    int rc = sqlite3_wal_checkpoint_v2(file->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &copied);
    file->pending = rc != SQLITE_OK || copied < pages;
    if (sql_status(rc) == LOG_FAILED)
        return explain_open(file, rc, "what the last run left cannot be synced", why, why_size);
    if (path_sync_directory(file->path) == 0)
        return 0;
    snprintf(why, why_size, "the directory of %s cannot be synced: %s: %s", file->path,
             strerror(errno), advice_for(errno));
    return -1;
}

static int open_connection(struct file *file, char *why, size_t why_size)
{
    int rc = sql_open(&file->db, file->path, SQLITE_OPEN_READWRITE, WRITE_BUSY_MS);
    return rc == SQLITE_OK ? 0 : explain_open(file, rc, "SQLite", why, why_size);
}

/* A log that an earlier version made with the usual umask is only reported: somebody may rely on
 * its mode by now. */
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

/* All that comes before SQLite opens the file. */
static int open_descriptors(struct file *file, log_tell *tell, char *why, size_t why_size)
{
    const char *path = file->path;
    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file->fd < 0) {
        snprintf(why, why_size, "%s cannot be opened: %s: %s", path, strerror(errno),
                 advice_for(errno));
        return -1;
    }
    if (header_check(path, file->fd, why, why_size) != 0 ||
        lock_file(file->fd, path, why, why_size) != 0 ||
        wal_rewrite(path, tell, why, why_size) != 0)
        return -1;
    return shm_open_for(&file->shm, path, path_size(path, "-wal"), why, why_size);
}

int file_open(struct file *file, char *path, log_tell *tell, char *why, size_t why_size)
{
    *file = FILE_NONE;
    file->path = path;
    if (path_size(path, "") < 0 && create_log(path, why, why_size) != 0)
        goto out;
    bool wal_was_left = path_size(path, "-wal") > 0;
    if (open_descriptors(file, tell, why, why_size) != 0 ||
        open_connection(file, why, why_size) != 0)
        goto out;
    if (check_contents(file, why, why_size) == 0 && set_up_connection(file, why, why_size) == 0 &&
        copy_what_was_left(file, why, why_size) == 0 &&
        migrate_contents(file, tell, why, why_size) == 0 &&
        place_remember(&file->place, path, file->fd, &file->shm, why, why_size) == 0) {
        tell_mode(file, tell);
        return 0;
    }
    /* closing would move what is in the write-ahead log into a file that is refused */
    if (wal_was_left)
        sqlite3_db_config(file->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
out:
    sqlite3_close(file->db);
    shm_close(&file->shm);
    if (file->fd >= 0)
        close(file->fd);
    *file = FILE_NONE;
    return -1;
}

/* A log that failed is left as it is: the next start reads what is in its write-ahead log. So is
 * one whose last checkpoint failed. sqlite3_close would try that again, and if only the fsync had
 * failed, a second one that succeeds would prove nothing, yet the write-ahead log would be gone. */
void file_close(struct file *file, bool trusted)
{
    int rc = SQLITE_ERROR;
    sqlite3_busy_timeout(file->db, 0); /* another program's reader must not delay the end */
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
    *file = FILE_NONE;
}

#define _GNU_SOURCE
#include "store/create.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/advice.h"
#include "store/epoch.h"
#include "store/path.h"
#include "store/schema.h"
#include "store/sql.h"

/* Messages are for their readers alone, whatever the umask says. SQLite gives the files that it
 * makes beside the log the mode of the log itself. */
static int make_empty_file(const char *name)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    return fd < 0 ? -1 : close(fd);
}

/* WAL mode comes last: it is recorded in the header, and closing leaves no other file. */
static int build_tables(const char *temp, const char *epoch, char *why, size_t why_size)
{
    sqlite3 *db = NULL;
    int rc = sql_open(&db, temp, SQLITE_OPEN_READWRITE, 0);
    if (rc == SQLITE_OK)
        rc = sql_exec(db, "PRAGMA page_size=4096");
    if (rc == SQLITE_OK)
        rc = schema_build(db, epoch);
    if (rc == SQLITE_OK)
        rc = sql_exec(db, "PRAGMA journal_mode=WAL");
    if (rc != SQLITE_OK)
        advice_explain(temp, "made", "SQLite", db, rc, why, why_size);
    sqlite3_close(db);
    return rc == SQLITE_OK ? 0 : -1;
}

static int sync_file(const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = fsync(fd);
    close(fd);
    return result;
}

/* Builds a whole log under the name temp, on the disk. */
static int build_log(const char *temp, char *why, size_t why_size)
{
    if (make_empty_file(temp) != 0) {
        snprintf(why, why_size, "%s cannot be made: %s: %s", temp, strerror(errno),
                 advice_for(errno));
        return -1;
    }
    char epoch[EPOCH_LEN + 1];
    if (epoch_draw(epoch) != 0) {
        snprintf(why, why_size, "no random number for the log's epoch: %s", strerror(errno));
        return -1;
    }
    if (build_tables(temp, epoch, why, why_size) != 0)
        return -1;
    if (sync_file(temp) == 0)
        return 0;
    snprintf(why, why_size, "%s cannot be synced: %s: %s", temp, strerror(errno),
             advice_for(errno));
    return -1;
}

static void remove_temporary(const char *temp)
{
    static const char *const suffixes[] = {"", "-journal", "-wal", "-shm"};
    char name[PATH_MAX];
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (path_beside(name, temp, suffixes[i], NULL, 0) == 0)
            unlink(name);
}

/* Gives the file its name, and never replaces another. A file system without RENAME_NOREPLACE may
 * be able to link; else it fails. */
static int rename_to_new(const char *temp, const char *path)
{
    if (renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    return link(temp, path) == 0 ? unlink(temp) : -1;
}

/* A name that could not be synced is removed again: a sync of the directory at the next start might
 * succeed and yet prove nothing. */
static int publish_log(const char *temp, const char *path, char *why, size_t why_size)
{
    bool named = rename_to_new(temp, path) == 0;
    if (named && path_sync_directory(path) == 0)
        return 0;
    snprintf(why, why_size, "%s cannot be made: %s", path, strerror(errno));
    if (named)
        unlink(path);
    return -1;
}

/* The temporary name is always the same, so a crash leaves one such file at most, and the next
 * start removes it. The lock keeps a second process away from it. */
int create_log(const char *path, char *why, size_t why_size)
{
    /* SQLite would play an orphaned write-ahead log back into the new file. */
    if (path_size(path, "-wal") > 0 || path_size(path, "-journal") > 0) {
        snprintf(why, why_size,
                 "%s is missing, but its -wal or -journal is there: put the file back or move "
                 "those away",
                 path);
        return -1;
    }
    char temp[PATH_MAX];
    if (path_beside(temp, path, ".encke-new", why, why_size) != 0)
        return -1;
    remove_temporary(temp);
    int result = build_log(temp, why, why_size);
    if (result == 0)
        result = publish_log(temp, path, why, why_size);
    remove_temporary(temp);
    return result;
}

#include "store/advice.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/path.h"
#include "store/sql.h"

static const struct {
    int error;
    const char *advice;
} table[] = {
    {ENOSPC, "make room on its disk (df), or for more files there (df -i)"},
    {EDQUOT, "make room in the quota of its owner"},
    {EFBIG, "raise the limit of a file's size (ulimit -f, LimitFSIZE=)"},
    {EROFS, "make its file system writable; a disk that failed may have made it read-only: look at "
            "the kernel's messages (dmesg)"},
    {EACCES, "let the daemon's user write to its folder, to it and to its -wal and -shm"},
    {EPERM, "let the daemon's user write to its folder, to it and to its -wal and -shm"},
    {EIO,
     "its disk has failed: look at the kernel's messages (dmesg), and copy the log and its -wal "
     "before anything else"},
    {EMFILE, "raise the limit of open files (ulimit -n, LimitNOFILE=)"},
    {ENFILE, "raise the system's limit of open files (fs.file-max)"},
    {ENOMEM, "there is too little memory"},
};

static const char *find_advice(int error)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].error == error)
            return table[i].advice;
    return NULL;
}

const char *advice_for(int error)
{
    const char *advice = find_advice(error);
    return advice ? advice : "nothing was changed: remove the cause and start again";
}

/* Why nothing can be written at path, as an errno; 0 if it can. */
static int try_to_write(const char *path)
{
    if (access(path, F_OK) == 0 && access(path, W_OK) != 0)
        return errno;
    char name[PATH_MAX];
    if (path_beside(name, path, ".encke-try", NULL, 0) != 0)
        return ENAMETOOLONG;
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno == EEXIST ? 0 : errno;
    int error = write(fd, "x", 1) == 1 ? 0 : errno;
    close(fd);
    unlink(name);
    return error;
}

/* The errno that most likely made SQLite fail with rc. When SQLite cannot open a file for writing,
 * it tries to open it for reading, and leaves the errno of that. */
static int likely_error(const char *path, int rc, int error)
{
    int primary = rc & 0xff, found = 0;
    if (primary == SQLITE_CANTOPEN || primary == SQLITE_READONLY || primary == SQLITE_PERM)
        found = try_to_write(path);
    if (found)
        return found;
    if (primary == SQLITE_READONLY || primary == SQLITE_PERM)
        return EACCES;
    if (primary == SQLITE_FULL && error != EDQUOT && error != EFBIG)
        return ENOSPC;
    if (primary == SQLITE_NOMEM || rc == SQLITE_IOERR_NOMEM)
        return ENOMEM;
    if (primary == SQLITE_IOERR && !find_advice(error)) /* left by an earlier call */
        return EIO;
    return error;
}

void advice_write(const char *path, const char *done, int rc, const char *what, char *why,
                  size_t why_size)
{
    int error = errno, primary = rc & 0xff;
    if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB)
        snprintf(why, why_size,
                 "%s is damaged: %s: put back a copy, or move it away to begin a new log", path,
                 what);
    else if (sql_status(rc) == LOG_LOCKED)
        snprintf(why, why_size, "%s is locked by another program: close that first", path);
    else
        snprintf(why, why_size, "%s cannot be %s: %s: %s", path, done, what,
                 advice_for(likely_error(path, rc, error)));
}

void advice_explain(const char *path, const char *done, const char *doing, sqlite3 *db, int rc,
                    char *why, size_t why_size)
{
    char what[SQL_ERROR_SIZE];
    sql_explain(what, sizeof what, doing, db, rc);
    advice_write(path, done, rc, what, why, why_size);
}

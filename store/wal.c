#include "store/wal.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/advice.h"
#include "store/clock.h"
#include "store/path.h"

/* SQLite's unix VFS writes less than 128 KiB in a call. */
enum { STEP = 64 << 10, STEPS_A_SYNC = 256, TELL_MS = 1000 };

static void tell_progress(log_tell *tell, const char *name, int64_t done, int64_t size,
                          int64_t *told_ms)
{
    if (!tell || clock_steady_ms() - *told_ms < TELL_MS)
        return;
    *told_ms = clock_steady_ms();
    char line[PATH_MAX + 100];
    snprintf(line, sizeof line, "%s: %lld of %lld MiB written again before they are trusted", name,
             (long long)(done >> 20), (long long)(size >> 20));
    tell(LOG_TELL_INFO, line);
}

/* Returns SQLite's result code. It syncs now and then, so that little waits for the disk. */
static int rewrite_steps(sqlite3_file *wal, char *step, const char *name, log_tell *tell)
{
    const sqlite3_io_methods *io = wal->pMethods;
    int64_t told_ms = clock_steady_ms();
    sqlite3_int64 size = 0;
    int rc = io->xFileSize(wal, &size);
    for (sqlite3_int64 at = 0; rc == SQLITE_OK && at < size; at += STEP) {
        int len = size - at < STEP ? (int)(size - at) : STEP;
        rc = io->xRead(wal, step, len, at);
        if (rc == SQLITE_OK)
            rc = io->xWrite(wal, step, len, at);
        if (rc == SQLITE_OK && (at / STEP % STEPS_A_SYNC == STEPS_A_SYNC - 1 || at + len == size))
            rc = io->xSync(wal, SQLITE_SYNC_NORMAL);
        tell_progress(tell, name, at + len, size, &told_ms);
    }
    return rc;
}

/* It uses SQLite's own file layer, so that errors mean here what they mean everywhere else. */
static int open_and_rewrite(sqlite3_vfs *vfs, const char *name, log_tell *tell)
{
    sqlite3_file *wal = calloc(1, (size_t)vfs->szOsFile);
    char *step = malloc(STEP);
    int rc = SQLITE_NOMEM, flags = 0;
    if (wal && step)
        rc = vfs->xOpen(vfs, name, wal, SQLITE_OPEN_READWRITE | SQLITE_OPEN_WAL, &flags);
    if (rc == SQLITE_OK && (flags & SQLITE_OPEN_READONLY))
        rc = SQLITE_READONLY;
    if (rc == SQLITE_OK)
        rc = rewrite_steps(wal, step, name, tell);
    if (wal && wal->pMethods)
        wal->pMethods->xClose(wal);
    free(step);
    free(wal);
    return rc;
}

int wal_rewrite(const char *path, log_tell *tell, char *why, size_t why_size)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    char name[PATH_MAX];
    if (path_beside(name, path, "-wal", why, why_size) != 0)
        return -1;
    errno = 0;
    int exists = 0;
    int rc = vfs->xAccess(vfs, name, SQLITE_ACCESS_EXISTS, &exists);
    if (rc == SQLITE_OK && exists)
        rc = open_and_rewrite(vfs, name, tell);
    if (rc == SQLITE_OK)
        return 0;
    advice_explain(path, "opened", "its -wal cannot be written again", NULL, rc, why, why_size);
    return -1;
}

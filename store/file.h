/* file.h - opening the log's file with the connection that writes, and closing it.
 *
 * A file that is missing is made (create.h). One that is there is first looked at with plain reads
 * (header.h), then its write-ahead log is written again (wal.h), and only then SQLite opens it.
 *
 * Used by log_open and log_close. The caller holds the log's lock (lock.h).
 */
#ifndef ENCKE_STORE_FILE_H
#define ENCKE_STORE_FILE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

#include "store/epoch.h"
#include "store/mark.h"
#include "store/pause.h"
#include "store/place.h"
#include "store/shm.h"
#include "store/status.h"

#define FILE_NONE ((struct file){.fd = -1, .shm.fd = -1, .place = PLACE_NONE})

struct file {
    char *path;     /* absolute, without symbolic links */
    sqlite3 *db;    /* the connection that writes and checkpoints */
    int fd;         /* the file itself, locked (lock.h). Closing any descriptor of a file drops all
                       POSIX locks that this process has on it, SQLite's too: so this one is opened
                       before SQLite opens the file and closed after SQLite closed it */
    struct shm shm; /* this and the next belong to the writer once it runs */
    struct place place;
    char epoch[EPOCH_LEN + 1];
    struct pause *pause; /* for the reader's thread; the log's. Set before the writer starts */
    struct mark mark;    /* how far the log had come; opened by mark_open, closed by file_close */
    bool old;            /* it was of an earlier format (migrate.h) */
    bool pending;        /* the write-ahead log of the last run is not all copied yet */
};

/* Makes the log if there is none at path (of path_resolve; the struct takes it over on success),
 * checks it and opens it; then what the last run left in the write-ahead log is on the disk. Blocks
 * on the disk; tell (NULL is allowed) gets lines about what takes long. Returns 0, or -1 with the
 * reason in why, the file untouched and *file FILE_NONE. */
int file_open(struct file *file, char *path, log_tell *tell, char *why, size_t why_size);

/* Closes the connection. If the log can be trusted, it first checkpoints what is left. */
void file_close(struct file *file, bool trusted);

#endif

/* file.h - the log's file: making it, refusing what is not one, opening the writing connection.
 *
 * A new file is built under another name and appears under its own only when it is whole and on the
 * disk, so a crash in between leaves no half-made log. An existing one is first looked at with
 * plain reads, before SQLite, which may write while it opens a database, is let near it: whatever
 * is foreign, newer or cut short stays as it is, byte for byte.
 *
 * Used by log_open and log_close. The caller holds the log's lock (lock.h).
 */
#ifndef ENCKE_STORE_FILE_H
#define ENCKE_STORE_FILE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

#include "store/cursor.h"
#include "store/log.h"
#include "store/mark.h"
#include "store/place.h"
#include "store/shm.h"

struct file {
    char *path;     /* absolute, without symbolic links */
    sqlite3 *db;    /* the connection that writes and checkpoints */
    int fd;         /* the file itself, locked (lock.h). Closing any descriptor of a file drops this
                       process's POSIX locks on it, SQLite's too: so it is opened before SQLite opens
                       it and closed after SQLite closed it */
    struct shm shm; /* this and the next are the writer's, once it runs */
    struct place place;
    char epoch[EPOCH_LEN + 1];
    struct mark mark; /* how far it had come, beside it */
    bool pending;     /* the write-ahead log of the last run is not all copied yet */
};

/* Returns path, absolute and without symbolic links, for free(); the last name need not exist yet.
 * NULL with the reason in why when it leads nowhere. Two paths to one log give one text, hence one
 * lock. */
char *file_resolve(const char *path, char *why, size_t why_size);

/* Makes the log if there is none at path (resolved; the struct takes it over when it succeeds),
 * checks it and opens it; what the last run left in the write-ahead log is on the disk then. Blocks
 * on the disk; tell (NULL is allowed) hears what takes long. Returns 0, or -1 with the reason in
 * why, the file untouched and *file empty. */
int file_open(struct file *file, char *path, log_tell *tell, char *why, size_t why_size);

/* Draws an epoch at random. Returns 0, or -1 with errno. */
int file_draw_epoch(char epoch[EPOCH_LEN + 1]);

/* Closes the connection, checkpointing what is left unless the log is not to be trusted. */
void file_close(struct file *file, bool trusted);

#endif

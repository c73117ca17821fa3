/* place.h - whether the log's files are still where they were, and as long as they were.
 *
 * What is written into a file that was removed, replaced or cut short is gone at the next start.
 * Without the -shm, other programs would make one of their own, whose locks do not meet ours. So
 * the writer checks all files before it acknowledges a commit, and checks the length of the
 * write-ahead log before it makes that longer: four calls of statx(2). While nothing is committed,
 * inotify tells of a file that goes and of a database that is cut short, and until then nobody is
 * woken. (A -shm that is cut short is a SIGBUS: SQLite maps it.)
 *
 * Called by the writer's thread; but place_remember and place_free by log_open and log_close, and
 * place_watch and place_drain by the loop's thread.
 */
#ifndef ENCKE_STORE_PLACE_H
#define ENCKE_STORE_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "store/shm.h"

#define PLACE_NONE ((struct place){.wal_fd = -1, .watch_fd = -1})

struct place {
    const char *path; /* the database's; borrowed */
    const struct shm *shm;
    char *wal;   /* path of the write-ahead log */
    char *index; /* path of the -shm */
    int wal_fd;
    int watch_fd; /* inotify, or -1 */
    dev_t device;
    ino_t inode, wal_inode, index_inode;
    int64_t size;            /* the largest that the database had: SQLite never makes it shorter */
    struct timespec changed; /* the database's time as of our last checkpoint */
    int64_t page_size;
    int64_t wal_size;  /* the write-ahead log's file, in bytes, as of the last check */
    int64_t wal_pages; /* pages in the write-ahead log as of our last commit */
};

/* Remembers the files at path, which SQLite has open; fd is the database, open; shm is borrowed,
 * open. Returns 0, or -1 with the reason in why. */
int place_remember(struct place *place, const char *path, int fd, const struct shm *shm, char *why,
                   size_t why_size);
/* PLACE_NONE is allowed. */
void place_free(struct place *place);

/* To be called after each commit, with the number of pages in the write-ahead log, and after each
 * checkpoint. */
void place_committed(struct place *place, int wal_pages);
void place_checkpointed(struct place *place);

/* What is wrong with which file, for a sentence that begins with its name; NULL: nothing. Blocks no
 * longer than statx(2) does. */
const char *place_trouble(struct place *place, const char **name);

/* Whether the write-ahead log is shorter than what was committed into it; the next commit would
 * make it longer again, with a hole. */
bool place_wal_is_cut(const struct place *place);

/* Whether only the write-ahead log is missing, and nobody has touched the database since: then what
 * the log held can still be copied there, from the file that SQLite has open. */
bool place_can_be_saved(const struct place *place);

/* A descriptor that becomes readable when something happened to the files' names, or when the
 * database was written to; a checkpoint does that, too, and then many times. It is the same each
 * time; -1 if the system has none left. It is made only when somebody asks, as closing it takes the
 * kernel some milliseconds. place_drain empties it. */
int place_watch(struct place *place);
void place_drain(const struct place *place);

#endif

/* place.h - whether the log's files are still where, and as long as, they were.
 *
 * What is written into a file that was removed, replaced or cut short is gone at the next start;
 * and without the -shm other programs would make one of their own, whose locks do not meet ours. So
 * the writer looks before it acknowledges a commit, and at the length of the write-ahead log before
 * it makes one longer: four calls of stat(2). While nothing is committed, inotify tells of a file
 * that goes and of a database that is cut short, without a wake-up before. (A -shm that is cut
 * short is a SIGBUS: SQLite maps it.)
 *
 * The writer's thread, but for place_mark, place_free (log_open, log_close), place_watch and
 * place_drain (the loop's).
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
    const char *path; /* borrowed */
    const struct shm *shm;
    char *wal;   /* its write-ahead log's */
    char *index; /* and the -shm's */
    int wal_fd;
    int watch_fd; /* inotify, or -1 */
    dev_t device;
    ino_t inode, wal_inode, index_inode;
    int64_t size;            /* the most that the database had: nothing of ours makes it shorter */
    struct timespec changed; /* the database, as of our last checkpoint */
    int64_t page_size;
    int64_t wal_size;  /* of the write-ahead log's file, in bytes, as of the last look */
    int64_t wal_pages; /* the write-ahead log's, as of our last commit */
};

/* Remembers the files at path, which SQLite has open, as fd is, the database; borrows shm, open.
 * Returns 0, or -1 with the reason in why. */
int place_mark(struct place *place, const char *path, int fd, const struct shm *shm, char *why,
               size_t why_size);
/* One that is only PLACE_NONE is allowed. */
void place_free(struct place *place);

/* To be told after each commit how many pages the write-ahead log has, and of each checkpoint. */
void place_committed(struct place *place, int wal_pages);
void place_checkpointed(struct place *place);

/* What is wrong with which file, for a sentence that begins with its name; NULL: nothing. Blocks no
 * longer than stat(2) does. */
const char *place_trouble(struct place *place, const char **name);

/* Whether the write-ahead log is shorter than what was committed into it; the next commit would
 * make it longer again, with a hole. */
bool place_wal_is_cut(const struct place *place);

/* Whether only the write-ahead log is missing, and nobody has touched the database since: then
 * what the log held can still be copied there, from the file that SQLite has open. */
bool place_can_be_saved(const struct place *place);

/* A descriptor that is readable once something happened to the files' names, or the database was
 * written to: by a checkpoint, too, and then many times. The same each time; -1 if the system has
 * none left. Closing it takes the kernel some milliseconds, so it is made only for who asks.
 * place_drain empties it. */
int place_watch(struct place *place);
void place_drain(const struct place *place);

#endif

/* shm.h - room for the -shm, the index of the write-ahead log that SQLite maps into memory.
 *
 * SQLite makes that file longer by writing one byte every 4 KiB. If the file system's blocks are
 * smaller, the rest are holes, and when one of them is written to on a full disk the process gets a
 * SIGBUS, not an error. So whole blocks are reserved ahead of what a transaction may need, and a
 * lack of them is an error like any other. (With SQLite's "unix-excl" there is no such file; but
 * then no other program could read or back up a log that is in use.)
 *
 * On a file system that cannot reserve (fallocate(2)) nothing is done. Nor can anything be done
 * about btrfs, which copies a block at each write.
 *
 * shm_open_for and shm_close are called when the log is opened and closed, the rest by the writer's
 * thread.
 */
#ifndef ENCKE_STORE_SHM_H
#define ENCKE_STORE_SHM_H

#include <stddef.h>
#include <stdint.h>

struct shm {
    int fd; /* -1: none. Closed after SQLite closed its own, or SQLite would lose its locks (file.h)
             */
    int64_t reserved; /* bytes */
};

/* Makes the -shm of the log at path, with room for a write-ahead log of that size, unless other
 * programs use it. To be called before SQLite opens the log. Returns 0, or -1 with the reason in
 * why. */
int shm_open_for(struct shm *shm, const char *path, int64_t wal_size, char *why, size_t why_size);
/* To be called after SQLite has closed the log. */
void shm_close(struct shm *shm);

/* Reserves room for a write-ahead log of that many pages: one system call per 4096 pages at most.
 * Returns 0, or -1 with errno set: ENOSPC, EDQUOT, EFBIG. */
int shm_reserve(struct shm *shm, int64_t pages);

/* How many pages the write-ahead log has, as the index says; -1 if that cannot be read. */
int64_t shm_pages(const struct shm *shm);

#endif

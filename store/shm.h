/* shm.h - room for the -shm, the index of the write-ahead log that SQLite maps into memory.
 *
 * SQLite makes that file longer by a byte every 4 KiB. Where the file system's blocks are smaller
 * the rest are holes, and when one is written to on a full disk the process gets a SIGBUS, not an
 * error. So whole blocks are reserved ahead of what a transaction may need, and that there are none
 * is an error like any other. (Without shared memory, SQLite's "unix-excl", there would be no such
 * file; but then no other program could read or back up a log in use, and they may.)
 *
 * A file system that cannot reserve (fallocate(2)) is left to SQLite alone; so is the copying of
 * blocks at each write that btrfs does.
 */
#ifndef ENCKE_STORE_SHM_H
#define ENCKE_STORE_SHM_H

#include <stddef.h>
#include <stdint.h>

struct shm {
    int fd; /* -1: none. Closed after SQLite closed its own, or SQLite's locks would go (file.h) */
    int64_t reserved; /* bytes */
};

/* Before SQLite opens the log at path: makes the -shm with room for the write-ahead log there is,
 * unless other programs use it. Returns 0, or -1 with the reason in why. */
int shm_open_for(struct shm *shm, const char *path, int64_t wal_size, char *why, size_t why_size);
/* After SQLite has closed the log. */
void shm_close(struct shm *shm);

/* Reserves room for a write-ahead log of so many pages; a system call for every 4096 pages at most.
 * Returns 0, or -1 with errno set: ENOSPC, EDQUOT, EFBIG. */
int shm_reserve(struct shm *shm, int64_t pages);

/* How many pages the index says there are in the write-ahead log; -1 if that cannot be read. */
int64_t shm_pages(const struct shm *shm);

#endif

/* lock.h - one process for one log: locks on the file PATH.lock and on the log's file itself.
 *
 * The lock is an flock(2): it ends with the process, however that ends, and nothing has to be
 * cleaned up. The file stays: if it were unlinked, two processes could lock two files of the same
 * name. It holds the owner's process id, for the message to a process that is refused, and after it
 * how far the log had come (mark.h).
 *
 * Used by log_open.
 */
#ifndef ENCKE_STORE_LOCK_H
#define ENCKE_STORE_LOCK_H

#include <stddef.h>

enum { LOCK_OWNER_SIZE = 32 }; /* bytes at the file's beginning; the rest belongs to mark.h */

/* Takes the lock of the log at path without waiting. Returns a descriptor, or -1 with the reason in
 * why. To close the descriptor is to release the lock. */
int lock_take(const char *path, char *why, size_t why_size);

/* Takes the same kind of lock on the log's file itself, open as fd, without waiting: a hard link or
 * a bind mount is another path to the same log, with another lock file. SQLite's own locks are of
 * another kind (POSIX) and do not meet this one. Returns 0, or -1 with the reason in why. The lock
 * ends when fd is closed. */
int lock_file(int fd, const char *path, char *why, size_t why_size);

#endif

/* lock.h - one process a log: the file `<path>.lock`, and the log's file itself.
 *
 * An flock, so it goes with the process however that ends, and nothing has to be cleaned up. The
 * file itself stays: unlinking it would let two processes lock two files of one name. It holds the
 * owner's process id, for the one that is refused, and behind it how far the log had come (mark.h).
 */
#ifndef ENCKE_STORE_LOCK_H
#define ENCKE_STORE_LOCK_H

#include <stddef.h>

enum { LOCK_OWNER_SIZE = 32 }; /* bytes at the file's beginning; what follows is mark.h's */

/* Takes the lock of the log at path without waiting. Returns a descriptor to be closed (which lets
 * go of the lock), or -1 with the reason in why. */
int lock_take(const char *path, char *why, size_t why_size);

/* Takes the same kind of lock on the log's file itself, open as fd, without waiting: a hard link or
 * a bind mount is another path, and so has another lock file, to the same log. SQLite's own locks
 * are of another kind (POSIX) and do not meet it. Returns 0, or -1 with the reason in why. The lock
 * goes when fd is closed. */
int lock_file(int fd, const char *path, char *why, size_t why_size);

#endif

/* wal.h - writes the file of the write-ahead log again at the start, since a failed fsync of the
 * last run may have left pages that only seem to be on the disk.
 *
 * Used by file_open. The caller holds the log's lock (lock.h).
 */
#ifndef ENCKE_STORE_WAL_H
#define ENCKE_STORE_WAL_H

#include <stddef.h>

#include "store/status.h"

/* Writes the write-ahead log of the log at path over itself, byte for byte, and syncs it; does
 * nothing if there is none. To be called before SQLite opens the log.
 *
 * What a program reads of it may be more than the disk holds. After a failed fsync, Linux calls the
 * pages that it could not write clean: they are read as if all were well, and a second fsync has
 * nothing to do and succeeds; after a power cut they are gone. If they had been checkpointed by
 * then, the disk would hold a database that is newer than its write-ahead log, and the older pages
 * of that would be played back over it. Only writing the pages again makes them dirty again.
 *
 * Blocks on the disk, in steps of 64 KiB; each second, tell (NULL is allowed) gets a line about how
 * far it is. Returns 0, or -1 with the reason in why. A crash in between does no harm, as each byte
 * stays what it was. */
int wal_rewrite(const char *path, log_tell *tell, char *why, size_t why_size);

#endif

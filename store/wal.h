/* wal.h - the write-ahead log as a file: what has to be done to it that SQLite does not do.
 *
 * The caller holds the log's lock (lock.h), and its thread owns the log.
 */
#ifndef ENCKE_STORE_WAL_H
#define ENCKE_STORE_WAL_H

#include <stddef.h>

#include "store/log.h"

/* Writes the write-ahead log of the log at path over itself, byte for byte, and syncs it; nothing
 * if there is none. Before SQLite opens the log.
 *
 * What is read of it may be more than the disk holds. After a failed fsync Linux calls the pages
 * that it could not write clean: they are read as if all were well, a second fsync has nothing to
 * do and succeeds, and a power cut takes them back. Had they been checkpointed by then, the disk
 * would hold a database that is newer than its write-ahead log, whose older pages would be played
 * back over it. Only writing them again makes them dirty again.
 *
 * Blocks on the disk, in steps of 64 KiB; tells how far it came each second (tell may be NULL).
 * Returns 0, or -1 with the reason in why. A crash in between does no harm: each byte is the old
 * one. */
int wal_rewrite(const char *path, log_tell *tell, char *why, size_t why_size);

#endif

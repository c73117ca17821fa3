/* create.h - making a new log's file.
 *
 * A new file is built under another name. It gets its own name only when it is whole and on the
 * disk, so a crash in between leaves no half-made log.
 *
 * Used by file_open.
 */
#ifndef ENCKE_STORE_CREATE_H
#define ENCKE_STORE_CREATE_H

#include <stddef.h>

/* Makes an empty log at path, where there is no file, and draws its epoch. The caller holds the
 * log's lock (lock.h). Blocks on the disk. Returns 0, or -1 with the reason in why, and then there
 * is still no file at path. */
int create_log(const char *path, char *why, size_t why_size);

#endif

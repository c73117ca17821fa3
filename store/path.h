/* path.h - the log's path, and the files whose names begin with it.
 *
 * Beside the log at PATH there are PATH-wal and PATH-shm (SQLite's), PATH.lock (lock.h), and for a
 * moment PATH.encke-new (create.h) and PATH.encke-try (advice.h).
 *
 * No state, any thread. All of it may block on the disk, but for path_beside.
 */
#ifndef ENCKE_STORE_PATH_H
#define ENCKE_STORE_PATH_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

/* Returns path, absolute and without symbolic links, for free(); the last name need not exist yet.
 * NULL, with the reason in why, if it leads nowhere. Two paths to one log give the same text, and
 * so the same lock. */
char *path_resolve(const char *path, char *why, size_t why_size);

/* Writes the name of the file beside the log, path with suffix appended. Returns 0, or -1 if that
 * is too long, with the reason in why (NULL is allowed). */
int path_beside(char name[PATH_MAX], const char *path, const char *suffix, char *why,
                size_t why_size);

/* The size of the file at path with suffix appended, or -1 if there is none. */
int64_t path_size(const char *path, const char *suffix);

/* Syncs the directory that holds path, so that the names in it are on the disk. Returns 0, or -1
 * with errno. */
int path_sync_directory(const char *path);

#endif

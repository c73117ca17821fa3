/* A model of the disk under the VFS of the tests (support_vfs.h): what a power cut would leave.
 *
 * Written bytes are dirty, by blocks of 4 KiB, until their file is synced. A sync that fails writes
 * some of its file's dirty blocks and calls all of them clean, as Linux does: what it lost is read
 * as if it were there, no later sync writes it, and only writing it again makes it dirty again. A
 * file that was deleted, or made, is so on the disk only after the next file of its folder was
 * synced for the first time; until then a cut may leave either.
 *
 * The files themselves, in their folder, are what the page cache holds.
 */
#ifndef ENCKE_TESTS_SUPPORT_DISK_H
#define ENCKE_TESTS_SUPPORT_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which of the dirty blocks a failing sync loses; the others are written. */
enum disk_loss { LOSE_ALL, LOSE_FIRST, LOSE_LAST, LOSE_ODD, DISK_LOSSES };

/* Which of the dirty blocks the disk happens to have got when the power fails. */
enum disk_luck { GOT_NONE, GOT_ALL, GOT_SOME, DISK_LUCKS };

/* Begins with the files at path and path-wal as they are, all on the disk; failing syncs lose as
 * said. Nothing is really synced from now on. disk_stop forgets all. */
void disk_start(const char *path, enum disk_loss loss);
void disk_stop(void);
bool disk_on(void);

/* From now on `cut` is called before each write, sync, truncation and deletion; NULL ends it. It
 * may call disk_cut and must not touch the files. */
void disk_each_cut(void (*cut)(void *arg), void *arg);

/* Writes what a power cut at this moment would leave to `to` and `to`-wal; `seed` chooses which
 * blocks GOT_SOME means. */
void disk_cut(const char *to, enum disk_luck luck, unsigned seed);

/* For the VFS. */
void disk_cut_here(void);
void disk_wrote(const char *name, int size, int64_t at);
void disk_synced(const char *name, bool well);
void disk_deleted(const char *name);

#endif

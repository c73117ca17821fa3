/* A SQLite VFS between the store and the disk that fails, or ends the process, at a numbered
 * operation, and keeps an image of what would be left after a power cut. It becomes the default
 * VFS, so the store needs no hook for it. */
#ifndef ENCKE_TESTS_SUPPORT_VFS_H
#define ENCKE_TESTS_SUPPORT_VFS_H

#include <stdbool.h>

enum shim_op { SHIM_WRITE = 1, SHIM_SYNC = 2, SHIM_READ = 4, SHIM_MAP = 8, SHIM_OPEN = 16 };

enum { SHIM_CRASH = -1 }; /* for rc: write half of what is to be written, then _exit(0) */

/* Makes it the default VFS, with no fault armed. */
void shim_install(void);

/* For cmocka_unit_test_setup_teardown: shim_install, and support_store.h's store_setup or
 * store_teardown. */
int shim_setup(void **state);
int shim_teardown(void **state);

/* The nth operation (from 1) of the kinds in ops gives the result code rc; with `on`, all after it
 * too. */
void shim_arm(int ops, unsigned nth, int rc, bool on);
/* From now on, until shim_install, one that fails leaves this errno. */
void shim_errno(int error);
void shim_disarm(void);

/* How often the armed fault was met. */
unsigned shim_met(void);
/* How many syncs there were since shim_install or shim_arm. */
unsigned shim_syncs(void);

/* From now on each read of the reader's thread (store/reads.h) stops, until shim_go or
 * shim_install. shim_step lets the one that is stopped, if any, go on, alone; shim_wait waits until
 * one is. */
void shim_stop(void);
void shim_go(void);
void shim_step(void);
void shim_wait(void);

/* How often that thread has begun to read a page from the log, since shim_install. */
unsigned shim_pages(void);

/* From now on a file that is synced is then copied to dir, under its own name: what a disk that
 * keeps nothing but what was synced would hold. NULL ends it. */
void shim_image(const char *dir);

#endif

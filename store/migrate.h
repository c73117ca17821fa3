/* migrate.h - brings the file of an earlier format to today's (schema.h), when the log is opened.
 *
 * Format 1 had an SQL index over the channels of all messages, and a row of `log` with the head. It
 * is brought to format 2 in one transaction: before its COMMIT the file is of format 1, after it of
 * format 2. No message is copied, and every cursor stays good.
 *
 * Called while the log is opened, on the connection that writes.
 */
#ifndef ENCKE_STORE_MIGRATE_H
#define ENCKE_STORE_MIGRATE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

#include "store/shm.h"
#include "store/status.h"

enum { MIGRATE_OLDEST = 1 }; /* the oldest user_version that can be brought to today's */

/* Sets *needed if the file is of an earlier format, and checks then that its tables are exactly
 * those of that format. Changes nothing. Returns as schema_check. */
int migrate_check(sqlite3 *db, bool *needed, char *why, size_t why_size);

/* Brings the file, which migrate_check has found to need it, to today's format. It takes about a
 * second for each million of messages: tell (NULL is allowed) gets a line once a second has passed,
 * and then every few. path is for these lines. Room is reserved in shm (shm.h). Blocks on the disk.
 * Returns as schema_check; after a failure the file is as it was. */
int migrate_run(sqlite3 *db, struct shm *shm, const char *path, log_tell *tell, char *why,
                size_t why_size);

#endif

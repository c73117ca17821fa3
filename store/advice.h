/* advice.h - what to do about a log that cannot be opened or made.
 *
 * Each cause has its own advice, and no advice loses a sound log. A log is called damaged, and may
 * be moved away, only if SQLite or a check of the tables has proved it. What a full, failing or
 * forbidden disk refuses says nothing about the log.
 *
 * Used while a log is opened or made. May block on the disk.
 */
#ifndef ENCKE_STORE_ADVICE_H
#define ENCKE_STORE_ADVICE_H

#include <sqlite3.h>
#include <stddef.h>

/* What to do about an errno, for the end of a sentence. Static, never NULL. */
const char *advice_for(int error);

/* Writes one sentence into why: the log at path cannot be `done` ("opened", "made"), for the reason
 * what (a text of sql_explain or of schema.h), and what to do. rc is SQLite's code, errno as SQLite
 * left it. If SQLite hides why it could not write, this makes and removes a file beside the log. */
void advice_write(const char *path, const char *done, int rc, const char *what, char *why,
                  size_t why_size);

/* The same with what SQLite says of rc, just returned on db (NULL is allowed) while `doing`. */
void advice_explain(const char *path, const char *done, const char *doing, sqlite3 *db, int rc,
                    char *why, size_t why_size);

#endif

/* advice.h - what to do about a log that cannot be opened or made.
 *
 * Each cause has its own advice, and none of them loses a sound log: only what SQLite, or a look at
 * the tables, proved to be damaged is called so, and may be moved away. What a full, failing or
 * forbidden disk refused says nothing of the log.
 */
#ifndef ENCKE_STORE_ADVICE_H
#define ENCKE_STORE_ADVICE_H

#include <sqlite3.h>
#include <stddef.h>

/* What to do about an errno, for the end of a sentence. Static, never NULL. */
const char *advice_for(int error);

/* Writes one sentence into why: the log at path cannot be `done` ("opened", "made"), because of
 * what (a text of sql_explain or of schema.h), and what to do. rc is SQLite's code, errno as SQLite
 * left it. Makes and removes a file beside the log where SQLite hides why it could not. */
void advice_write(const char *path, const char *done, int rc, const char *what, char *why,
                  size_t why_size);

/* The same with what SQLite says of rc, just returned on db (NULL is allowed) while `doing`. */
void advice_explain(const char *path, const char *done, const char *doing, sqlite3 *db, int rc,
                    char *why, size_t why_size);

#endif

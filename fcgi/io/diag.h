/* diag.h - what the daemon tells its operator: one line for each event, on stderr, with a level.
 *
 *     encke: warn: 20000 requests are held, the limit (--max-holds): refusing more
 *
 * If stderr is systemd's journal, each line begins with its priority, as sd-daemon(3) says, for
 * `journalctl -p err`.
 *
 * May be called by any thread. Never blocks: a line for which a pipe has no room is dropped. Of
 * each format a hundred lines a minute are printed, and then how many more were left out
 * (causes.h); errors are always printed. Nothing that a client sent is ever printed.
 */
#ifndef ENCKE_FCGI_DIAG_H
#define ENCKE_FCGI_DIAG_H

#include <stdbool.h>

enum diag_level { DIAG_ERROR, DIAG_WARN, DIAG_INFO, DIAG_DEBUG };

/* Reads the name of a level, "error", "warn", "info" or "debug". Returns false for any other. */
bool diag_level_parse(const char *name, enum diag_level *level);

/* Finds out whether stderr is the journal. To be called before any thread is started. */
void diag_open(void);

/* Prints how many lines were left out in the last minutes. */
void diag_close(void);

/* Lines above this level are not printed. Until it is set it is DIAG_INFO. */
void diag_level_set(enum diag_level level);

/* Replaces each byte of text that is not printable ASCII by a '?'. */
void diag_printable(char *text);

/* Prints one line; format is a literal without a newline. Keeps errno. */
void diag(enum diag_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

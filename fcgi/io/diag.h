/* diag.h - what the daemon says to its operator: one line an event on stderr, with a level.
 *
 *     encke: warn: 20000 requests are held, the limit (--max-holds): refusing more
 *
 * To systemd's journal each line says its priority, as sd-daemon(3) has it: `journalctl -p err`.
 *
 * Any thread. Never blocks: a line for which a pipe has no room is dropped. Of lines of one format,
 * a hundred a minute are printed, and then how many were left out (causes.h); errors always.
 * Nothing that a client sent is ever printed.
 */
#ifndef ENCKE_FCGI_DIAG_H
#define ENCKE_FCGI_DIAG_H

#include <stdbool.h>

enum diag_level { DIAG_ERROR, DIAG_WARN, DIAG_INFO, DIAG_DEBUG };

/* The names of the levels, "error" to "debug"; false if name is none of them. */
bool diag_level_parse(const char *name, enum diag_level *level);

/* Looks where stderr leads. Before any thread is started. */
void diag_open(void);

/* Says what was left out in the latest minutes. */
void diag_close(void);

/* Lines above this level are not printed. DIAG_INFO until set. */
void diag_level_set(enum diag_level level);

/* Makes text fit for a line: a '?' for each byte that is not printable ASCII. */
void diag_printable(char *text);

/* Prints one line; the format, a literal, needs no newline. Keeps errno. */
void diag(enum diag_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

/* cursor.h - where a reader stands in the log, as text and as a value.
 *
 * A cursor is `epoch-seq`: the log's epoch (epoch.h), a hyphen, and the decimal number of the last
 * message seen. There is one sequence for the whole log, so one cursor serves any set of channels.
 * It is opaque to clients, and they may send anything: every byte string is some kind of cursor,
 * none is an error.
 *
 * Pure functions: no state, any thread.
 */
#ifndef ENCKE_STORE_CURSOR_H
#define ENCKE_STORE_CURSOR_H

#include <stddef.h>
#include <stdint.h>

#include "store/decimal.h"
#include "store/epoch.h"

enum { CURSOR_SIZE = EPOCH_LEN + 1 + DECIMAL_SIZE }; /* bytes that hold any cursor with its NUL */

enum cursor_kind {
    CURSOR_START,  /* no cursor: everything that is retained */
    CURSOR_NOW,    /* only what is appended from now on */
    CURSOR_AT,     /* everything newer than seq */
    CURSOR_UNKNOWN /* not a cursor of this log: everything retained, and the reader is told */
};

struct cursor {
    enum cursor_kind kind;
    uint64_t seq; /* CURSOR_AT only; it may be ahead of the log: log_read sees to that */
};

/* Reads a cursor of len bytes of text, for a log with this epoch (EPOCH_LEN digits). NULL or no
 * bytes give CURSOR_START, "now" CURSOR_NOW. Only the exact text that cursor_print makes, with a
 * seq that fits a signed 64-bit number, gives CURSOR_AT. Never fails. */
struct cursor cursor_parse(const char *text, size_t len, const char *epoch);

/* Writes the text of seq in epoch, NUL-terminated, and returns text. */
char *cursor_print(char text[CURSOR_SIZE], const char *epoch, uint64_t seq);

#endif

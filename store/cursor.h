/* cursor.h - where a reader stands in the log, as text and as a value.
 *
 * A cursor is `epoch-seq`: twelve lower-case hexadecimal digits drawn at random when the log was
 * created, a hyphen, and the decimal number of the last message seen. There is one sequence for
 * the whole log, so one cursor serves any set of channels. It is opaque to clients, which may
 * send us anything at all: every byte string is some kind of cursor, none is an error.
 *
 * Pure functions: no state, any thread.
 */
#ifndef ENCKE_STORE_CURSOR_H
#define ENCKE_STORE_CURSOR_H

#include <stddef.h>
#include <stdint.h>

#include "store/decimal.h"

enum {
    EPOCH_LEN = 12,                            /* digits, without a NUL */
    CURSOR_SIZE = EPOCH_LEN + 1 + DECIMAL_SIZE /* bytes that hold any cursor's text with its NUL */
};

enum cursor_kind {
    CURSOR_START,  /* none given: everything that is retained */
    CURSOR_NOW,    /* only what comes */
    CURSOR_AT,     /* everything newer than seq */
    CURSOR_UNKNOWN /* given, but not ours: everything retained, and the reader is told */
};

struct cursor {
    enum cursor_kind kind;
    uint64_t seq; /* CURSOR_AT only; may be ahead of the log, which only log_read can tell */
};

/* Reads len bytes of text (NULL or no bytes: CURSOR_START; "now": CURSOR_NOW) against the log's
 * epoch (EPOCH_LEN digits). Only the exact text that cursor_print makes, with a seq that fits a
 * signed 64-bit number, is CURSOR_AT. Never fails. */
struct cursor cursor_parse(const char *text, size_t len, const char *epoch);

/* Writes the text of seq in epoch, NUL-terminated, and returns text. */
char *cursor_print(char text[CURSOR_SIZE], const char *epoch, uint64_t seq);

#endif

/* decimal.h - whole numbers as text, for what is written with every message and answer: snprintf
 * took a sixth of the loop's instructions there.
 *
 * Pure functions: no state, any thread.
 */
#ifndef ENCKE_STORE_DECIMAL_H
#define ENCKE_STORE_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DECIMAL_SIZE = 20 + 1 }; /* bytes that hold any 64-bit number's text with its NUL */

/* Writes n, NUL-terminated, and returns the number of its digits. */
size_t decimal_print(char text[DECIMAL_SIZE], uint64_t n);

/* Reads text[0, len): decimal digits and nothing else. Returns false, and leaves *n alone, if it is
 * something else, empty, or above 2^64 - 1. */
bool decimal_parse(const char *text, size_t len, uint64_t *n);

#endif

/* decimal.h - whole numbers as text, for what is written with every message and answer: there
 * snprintf took a sixth of the loop's instructions.
 *
 * Pure functions: no state, any thread.
 */
#ifndef ENCKE_STORE_DECIMAL_H
#define ENCKE_STORE_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

enum { DECIMAL_SIZE = 20 + 1 }; /* bytes that hold any 64-bit number's text with its NUL */

/* Writes n, NUL-terminated, and returns how many digits that were. */
size_t decimal_print(char text[DECIMAL_SIZE], uint64_t n);

#endif

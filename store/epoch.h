/* epoch.h - the name of one life of a log: twelve lower-case hexadecimal digits.
 *
 * A log gets an epoch at random when its file is made, and a new one when an older copy of the file
 * was put back (mark.h). Every cursor begins with it, so a cursor of another log, or of a log that
 * was put back, is recognised.
 *
 * No state, any thread.
 */
#ifndef ENCKE_STORE_EPOCH_H
#define ENCKE_STORE_EPOCH_H

#include <stdbool.h>

enum { EPOCH_LEN = 12 }; /* digits, without a NUL */

/* Draws an epoch at random, NUL-terminated. Returns 0, or -1 with errno. */
int epoch_draw(char epoch[EPOCH_LEN + 1]);

/* Whether text (NUL-terminated; NULL is allowed) is the text of an epoch. */
bool epoch_is_valid(const char *text);

#endif

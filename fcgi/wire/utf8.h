/* utf8.h - what is UTF-8 (RFC 3629, 4), in text that may still be coming. Pure. */
#ifndef ENCKE_FCGI_UTF8_H
#define ENCKE_FCGI_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* How many of the bytes, from the first, are whole characters. What follows them, if anything, is
 * the beginning of a character; or, with *wrong, nothing that can become one. */
size_t utf8_prefix(const char *bytes, size_t len, bool *wrong);

#endif

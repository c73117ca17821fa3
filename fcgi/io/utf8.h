/* utf8.h - where UTF-8 ends (RFC 3629, 4), in text of which more may still come. Pure. */
#ifndef ENCKE_FCGI_UTF8_H
#define ENCKE_FCGI_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Returns how many of the bytes, counted from the first, are whole characters. The bytes after them
 * are the beginning of one more character; or, with *wrong set, bytes that no character begins
 * with. */
size_t utf8_prefix(const char *bytes, size_t len, bool *wrong);

#endif

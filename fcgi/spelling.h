/* spelling.h - what somebody may have meant who misspelt a name. Pure. */
#ifndef ENCKE_FCGI_SPELLING_H
#define ENCKE_FCGI_SPELLING_H

#include <stddef.h>

/* How many letters to put in, take out or change until name is the written one (Levenshtein),
 * whatever their case. Of what was written, len bytes, the first 64 count. */
size_t spelling_distance(const char *name, const char *written, size_t len);

#endif

/* spelling.h - how near a misspelt name is to another. Pure. */
#ifndef ENCKE_FCGI_SPELLING_H
#define ENCKE_FCGI_SPELLING_H

#include <stddef.h>

/* How many letters must be inserted, deleted or changed to make one name of the other (Levenshtein
 * distance); upper and lower case do not differ. written has len bytes, of which the first 64 are
 * compared. */
size_t spelling_distance(const char *name, const char *written, size_t len);

#endif

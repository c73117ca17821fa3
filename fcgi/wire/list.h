/* list.h - the texts of which HTTP's header fields are made: compared in any case, with blanks
 * around them, in lists that commas part (RFC 9110, 5.6).
 *
 * Pure.
 */
#ifndef ENCKE_FCGI_LIST_H
#define ENCKE_FCGI_LIST_H

#include <stdbool.h>

#include "fcgi/wire/form.h"

/* Whether they are the same but for the case of their letters. */
bool text_same(struct text a, struct text b);

/* The same with a NUL-terminated word. */
bool text_named(struct text text, const char *word);

/* Text without the blanks and tabs around it; no NUL need stand behind it. */
struct text text_trim(struct text text);

/* Takes the next element, trimmed, off a list. False at its end. */
bool list_next(struct text *list, struct text *element);

/* Whether the word is one of the list's elements, in any case. */
bool list_has(struct text list, const char *word);

#endif

/* text.h - text with its length: compared, trimmed, split and checked, without a copy.
 *
 * A struct text points into memory that belongs to somebody else. It may contain NULs.
 *
 * Pure.
 */
#ifndef ENCKE_FCGI_TEXT_H
#define ENCKE_FCGI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
    const char *bytes; /* NULL: the text is absent, which is not the same as empty */
    size_t len;
};

/* The text of a NUL-terminated string; absent if the string is NULL. */
static inline struct text text_of(const char *string)
{
    return (struct text){string, string ? strlen(string) : 0};
}

/* Whether the bytes are the same. An absent text equals nothing. */
bool text_equal(struct text a, struct text b);
bool text_is(struct text text, const char *word); /* word: NUL-terminated, as below */

/* The same, but upper and lower case of ASCII letters do not differ. */
bool text_equal_any_case(struct text a, struct text b);
bool text_is_any_case(struct text text, const char *word);

/* Whether text is UTF-8 (RFC 3629). A NUL is; a surrogate is not. */
bool text_is_utf8(struct text text);

/* Reads a whole number: decimal digits and nothing else. Returns false, and leaves *number alone,
 * if text is something else, empty, absent, or above 2^64 - 1. */
bool text_number(struct text text, uint64_t *number);

/* What a hexadecimal digit, in either case, stands for; -1 if c is none. */
int hex_digit(char c);

/* The text without spaces and tabs at its ends. */
struct text text_trim(struct text text);

/* Moves the part before the first `separator` from *text to *part, and drops the separator. If
 * there is none, moves all of *text and returns false. */
bool text_split(struct text *text, char separator, struct text *part);

/* ---- lists whose elements are separated by commas (RFC 9110, 5.6.1) ---- */

/* Moves the first element, trimmed, from *list to *element; it may be empty. Returns false when the
 * list is empty. */
bool text_list_next(struct text *list, struct text *element);

/* Whether word is an element of the list, in any case. */
bool text_list_has_any_case(struct text list, const char *word);

#endif

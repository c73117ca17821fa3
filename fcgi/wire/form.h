/* form.h - the fields of application/x-www-form-urlencoded text: query strings and form bodies.
 *
 * Decoded as the WHATWG URL standard says (5.1): split at '&', then at the first '=', '+' is a
 * space, %XX a byte, and a '%' that is no such escape stands for itself. Values are any bytes,
 * NULs included; what they may be is the caller's business.
 *
 * Pure; works in place.
 */
#ifndef ENCKE_FCGI_FORM_H
#define ENCKE_FCGI_FORM_H

#include <stdbool.h>
#include <stddef.h>

#include "fcgi/io/text.h"

enum { FORM_FIELDS_MAX = 1024 };

struct field {
    struct text name; /* a NUL follows the bytes, here and in value */
    struct text value;
};

struct form {
    size_t count;
    bool overflow; /* there were more than FORM_FIELDS_MAX fields; the rest is missing */
    struct field fields[FORM_FIELDS_MAX];
};

/* Decodes text[0, len) in place; text[len] must be writable. The fields point into text. */
void form_parse(struct form *form, char *text, size_t len);

/* The value of the first field of that name; absent (NULL) if there is none. */
struct text form_get(const struct form *form, const char *name);

/* The name of a field that both have; absent if there is none. */
struct text form_shared(const struct form *a, const struct form *b);

#endif

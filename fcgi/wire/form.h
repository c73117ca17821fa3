/* form.h - the fields of application/x-www-form-urlencoded text: query strings and form bodies.
 *
 * They are decoded as the WHATWG URL standard says (5.1): the text is split at each '&', a field at
 * its first '='; '+' is a space, %XX is a byte, and any other '%' is itself. A value may have any
 * bytes, NULs included: the caller checks what it allows.
 *
 * Pure; decodes in place.
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
    bool overflow; /* there were more than FORM_FIELDS_MAX fields: the rest is missing */
    struct field fields[FORM_FIELDS_MAX];
};

/* Decodes text[0, len) in place; text[len] must be writable. The fields point into text. */
void form_parse(struct form *form, char *text, size_t len);

/* The value of the first field of that name; absent if there is none. */
struct text form_get(const struct form *form, const char *name);

/* The name of a field that both forms have; absent if there is none. */
struct text form_shared(const struct form *a, const struct form *b);

#endif

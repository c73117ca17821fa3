#include "fcgi/wire/form.h"

#include <stdlib.h>
#include <string.h>

static char *first_encoded(char *from, char *end)
{
    char *percent = memchr(from, '%', (size_t)(end - from));
    if (percent)
        end = percent;
    char *plus = memchr(from, '+', (size_t)(end - from));
    return plus ? plus : end;
}

/* Decodes [from, end) in place and appends a NUL; *end must be writable. */
static struct text decode_in_place(char *from, char *end)
{
    char *out = first_encoded(from, end);
    for (char *in = out; in < end; in++) {
        int high, low;
        if (*in == '+') {
            *out++ = ' ';
        } else if (*in == '%' && end - in > 2 && (high = hex_digit(in[1])) >= 0 &&
                   (low = hex_digit(in[2])) >= 0) {
            *out++ = (char)(high << 4 | low);
            in += 2;
        } else {
            *out++ = *in;
        }
    }
    *out = '\0';
    return (struct text){from, (size_t)(out - from)};
}

void form_parse(struct form *form, char *text, size_t len)
{
    form->count = 0;
    form->overflow = false;
    char *end = text + len;
    for (char *next, *at = text; at < end; at = next + 1) {
        next = memchr(at, '&', (size_t)(end - at));
        if (!next)
            next = end;
        if (next == at)
            continue;
        if (form->count == FORM_FIELDS_MAX) {
            form->overflow = true;
            return;
        }
        char *equals = memchr(at, '=', (size_t)(next - at));
        struct field *field = &form->fields[form->count++];
        field->value = equals ? decode_in_place(equals + 1, next) : (struct text){"", 0};
        field->name = decode_in_place(at, equals ? equals : next);
    }
}

struct text form_get(const struct form *form, const char *name)
{
    for (size_t i = 0; i < form->count; i++)
        if (text_is(form->fields[i].name, name))
            return form->fields[i].value;
    return (struct text){0};
}

static int compare_names(const void *a, const void *b)
{
    const struct text *one = *(const struct text *const *)a,
                      *other = *(const struct text *const *)b;
    if (one->len != other->len)
        return one->len < other->len ? -1 : 1;
    return memcmp(one->bytes, other->bytes, one->len);
}

/* Sorts one form's names and searches for the other's: to compare each with each would take
 * milliseconds if the forms are full. */
struct text form_shared(const struct form *a, const struct form *b)
{
    const struct text *names[FORM_FIELDS_MAX];
    for (size_t i = 0; i < a->count && b->count > 0; i++)
        names[i] = &a->fields[i].name;
    if (b->count > 0)
        qsort(names, a->count, sizeof *names, compare_names);
    for (size_t i = 0; i < b->count && a->count > 0; i++) {
        const struct text *name = &b->fields[i].name;
        if (bsearch(&name, names, a->count, sizeof *names, compare_names))
            return *name;
    }
    return (struct text){0};
}

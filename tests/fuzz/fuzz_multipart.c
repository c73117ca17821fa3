/* Any bytes as multipart/form-data: refused in words, or fields that lie in the body and are read
 * as the same when they are written again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/io/buf.h"
#include "fcgi/wire/multipart.h"
#include "tests/fuzz/fuzz.h"

static bool within(struct text text, const char *from, size_t len)
{
    return text.bytes >= from && text.bytes + text.len <= from + len &&
           text.bytes[text.len] == '\0';
}

static bool same(struct text a, struct text b)
{
    return a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0;
}

/* A boundary that no value has. */
static void choose_boundary(char boundary[24], const struct form *form)
{
    for (unsigned number = 0;; number++) {
        bool free = true;
        snprintf(boundary, 24, "again%u", number);
        for (size_t i = 0; i < form->count; i++)
            free = free && !memmem(form->fields[i].value.bytes, form->fields[i].value.len, boundary,
                                   strlen(boundary));
        if (free)
            return;
    }
}

/* Whether there is but one way to write the names. */
static bool plain_names(const struct form *form)
{
    for (size_t i = 0; i < form->count; i++)
        if (memchr(form->fields[i].name.bytes, '"', form->fields[i].name.len) ||
            memchr(form->fields[i].name.bytes, '\\', form->fields[i].name.len))
            return false;
    return true;
}

static void read_again(const struct form *form)
{
    static struct form again;
    char boundary[24], type[100];
    struct buf out = {0};
    const char *why = NULL;
    choose_boundary(boundary, form);
    for (size_t i = 0; i < form->count; i++) {
        struct text name = form->fields[i].name, value = form->fields[i].value;
        buf_printf(&out, "--%s\r\nContent-Disposition: form-data; name=\"", boundary);
        buf_add(&out, name.bytes, name.len);
        buf_puts(&out, "\"\r\n\r\n");
        buf_add(&out, value.bytes, value.len);
        buf_puts(&out, "\r\n");
    }
    buf_printf(&out, "--%s--\r\n", boundary);
    snprintf(type, sizeof type, "multipart/form-data; boundary=%s", boundary);
    buf_add(&out, "", 1);
    int refused = multipart_parse(&again, type, out.bytes, out.len - 1, &why);
    CLAIM(refused == 0, "written again it is refused: %s", why);
    CLAIM(again.count == form->count, "%zu fields became %zu", form->count, again.count);
    for (size_t i = 0; i < form->count; i++)
        CLAIM(same(again.fields[i].name, form->fields[i].name) &&
                  same(again.fields[i].value, form->fields[i].value),
              "field %zu became another", i);
    buf_free(&out);
}

/* The first line is the content type's end, the rest the body. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct form form;
    struct buf type = {0};
    const char *why = NULL;
    const uint8_t *line = len > 0 ? memchr(bytes, '\n', len) : NULL;
    size_t type_len = line ? (size_t)(line - bytes) : 0, from = line ? type_len + 1 : 0;
    if (type_len > 200 || memchr(bytes, '\0', type_len))
        return 0;
    buf_puts(&type, "multipart/form-data; boundary=");
    buf_add(&type, bytes, type_len);
    buf_add(&type, "", 1);
    char *body = fuzz_copy(bytes + from, len - from);
    int refused = multipart_parse(&form, type.bytes, body, len - from, &why);
    CLAIM(refused == 0 || refused == 400 || refused == 415, "status %d", refused);
    if (refused != 0) {
        CLAIM(why && *why && !strpbrk(why, "\"\\"), "it is refused with %s", why ? why : "no word");
        CLAIM(form.count == 0, "refused, but %zu fields", form.count);
    }
    CLAIM(form.count <= MULTIPART_FIELDS_MAX, "%zu fields", form.count);
    for (size_t i = 0; i < form.count; i++)
        CLAIM(within(form.fields[i].name, body, len - from) &&
                  within(form.fields[i].value, body, len - from),
              "field %zu is not in the body", i);
    if (refused == 0 && plain_names(&form))
        read_again(&form);
    free(body);
    buf_free(&type);
    return 0;
}

/* Any bytes as a form, as a URI, and as a cursor. */
#include <stdlib.h>
#include <string.h>

#include "fcgi/io/buf.h"
#include "fcgi/wire/form.h"
#include "fcgi/wire/request.h"
#include "store/cursor.h"
#include "tests/fuzz/fuzz.h"

static bool within(struct text text, const char *from, size_t len)
{
    return text.len == 0 || (text.bytes >= from && text.bytes + text.len <= from + len);
}

static void put_encoded(struct buf *out, struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        buf_printf(out, "%%%02x", (unsigned char)text.bytes[i]);
}

/* What was read, written with every byte encoded, is read as the same. */
static void read_again(const struct form *form)
{
    static struct form again;
    struct buf out = {0};
    for (size_t i = 0; i < form->count; i++) {
        buf_puts(&out, i > 0 ? "&" : "");
        put_encoded(&out, form->fields[i].name);
        buf_puts(&out, "=");
        put_encoded(&out, form->fields[i].value);
    }
    buf_add(&out, "", 1);
    form_parse(&again, out.bytes, out.len - 1);
    CLAIM(again.count == form->count && !again.overflow, "%zu fields became %zu", form->count,
          again.count);
    for (size_t i = 0; i < form->count; i++) {
        const struct field *one = &form->fields[i], *other = &again.fields[i];
        CLAIM(one->name.len == other->name.len && one->value.len == other->value.len &&
                  memcmp(one->name.bytes, other->name.bytes, one->name.len) == 0 &&
                  memcmp(one->value.bytes, other->value.bytes, one->value.len) == 0,
              "field %zu became another", i);
    }
    buf_free(&out);
}

static void as_form(const uint8_t *bytes, size_t len)
{
    static struct form form;
    char *text = fuzz_copy(bytes, len);
    form_parse(&form, text, len);
    CLAIM(form.count <= FORM_FIELDS_MAX, "%zu fields", form.count);
    for (size_t i = 0; i < form.count; i++) {
        CLAIM(within(form.fields[i].name, text, len) && within(form.fields[i].value, text, len),
              "field %zu is not in the text", i);
        CLAIM(form.fields[i].name.bytes[form.fields[i].name.len] == '\0', "no NUL behind a name");
        CLAIM(form.fields[i].value.bytes[form.fields[i].value.len] == '\0', "nor a value");
    }
    read_again(&form);
    free(text);
}

static void as_cursor(const uint8_t *bytes, size_t len)
{
    static const char epoch[] = "0123456789ab";
    char *text = fuzz_copy(bytes, len), again[CURSOR_SIZE];
    struct cursor cursor = cursor_parse(text, len, epoch);
    CLAIM((cursor.kind == CURSOR_START) == (len == 0), "only nothing is the start");
    if (cursor.kind == CURSOR_AT) {
        cursor_print(again, epoch, cursor.seq);
        CLAIM(strlen(again) == len && memcmp(again, text, len) == 0, "%s is read from %s", again,
              text);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    as_form(bytes, len);
    as_cursor(bytes, len);
    return 0;
}

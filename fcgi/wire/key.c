#include "fcgi/wire/key.h"

static const char KEY_RULE[] =
    "a key (once, Idempotency-Key) is 1 to 128 bytes of UTF-8 without control characters";

/* U+0000 to U+001F, U+007F to U+009F. */
static bool has_control_character(struct text text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = (uint8_t)text.bytes[i];
        if (byte < 0x20 || byte == 0x7f ||
            (byte == 0xc2 && i + 1 < text.len && (uint8_t)text.bytes[i + 1] < 0xa0))
            return true;
    }
    return false;
}

const char *key_complaint(struct text key)
{
    if (!key.bytes)
        return NULL;
    bool fits = key.len >= 1 && key.len <= KEY_MAX && text_is_utf8(key);
    return fits && !has_control_character(key) ? NULL : KEY_RULE;
}

/* Copies the content of a string in quotes. Returns how many bytes that are; 0 if it is empty, too
 * long, or not as the RFC has it. */
static size_t copy_quoted(char key[KEY_MAX], struct text value)
{
    size_t len = 0, last = value.len - 1;
    if (last == 0 || value.bytes[last] != '"')
        return 0;
    for (size_t i = 1; i < last; i++) {
        char c = value.bytes[i];
        if (c < ' ' || c > '~' || c == '"' || len == KEY_MAX)
            return 0;
        if (c == '\\') {
            c = value.bytes[++i];
            if (i == last || (c != '"' && c != '\\'))
                return 0;
        }
        key[len++] = c;
    }
    return len;
}

static size_t copy_plain(char key[KEY_MAX], struct text value)
{
    if (value.len > KEY_MAX)
        return 0;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.bytes[i];
        if (c <= ' ' || c > '~' || strchr("\"\\,;", c))
            return 0;
        key[i] = c;
    }
    return value.len;
}

const char *key_find(struct text field, struct text header, struct key_room *room, struct text *key)
{
    *key = field;
    if (header.bytes) {
        bool quoted = header.len > 0 && header.bytes[0] == '"';
        size_t len = quoted ? copy_quoted(room->bytes, header) : copy_plain(room->bytes, header);
        struct text named = {room->bytes, len};
        if (len == 0)
            return "Idempotency-Key is a string in quotes, or a word without any, of 1 to 128 "
                   "ASCII characters";
        if (field.bytes && !text_equal(field, named))
            return "once and Idempotency-Key name different keys";
        *key = named;
    }
    return NULL;
}

#include "fcgi/io/text.h"

#include <strings.h>

#include "fcgi/io/utf8.h"
#include "store/decimal.h"

bool text_equal(struct text a, struct text b)
{
    return a.bytes && b.bytes && a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0;
}

bool text_is(struct text text, const char *word)
{
    return text_equal(text, text_of(word));
}

bool text_equal_any_case(struct text a, struct text b)
{
    return a.bytes && b.bytes && a.len == b.len && strncasecmp(a.bytes, b.bytes, a.len) == 0;
}

bool text_is_any_case(struct text text, const char *word)
{
    return text_equal_any_case(text, text_of(word));
}

bool text_is_utf8(struct text text)
{
    bool wrong;
    return utf8_prefix(text.bytes, text.len, &wrong) == text.len;
}

bool text_number(struct text text, uint64_t *number)
{
    return decimal_parse(text.bytes, text.len, number);
}

int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct text text_trim(struct text text)
{
    while (text.len > 0 && is_blank(text.bytes[0])) {
        text.bytes++;
        text.len--;
    }
    while (text.len > 0 && is_blank(text.bytes[text.len - 1]))
        text.len--;
    return text;
}

bool text_split(struct text *text, char separator, struct text *part)
{
    const char *at = text->len > 0 ? memchr(text->bytes, separator, text->len) : NULL;
    size_t len = at ? (size_t)(at - text->bytes) : text->len;
    size_t taken = len + (at != NULL);
    *part = (struct text){text->bytes, len};
    text->bytes += taken;
    text->len -= taken;
    return at != NULL;
}

bool text_list_next(struct text *list, struct text *element)
{
    if (list->len == 0)
        return false;
    text_split(list, ',', element);
    *element = text_trim(*element);
    return true;
}

bool text_list_has_any_case(struct text list, const char *word)
{
    struct text element;
    while (text_list_next(&list, &element))
        if (text_is_any_case(element, word))
            return true;
    return false;
}

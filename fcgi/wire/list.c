#include "fcgi/wire/list.h"

#include <string.h>
#include <strings.h>

bool text_same(struct text a, struct text b)
{
    return a.len == b.len && strncasecmp(a.bytes, b.bytes, a.len) == 0;
}

bool text_named(struct text text, const char *word)
{
    return text_same(text, (struct text){word, strlen(word)});
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

struct text text_trim(struct text text)
{
    while (text.len > 0 && blank(text.bytes[0])) {
        text.bytes++;
        text.len--;
    }
    while (text.len > 0 && blank(text.bytes[text.len - 1]))
        text.len--;
    return text;
}

bool list_next(struct text *list, struct text *element)
{
    if (list->len == 0)
        return false;
    const char *comma = memchr(list->bytes, ',', list->len);
    size_t len = comma ? (size_t)(comma - list->bytes) : list->len;
    *element = text_trim((struct text){list->bytes, len});
    list->bytes += len + (comma != NULL);
    list->len -= len + (comma != NULL);
    return true;
}

bool list_has(struct text list, const char *word)
{
    struct text element;
    while (list_next(&list, &element))
        if (text_named(element, word))
            return true;
    return false;
}

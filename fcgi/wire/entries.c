#include "fcgi/wire/entries.h"

#include <stdint.h>
#include <string.h>

static const char NOT_JSON[] = "this is not JSON";

static bool entries_fail(struct entries *entries, const char *why)
{
    entries->why = why;
    return false;
}

/* Goes to the next byte that is no blank. At the end that is the NUL after the text, which is never
 * a part of JSON. */
static char next_mark(struct entries *entries)
{
    while (*entries->at == ' ' || *entries->at == '\n' || *entries->at == '\r' ||
           *entries->at == '\t')
        entries->at++;
    return *entries->at;
}

/* Goes past the next byte if it is this one. */
static bool take_mark(struct entries *entries, char mark)
{
    bool there = next_mark(entries) == mark;
    entries->at += there;
    return there;
}

/* ---- strings ---- */

/* The four digits at `at`; -1 if there are fewer. */
static int32_t hex_unit(const char *at)
{
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

static char *put_character(char *out, uint32_t point)
{
    if (point < 0x80) {
        *out++ = (char)point;
        return out;
    }
    int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3; /* bytes after the first */
    static const uint8_t leads[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = (char)(leads[more] | point >> 6 * more);
    while (more-- > 0)
        *out++ = (char)(0x80 | (point >> 6 * more & 0x3f));
    return out;
}

/* Decodes \uXXXX, or a pair of them for one character (RFC 8259, 7), after the u. Returns the end
 * of what it wrote, or NULL. */
static char *read_unicode_escape(struct entries *entries, char *out)
{
    int32_t unit = hex_unit(entries->at), low = -1;
    if (unit < 0) {
        entries->why = NOT_JSON;
        return NULL;
    }
    entries->at += 4;
    if (unit < 0xd800 || unit > 0xdfff)
        return put_character(out, (uint32_t)unit);
    if (unit < 0xdc00 && entries->at[0] == '\\' && entries->at[1] == 'u')
        low = hex_unit(entries->at + 2);
    if (low < 0xdc00 || low > 0xdfff) {
        entries->why = "an escape is half a character: a surrogate without the other one";
        return NULL;
    }
    entries->at += 6;
    return put_character(out, 0x10000 + ((uint32_t)(unit - 0xd800) << 10 | (low - 0xdc00)));
}

/* Decodes the escape whose backslash is at `at`. Returns as read_unicode_escape does. */
static char *read_escape(struct entries *entries, char *out)
{
    static const char named[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char name = entries->at[1];
    const char *known = name ? strchr(named, name) : NULL;
    if (!known && name != 'u') {
        entries->why = NOT_JSON;
        return NULL;
    }
    entries->at += 2;
    if (!known)
        return read_unicode_escape(entries, out);
    *out++ = meant[known - named];
    return out;
}

/* Moves the bytes that mean themselves to `out`, up to a quote, a backslash or what may not be in a
 * string. Returns their end. */
static char *take_plain(struct entries *entries, char *out)
{
    const char *from = entries->at;
    char *to = entries->at;
    while ((uint8_t)*to >= 0x20 && *to != '"' && *to != '\\')
        to++;
    if (out != from)
        memmove(out, from, (size_t)(to - from));
    entries->at = to;
    return out + (to - from);
}

/* Reads a string, whose opening quote comes next, and decodes it in place: no escape is shorter
 * than what it means. */
static bool read_string(struct entries *entries, struct text *string)
{
    if (!take_mark(entries, '"'))
        return entries_fail(entries, NOT_JSON);
    char *start = entries->at, *out = take_plain(entries, start);
    while (*entries->at == '\\') {
        out = read_escape(entries, out);
        if (!out)
            return false;
        out = take_plain(entries, out);
    }
    if (*entries->at != '"')
        return entries_fail(entries, entries->at == entries->end
                                         ? NOT_JSON
                                         : "a control character in a string is not escaped");
    entries->at++;
    *out = '\0';
    *string = (struct text){start, (size_t)(out - start)};
    return true;
}

/* ---- entries ---- */

static struct text *entry_field(struct entry *entry, struct text name)
{
    return text_is(name, "channel") ? &entry->channel
           : text_is(name, "msg")   ? &entry->message
           : text_is(name, "once")  ? &entry->once
                                    : NULL;
}

static bool read_member(struct entries *entries, struct entry *entry)
{
    struct text name;
    if (!read_string(entries, &name))
        return false;
    if (!take_mark(entries, ':'))
        return entries_fail(entries, NOT_JSON);
    struct text *field = entry_field(entry, name);
    if (!field)
        return entries_fail(entries, "a message has the members channel, msg and once only");
    if (field->bytes)
        return entries_fail(entries, "a member is given twice");
    if (next_mark(entries) != '"')
        return entries_fail(entries, "channel, msg and once are strings");
    return read_string(entries, field);
}

static bool read_entry(struct entries *entries, struct entry *entry)
{
    *entry = (struct entry){0};
    if (!take_mark(entries, '{'))
        return entries_fail(entries, "a message is an object: {...}");
    if (take_mark(entries, '}'))
        return true;
    do {
        if (!read_member(entries, entry))
            return false;
    } while (take_mark(entries, ','));
    return take_mark(entries, '}') || entries_fail(entries, NOT_JSON);
}

void entries_start(struct entries *entries, char *json, size_t len)
{
    *entries = (struct entries){.at = json, .end = json + len};
    entries->array = take_mark(entries, '[');
    if (!entries->array && next_mark(entries) != '{')
        entries->why = "the body is neither an array nor an object, in JSON";
    else if (entries->array && next_mark(entries) == ']')
        entries->why = "the array is empty";
}

/* Whether an entry follows; if not, all is read, or something is wrong. */
static bool entry_follows(struct entries *entries)
{
    if (entries->why)
        return false;
    if (entries->count == 0)
        return true;
    if (entries->array && take_mark(entries, ',')) {
        if (entries->count < ENTRIES_MAX)
            return true;
        return entries_fail(entries, "the array has more than 1000 messages");
    }
    if (entries->array && !take_mark(entries, ']'))
        return entries_fail(entries, NOT_JSON);
    next_mark(entries);
    if (entries->at != entries->end)
        entries->why = "something follows after the JSON";
    return false;
}

bool entries_next(struct entries *entries, struct entry *entry)
{
    if (!entry_follows(entries))
        return false;
    entries->in_entry = true;
    if (!read_entry(entries, entry))
        return false;
    entries->in_entry = false;
    entries->count++;
    return true;
}

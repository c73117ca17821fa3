#include "fcgi/wire/escape.h"

#include <string.h>

/* The character after the backslash that stands for c (RFC 8259, 7). */
static char json_escape(unsigned char c)
{
    switch (c) {
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return c < ' ' ? 'u' : (char)c;
    }
}

void escape_json_text(struct buf *out, const char *text, size_t len)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t done = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= ' ' && c != '"' && c != '\\')
            continue;
        char escaped[] = {'\\', json_escape(c), '0', '0', hex[c >> 4], hex[c & 15]};
        buf_add(out, text + done, i - done);
        buf_add(out, escaped, escaped[1] == 'u' ? sizeof escaped : 2);
        done = i + 1;
    }
    buf_add(out, text + done, len - done);
}

void escape_json(struct buf *out, const char *text, size_t len)
{
    buf_puts(out, "\"");
    escape_json_text(out, text, len);
    buf_puts(out, "\"");
}

void escape_html(struct buf *out, const char *text, size_t len)
{
    const char *end = text + len;
    while (text < end) {
        const char *stop = text;
        while (stop < end && !strchr("&<>\"'", *stop))
            stop++;
        buf_add(out, text, (size_t)(stop - text));
        if (stop == end)
            return;
        buf_puts(out, *stop == '&'   ? "&amp;"
                      : *stop == '<' ? "&lt;"
                      : *stop == '>' ? "&gt;"
                      : *stop == '"' ? "&quot;"
                                     : "&#39;");
        text = stop + 1;
    }
}

/* Appends JSON, and escapes the characters that have a meaning in HTML or in old engines. In JSON
 * they occur only in strings, and never after a backslash. */
static void add_json_for_script(struct buf *out, const char *json, size_t len)
{
    size_t plain = 0; /* the first byte that is not appended yet */
    for (size_t i = 0; i < len; i++) {
        bool separator = json[i] == '\xe2' && i + 2 < len && json[i + 1] == '\x80' &&
                         (json[i + 2] == '\xa8' || json[i + 2] == '\xa9');
        if (!separator && !strchr("<>&", json[i]))
            continue;
        buf_add(out, json + plain, i - plain);
        if (separator)
            buf_puts(out, json[i + 2] == '\xa8' ? "\\u2028" : "\\u2029");
        else
            buf_puts(out, json[i] == '<' ? "\\u003c" : json[i] == '>' ? "\\u003e" : "\\u0026");
        i += separator ? 2 : 0;
        plain = i + 1;
    }
    buf_add(out, json + plain, len - plain);
}

void escape_script(struct buf *out, const char *text, size_t len)
{
    struct buf json = {0};
    escape_json(&json, text, len);
    if (buf_ok(&json))
        add_json_for_script(out, json.bytes, json.len);
    out->failed |= json.failed;
    buf_free(&json);
}

/* The length of the line end at text[at]; 0 if there is none. */
static size_t line_end_len(const char *text, size_t len, size_t at)
{
    if (text[at] == '\r')
        return at + 1 < len && text[at + 1] == '\n' ? 2 : 1;
    return text[at] == '\n';
}

void escape_event(struct buf *out, const char *text, size_t len)
{
    size_t at = 0, end = 0;
    do {
        size_t begin = at;
        for (end = 0; at < len && (end = line_end_len(text, len, at)) == 0; at++)
            ;
        buf_puts(out, "data: ");
        buf_add(out, text + begin, at - begin);
        buf_puts(out, "\n");
        at += end;
    } while (end > 0);
}

void escape_line(struct buf *out, const char *text, size_t len)
{
    for (size_t at = 0, begin = 0, end; at <= len; at += end ? end : 1) {
        end = at < len ? line_end_len(text, len, at) : 0;
        if (end == 0 && at < len)
            continue;
        buf_add(out, text + begin, at - begin);
        if (end > 0)
            buf_puts(out, " ");
        begin = at + end;
    }
}

#include "fcgi/wire/multipart.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "fcgi/io/text.h"

enum fault {
    NONE,
    NO_BOUNDARY,
    NO_START,
    NO_END,
    BAD_DELIMITER,
    BAD_HEAD,
    LONG_HEAD,
    NO_NAME,
    TOO_MANY,
    IS_FILE,
    NO_TEXT,
    ENCODED
};

static const struct {
    int status;
    const char *why;
} faults[] = {
    [NO_BOUNDARY] = {400, "Content-Type names no boundary of 1 to 70 characters for multipart"},
    [NO_START] = {400, "the multipart body does not begin with its boundary"},
    [NO_END] = {400, "the multipart body does not end with its boundary"},
    [BAD_DELIMITER] = {400, "a line with the multipart body's boundary has something else in it"},
    [BAD_HEAD] = {400,
                  "a field of the multipart body has a malformed header; its lines end in CRLF"},
    [LONG_HEAD] = {400, "a field of the multipart body has more than 1024 bytes of header"},
    [NO_NAME] = {400, "a field of the multipart body has no name, or two"},
    [TOO_MANY] = {400, "the multipart body has more than 64 fields"},
    [IS_FILE] = {415, "files are not accepted: send text fields (curl -F msg=TEXT, without @)"},
    [NO_TEXT] = {415, "a field of the multipart body is not text in UTF-8"},
    [ENCODED] = {415, "a field of the multipart body has a Content-Transfer-Encoding"},
};

/* What a field's header lines say. */
struct head {
    struct text name; /* absent: not there */
    enum fault fault;
};

/* Takes the content of a quoted string, whose opening quote was taken, and its closing quote: the
 * first without a backslash before it. Returns false if there is none. */
static bool take_quoted(struct text *text, struct text *value)
{
    size_t len = 0;
    while (len < text->len && text->bytes[len] != '"')
        len += text->bytes[len] == '\\' ? 2 : 1;
    if (len >= text->len)
        return false;
    *value = (struct text){text->bytes, len};
    text->bytes += len + 1;
    text->len -= len + 1;
    return true;
}

/* Takes the next `; name=value` that follows the first word of a header field (RFC 9110, 5.6.6).
 * Returns 1, 0 if there is no more, or -1 if it is malformed. */
static int take_parameter(struct text *text, struct text *name, struct text *value)
{
    *text = text_trim(*text);
    if (text->len == 0)
        return 0;
    if (text->bytes[0] != ';')
        return -1;
    text->bytes++;
    text->len--;
    if (!text_split(text, '=', name))
        return -1;
    *name = text_trim(*name);
    if (memchr(name->bytes, ';', name->len) || memchr(name->bytes, '"', name->len))
        return -1;
    if (text->len > 0 && text->bytes[0] == '"') {
        text->bytes++;
        text->len--;
        return take_quoted(text, value) ? 1 : -1;
    }
    size_t len = 0;
    while (len < text->len && text->bytes[len] != ';')
        len++;
    *value = text_trim((struct text){text->bytes, len});
    text->bytes += len;
    text->len -= len;
    return memchr(value->bytes, '"', value->len) ? -1 : 1;
}

/* Takes the first word, up to a semicolon or the end. */
static struct text take_word(struct text *text)
{
    size_t len = 0;
    while (len < text->len && text->bytes[len] != ';')
        len++;
    struct text word = text_trim((struct text){text->bytes, len});
    text->bytes += len;
    text->len -= len;
    return word;
}

/* RFC 7578, 4.2. */
static enum fault read_disposition(struct head *head, struct text value)
{
    struct text name, content;
    int rc;
    if (!text_is_any_case(take_word(&value), "form-data") || head->name.bytes)
        return NO_NAME;
    while ((rc = take_parameter(&value, &name, &content)) > 0) {
        if (text_is_any_case(name, "filename") || text_is_any_case(name, "filename*"))
            return IS_FILE;
        if (!text_is_any_case(name, "name"))
            continue;
        if (head->name.bytes)
            return NO_NAME;
        head->name = content;
    }
    return rc < 0 ? BAD_HEAD : head->name.bytes ? NONE : NO_NAME;
}

/* RFC 7578, 4.4: without a type it is text. */
static enum fault read_type(struct text value)
{
    struct text type = take_word(&value), name, content;
    bool text = type.len > 5 && text_is_any_case((struct text){type.bytes, 5}, "text/");
    int rc;
    if (!text && !text_is_any_case(type, "application/json"))
        return NO_TEXT;
    while ((rc = take_parameter(&value, &name, &content)) > 0)
        if (text_is_any_case(name, "charset") && !text_is_any_case(content, "utf-8") &&
            !text_is_any_case(content, "us-ascii"))
            return NO_TEXT;
    return rc < 0 ? BAD_HEAD : NONE;
}

/* RFC 7578, 4.7: the field is obsolete. These three values change nothing. */
static enum fault read_encoding(struct text value)
{
    return text_is_any_case(value, "7bit") || text_is_any_case(value, "8bit") ||
                   text_is_any_case(value, "binary")
               ? NONE
               : ENCODED;
}

/* Other header fields are ignored (RFC 7578, 4.8). */
static enum fault read_field_line(struct head *head, struct text line)
{
    struct text name;
    if (!text_split(&line, ':', &name) || name.len == 0 || memchr(name.bytes, ' ', name.len) ||
        memchr(name.bytes, '\t', name.len) || memchr(line.bytes, '\r', line.len) ||
        memchr(line.bytes, '\n', line.len))
        return BAD_HEAD;
    line = text_trim(line);
    if (text_is_any_case(name, "Content-Disposition"))
        return read_disposition(head, line);
    if (text_is_any_case(name, "Content-Type"))
        return read_type(line);
    return text_is_any_case(name, "Content-Transfer-Encoding") ? read_encoding(line) : NONE;
}

/* Takes a field's header lines, and the empty line after them. */
static enum fault take_head(char **at, const char *end, struct head *head)
{
    static const char crlf[] = "\r\n";
    const char *most = end - *at > MULTIPART_HEAD_MAX ? *at + MULTIPART_HEAD_MAX : end;
    *head = (struct head){0};
    for (;;) {
        char *stop = memmem(*at, (size_t)(most - *at), crlf, 2);
        if (!stop)
            return most < end ? LONG_HEAD : BAD_HEAD;
        struct text line = {*at, (size_t)(stop - *at)};
        *at = stop + 2;
        if (line.len == 0)
            return head->name.bytes ? NONE : NO_NAME;
        enum fault fault = read_field_line(head, line);
        if (fault)
            return fault;
    }
}

/* Makes the delimiter: CRLF, two dashes and the boundary. Returns its length, or 0 if the content
 * type names no boundary. */
static size_t make_delimiter(const char *content_type, char delimiter[MULTIPART_BOUNDARY_MAX + 4])
{
    static const char before[] = {'\r', '\n', '-', '-'};
    struct text type = text_of(content_type), name, value;
    take_word(&type);
    while (take_parameter(&type, &name, &value) > 0) {
        if (!text_is_any_case(name, "boundary"))
            continue;
        if (value.len == 0 || value.len > MULTIPART_BOUNDARY_MAX)
            return 0;
        memcpy(delimiter, before, sizeof before);
        memcpy(delimiter + sizeof before, value.bytes, value.len);
        return sizeof before + value.len;
    }
    return 0;
}

/* Takes the rest of a delimiter's line. *last: it was the last of the body. */
static enum fault take_delimiter_end(char **at, const char *end, bool *last)
{
    *last = end - *at >= 2 && memcmp(*at, "--", 2) == 0;
    if (*last)
        *at += 2;
    while (*at < end && (**at == ' ' || **at == '\t')) /* RFC 2046, 5.1.1 */
        ++*at;
    if (*last && *at == end)
        return NONE;
    if (end - *at < 2 || memcmp(*at, "\r\n", 2) != 0)
        return BAD_DELIMITER;
    *at += 2;
    return NONE;
}

/* Takes a field, and the delimiter after it without the rest of its line. */
static enum fault take_form_field(struct form *form, char **at, const char *end,
                                  const char *delimiter, size_t delimiter_len)
{
    struct head head;
    enum fault fault = take_head(at, end, &head);
    if (fault)
        return fault;
    /* the CRLF of the delimiter is there even if the value is empty */
    if ((size_t)(end - *at) >= delimiter_len - 2 &&
        memcmp(*at, delimiter + 2, delimiter_len - 2) == 0)
        return BAD_DELIMITER;
    char *stop = memmem(*at, (size_t)(end - *at), delimiter, delimiter_len);
    if (!stop)
        return NO_END;
    if (form->count == MULTIPART_FIELDS_MAX)
        return TOO_MANY;
    /* this overwrites a quote, a blank, a semicolon or a CR */
    (*at)[head.name.bytes - *at + (ptrdiff_t)head.name.len] = '\0';
    *stop = '\0';
    form->fields[form->count++] = (struct field){head.name, {*at, (size_t)(stop - *at)}};
    *at = stop + delimiter_len;
    return NONE;
}

static enum fault parse_parts(struct form *form, const char *content_type, char *body, size_t len)
{
    char delimiter[MULTIPART_BOUNDARY_MAX + 4];
    size_t delimiter_len = make_delimiter(content_type, delimiter);
    if (delimiter_len == 0)
        return NO_BOUNDARY;
    if (len < delimiter_len - 2 || memcmp(body, delimiter + 2, delimiter_len - 2) != 0)
        return NO_START;
    char *at = body + delimiter_len - 2;
    const char *end = body + len;
    for (;;) {
        bool last;
        enum fault fault = take_delimiter_end(&at, end, &last);
        if (fault || last)
            return fault;
        fault = take_form_field(form, &at, end, delimiter, delimiter_len);
        if (fault)
            return fault;
    }
}

int multipart_parse(struct form *form, const char *content_type, char *body, size_t len,
                    const char **why)
{
    form->count = 0;
    form->overflow = false;
    enum fault fault = parse_parts(form, content_type, body, len);
    if (fault)
        form->count = 0;
    *why = faults[fault].why;
    return faults[fault].status;
}

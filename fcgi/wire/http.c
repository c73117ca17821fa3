#include "fcgi/wire/http.h"

static const char CR_ALONE[] = "there is a CR without LF in the request's head";

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_token_char(char c)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    return is_letter(c) || is_digit(c) || memchr(marks, c, sizeof marks - 1);
}

bool http_is_token(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_token_char(text.bytes[i]))
            return false;
    return text.len > 0;
}

/* ---- lines ---- */

/* Moves the next line from *rest to *line, without the CRLF or LF that ends it. Returns false if
 * its end is not there yet: then *line is all that is there of it. */
static bool split_line(struct text *rest, struct text *line)
{
    bool whole = text_split(rest, '\n', line);
    if (line->len > 0 && line->bytes[line->len - 1] == '\r')
        line->len--;
    return whole;
}

/* What is wrong with a byte of the line, whatever the line means (RFC 9112, 2.2; RFC 9110, 5.5), or
 * NULL. */
static const char *fault_of_bytes(struct text line)
{
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.bytes[i];
        if (c == '\r')
            return CR_ALONE;
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return "this is not HTTP: there is a control character in the request's head";
    }
    return NULL;
}

/* Reads "HTTP/1.1" (RFC 9112, 2.3). */
static bool read_version(struct http_head *head, struct text version)
{
    static const char form[] = "HTTP/1.1";
    enum { MAJOR = 5, POINT = 6, MINOR = 7 };
    const char *c = version.bytes;
    if (version.len != sizeof form - 1 || memcmp(c, form, MAJOR) != 0 || !is_digit(c[MAJOR]) ||
        c[POINT] != '.' || !is_digit(c[MINOR]))
        return false;
    head->major = (unsigned)(c[MAJOR] - '0');
    head->minor = (unsigned)(c[MINOR] - '0');
    return true;
}

/* Takes the method off the request line (RFC 9112, 3), or the part of it that is there. All methods
 * that are registered are in upper case: in lower case it is another protocol. Returns what is
 * wrong with it, or NULL; the first wrong byte decides, and so the rest does not matter. */
static const char *take_method(struct http_head *head, struct text *line)
{
    static const char none[] =
        "this is not HTTP: the request does not begin with a method such as GET";
    bool begun = line->len > 0;
    text_split(line, ' ', &head->method);
    for (size_t i = 0; i < head->method.len; i++) {
        char c = head->method.bytes[i];
        if (c == '\r')
            return CR_ALONE;
        if (!is_token_char(c) || (c >= 'a' && c <= 'z'))
            return none;
    }
    return begun && head->method.len == 0 ? none : NULL;
}

/* Reads the rest of the request line. Returns what is wrong with it, or NULL. */
static const char *read_target(struct http_head *head, struct text line)
{
    text_split(&line, ' ', &head->target);
    if (head->target.len == 0 || memchr(head->target.bytes, '\t', head->target.len) ||
        !read_version(head, line))
        return "this is not HTTP: the first line must be a method, a target and a version such as "
               "HTTP/1.1, with one blank between them";
    return NULL;
}

/* What is wrong with a field line (RFC 9112, 5), or NULL. */
static const char *fault_of_field(struct text line)
{
    struct text name;
    if (line.bytes[0] == ' ' || line.bytes[0] == '\t') /* 5.2 */
        return "a header field is folded";
    if (!text_split(&line, ':', &name))
        return "a line of the request's head has no colon";
    if (memchr(name.bytes, ' ', name.len) || memchr(name.bytes, '\t', name.len)) /* 5.1 */
        return "a header field's name has a blank in it";
    return http_is_token(name) ? NULL : "a header field has no name that HTTP allows";
}

/* ---- the head ---- */

/* Reads the field lines and the empty line after them. Sets head->fault if a line is wrong. Returns
 * whether the empty line is there. */
static bool read_fields(struct http_head *head, struct text *rest)
{
    struct text line;
    head->fields = *rest;
    while (split_line(rest, &line)) {
        if (line.len == 0) {
            head->fields.len = (size_t)(line.bytes - head->fields.bytes);
            return true;
        }
        head->fault = fault_of_bytes(line);
        if (!head->fault)
            head->fault = fault_of_field(line);
        if (head->fault)
            return false;
    }
    head->fault = fault_of_bytes(line);
    return false;
}

enum http_verdict http_read_head(struct http_head *head, struct text text)
{
    struct text rest = text, line = {0};
    bool whole;
    *head = (struct http_head){0};
    while ((whole = split_line(&rest, &line)) && line.len == 0)
        ;
    head->fault = take_method(head, &line);
    if (!head->fault)
        head->fault = fault_of_bytes(line);
    if (!head->fault && whole)
        head->fault = read_target(head, line);
    whole = whole && !head->fault && read_fields(head, &rest);
    if (head->fault)
        return HTTP_MALFORMED;
    head->len = text.len - rest.len;
    return whole ? HTTP_WHOLE : HTTP_MORE;
}

bool http_next_field(struct http_head *head, struct text *name, struct text *value)
{
    if (head->fields.len == 0)
        return false;
    split_line(&head->fields, value);
    text_split(value, ':', name);
    *value = text_trim(*value);
    return true;
}

/* The length of the scheme in front of "://" (RFC 3986, 3.1), or 0. */
static size_t scheme_len(struct text target)
{
    size_t len = 0;
    while (len < target.len &&
           (is_letter(target.bytes[len]) ||
            (len > 0 && (is_digit(target.bytes[len]) || target.bytes[len] == '+' ||
                         target.bytes[len] == '-' || target.bytes[len] == '.'))))
        len++;
    return target.len - len >= 3 && memcmp(target.bytes + len, "://", 3) == 0 ? len : 0;
}

bool http_split_target(struct text *target, struct text *authority)
{
    size_t scheme = scheme_len(*target), len = 0;
    if (scheme == 0)
        return false;
    struct text rest = {target->bytes + scheme + 3, target->len - scheme - 3};
    while (len < rest.len && rest.bytes[len] != '/' && rest.bytes[len] != '?' &&
           rest.bytes[len] != '#')
        len++;
    if (len == 0 || rest.bytes[0] == ':' || memchr(rest.bytes, '@', len))
        return false;
    *authority = (struct text){rest.bytes, len};
    *target = (struct text){rest.bytes + len, rest.len - len};
    return true;
}

/* ---- reasons ---- */

const char *http_reason(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Content Too Large";
    case 415:
        return "Unsupported Media Type";
    case 426:
        return "Upgrade Required";
    case 431:
        return "Request Header Fields Too Large";
    case 503:
        return "Service Unavailable";
    case 507:
        return "Insufficient Storage";
    default:
        return "Internal Server Error";
    }
}

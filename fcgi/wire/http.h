/* http.h - the head of one HTTP/1.1 request, read strictly (RFC 9112, 2 to 5), and the reason
 * phrases of responses.
 *
 *     struct http_head head;
 *     if (http_read_head(&head, text) == HTTP_WHOLE)
 *         while (http_next_field(&head, &name, &value))
 *             ...
 *
 * The rules are strict where the RFC lets a recipient be lenient, because the web server in front
 * may have read the same bytes in another way: no folded lines, no blanks in or after names, no CR
 * without LF, no NUL and no other control characters. One liberty is taken: LF alone ends a line,
 * too (section 2.2).
 *
 * Pure. All texts point into the text that was read.
 */
#ifndef ENCKE_FCGI_HTTP_H
#define ENCKE_FCGI_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "fcgi/io/text.h"

enum http_verdict {
    HTTP_MORE,     /* no fault so far, but the empty line that ends the head is not there */
    HTTP_WHOLE,    /* text.bytes[0, head.len) is a head */
    HTTP_MALFORMED /* head.fault says why */
};

struct http_head {
    struct text method, target; /* neither is empty */
    unsigned major, minor;      /* of the version; each 0 to 9 */
    struct text fields;         /* the field lines that http_next_field has not taken yet */
    size_t len;                 /* all bytes of the head, with empty lines before and after */
    const char *fault;          /* one sentence for the client, static and JSON-safe */
};

/* Reads the head at the beginning of text. Skips any number of empty lines before it (section 2.2).
 * After HTTP_MALFORMED only fault and method are of use, and method is all that stands before the
 * first blank; after HTTP_MORE nothing is. Takes time linear in the length of the head. */
enum http_verdict http_read_head(struct http_head *head, struct text text);

/* Takes the next field off a whole head: its name, and its value without blanks around it, in which
 * no control characters are but HTAB. Returns false after the last one. */
bool http_next_field(struct http_head *head, struct text *name, struct text *value);

/* Splits a target in absolute form, "scheme://authority/path?query" (RFC 9112, 3.2.2): *target
 * keeps path and query, *authority gets the host with its port. Returns false, and changes neither,
 * if the target has another form, no host, or a user (RFC 9110, 4.2.4). */
bool http_split_target(struct text *target, struct text *authority);

/* Whether text is a token (RFC 9110, 5.6.2), as names of methods and fields are. */
bool http_is_token(struct text text);

/* The reason phrase of a status that this program answers with (RFC 9110, 15). */
const char *http_reason(int status);

#endif

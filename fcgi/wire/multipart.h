/* multipart.h - the text fields of multipart/form-data (RFC 7578; RFC 2046, 5.1), which PHP's
 * arrays, FormData and `curl -F` send. Files are refused, and text that is not UTF-8, and every
 * deviation from the RFCs: another program on the way might read the same bytes differently.
 *
 * Names and values are the bytes as they came. Pure; works in place, in time linear in the body.
 */
#ifndef ENCKE_FCGI_MULTIPART_H
#define ENCKE_FCGI_MULTIPART_H

#include <stddef.h>

#include "fcgi/wire/form.h"

enum {
    MULTIPART_FIELDS_MAX = 64,
    MULTIPART_HEAD_MAX = 1024,   /* bytes of one field's header lines */
    MULTIPART_BOUNDARY_MAX = 70, /* RFC 2046, 5.1.1 */
};

/* Decodes body[0, len) in place; content_type names the boundary. body[len] must be writable. The
 * fields point into body. Returns 0, or the status to refuse the request with, 400, or 415 for what
 * is not text: then the form is empty, and *why is one sentence, static and JSON-safe. */
int multipart_parse(struct form *form, const char *content_type, char *body, size_t len,
                    const char **why);

#endif

/* request.h - decodes the bytes of one whole FastCGI request into what the endpoints need.
 *
 * libfcgi decodes them. It reads only from a descriptor, and would block on a socket. So it gets
 * the bytes that passed the gate in a memory file: then its reads do not block, do not take bytes
 * of the next request, and have no limit for a large body.
 *
 * One decoder serves all connections, one request at a time. What it returns is valid until
 * request_release; an endpoint copies what it wants to keep.
 */
#ifndef ENCKE_FCGI_REQUEST_H
#define ENCKE_FCGI_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/wire/form.h"
#include "fcgi/wire/gate.h"

enum method { METHOD_GET = 1, METHOD_POST = 2, METHOD_OTHER = 4 };

enum body_kind {
    BODY_RAW,
    BODY_JSON,
    BODY_FORM,
    BODY_MULTIPART
}; /* of the last two, the fields are in form */

struct request {
    enum method method;
    bool head;         /* it is a HEAD: a GET whose answer has no body and does not wait */
    char **params;     /* all that libfcgi has been given, each NAME=VALUE; ended by NULL */
    const char *fault; /* what is wrong with it for any endpoint, JSON-safe; NULL: nothing */
    int fault_status;  /* the status to refuse it with, 400, 413 or 415 */
    struct text path;  /* as it was sent, not decoded */
    struct text last_event_id; /* the header; absent: not sent, as the next four */
    struct text idempotency_key;
    struct text host, origin;
    struct text fetch_site; /* Sec-Fetch-Site */
    struct text body;       /* as sent; empty if it is a form or too large */
    char *json; /* the same bytes and a NUL, if they are JSON, to be decoded in place; or NULL */
    enum body_kind body_kind;
    bool body_too_large; /* over the decoder's body_max: it was read, and not kept */
    bool body_cut;       /* its length is not CONTENT_LENGTH; a form that is so has a fault */
    struct form query;
    struct form form;
};

struct decoder;

/* How many bytes a body needs for a message of max_message bytes in a form, where a byte may be
 * encoded as three. */
size_t request_body_max(size_t max_message);

/* Makes a decoder for bodies up to body_max bytes, and starts libfcgi, which replaces signal
 * handlers: they are put back. Returns NULL with errno set if it fails. */
struct decoder *decoder_new(size_t body_max);
void decoder_free(struct decoder *decoder);

/* Decodes bytes[0, gate->scanned), for which the gate returned GATE_WHOLE. The caller must call
 * request_release before the next request. Returns NULL if it fails, with errno set: to ENOMEM when
 * out of memory, to 0 when libfcgi refused the bytes. Does not block.
 *
 * libfcgi ends the process when malloc fails. So each request first asks whether there is memory
 * enough. One danger is left: another thread (the writer, a look-up) takes the last memory in the
 * microseconds after that. It exists only for requests that need more than about 128 KiB: below
 * that, the heap keeps the memory that was found. */
const struct request *request_decode(struct decoder *decoder, const struct gate *gate,
                                     const uint8_t *bytes);
void request_release(struct decoder *decoder);

/* Fills in path, query and fault from the path and the query of a URI, path[0, path_len) and
 * query[0, query_len); query is NULL if the URI has none. Decodes them in place, and the request
 * points into them. The byte after each must be writable. */
void request_set_target(struct request *request, char *path, size_t path_len, char *query,
                        size_t query_len);

/* The same from uri[0, len), which it splits in place; uri[len] must be writable. */
void request_split_uri(struct request *request, char *uri, size_t len);

/* The name of the endpoint in the path: what follows the mount, byte by byte, or absent if the path
 * does not begin with the mount. Without a mount (NULL) it is the last segment of the path. */
struct text request_endpoint(const struct request *request, const char *mount);

/* The first value of a field in the form or the query. No endpoint gets a request in which both
 * have the field (routes.c). */
struct text request_field(const struct request *request, const char *name);

#endif

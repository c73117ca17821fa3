/* request.h - turns the bytes of one whole FastCGI request into what the endpoints need.
 *
 * libfcgi decodes them. It can read only from a descriptor, and would block on a socket, so the
 * bytes that passed the gate are handed to it in a memory file: its reads can then neither block,
 * nor run ahead into the next request, nor meet a body larger than a socket's buffer.
 *
 * One decoder serves all connections, one request at a time: what it returns is valid until
 * request_release, and an endpoint that wants to keep something copies it.
 */
#ifndef ENCKE_FCGI_REQUEST_H
#define ENCKE_FCGI_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/wire/form.h"
#include "fcgi/wire/gate.h"

enum method { METHOD_GET = 1, METHOD_POST = 2, METHOD_OTHER = 4 };

enum body_kind { BODY_RAW, BODY_FORM, BODY_MULTIPART }; /* the latter two are in form */

struct request {
    enum method method;
    bool head;         /* it is a HEAD: a GET whose answer has no body and waits for nothing */
    char **params;     /* all parameters as they came, NAME=VALUE each; NULL ends them */
    const char *fault; /* what is wrong with it whatever it is for, JSON-safe, or NULL ... */
    int fault_status;  /* ... and what to refuse it with, 400, 413 or 415 */
    struct text path;  /* as it was sent: nothing in it is decoded */
    struct text last_event_id; /* the header; absent if it was not sent, as with the next three: */
    struct text host, origin;
    struct text fetch_site; /* Sec-Fetch-Site */
    struct text body;       /* as sent; empty if it was a form or too large */
    enum body_kind body_kind;
    bool body_too_large; /* over the decoder's body_max: it was read, and not kept */
    bool body_cut;       /* shorter or longer than CONTENT_LENGTH said; either is a form's fault */
    struct form query;
    struct form form;
};

struct decoder;

/* How large a body may be so that a message of max_message bytes fits, form-encoded at its worst.
 */
size_t request_body_max(size_t max_message);

/* Makes a decoder for bodies up to body_max bytes; prepares libfcgi, and puts back the handlers
 * that its start replaces. Returns NULL with errno set. */
struct decoder *decoder_new(size_t body_max);
void decoder_free(struct decoder *decoder);

/* Decodes bytes[0, gate->scanned), for which the gate said GATE_WHOLE. Returns NULL with errno set,
 * ENOMEM when memory ran out, or to 0 when libfcgi would not have it. Otherwise request_release
 * before the next. Does not block.
 *
 * libfcgi ends the process when malloc fails. Whether there is memory is asked before each request;
 * what remains is another thread (the writer, a look-up) that takes the last of it in the
 * microseconds in between, of which only requests with more than about 128 KiB of need can be
 * the victims: below that the heap keeps what was found. */
const struct request *request_decode(struct decoder *decoder, const struct gate *gate,
                                     const uint8_t *bytes);
void request_release(struct decoder *decoder);

/* Fills in path, query and fault from the path and query of a URI, path[0, path_len) and
 * query[0, query_len), or NULL if it has none. They are decoded in place and pointed into, and the
 * byte behind each must be writable. */
void request_set_target(struct request *request, char *path, size_t path_len, char *query,
                        size_t query_len);

/* The same from uri[0, len), which is taken apart; uri[len] must be writable. */
void request_split_uri(struct request *request, char *uri, size_t len);

/* The name of the endpoint that the path is for: what stands behind the mount, if the path begins
 * with it letter by letter, else absent. Without a mount (NULL) the path's last segment. */
struct text request_endpoint(const struct request *request, const char *mount);

/* The first value of a field, of the form or the query; no endpoint gets a request in which both
 * have it (routes.c). */
struct text request_field(const struct request *request, const char *name);

#endif

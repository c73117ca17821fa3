/* handshake.h - the HTTP/1.1 request with which a WebSocket begins (RFC 6455, 4.2), and its answer.
 *
 *     conn's bytes --> handshake_scan --MORE--> read more
 *                            |-------DONE-----> 101, and a struct request like that of any endpoint
 *                            +-----REFUSED----> the status, the reason; then close
 *
 * http.h reads the head, and refuses what is not strictly HTTP. This file refuses a field that
 * matters and comes twice. The reason for both: the web server in front may have read the same
 * bytes in another way.
 *
 * The first subprotocol that a client offers is accepted, because browsers give up if none is. The
 * frames are the same for all of them.
 *
 * No I/O. Loop's thread only. One handshaker serves all connections; what it returns is valid until
 * its next scan.
 */
#ifndef ENCKE_FCGI_HANDSHAKE_H
#define ENCKE_FCGI_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/io/buf.h"
#include "fcgi/wire/request.h"

enum {
    HANDSHAKE_MAX = 64 * 1024, /* bytes of the request's head; as GATE_PARAMS_MAX for FastCGI */
    HANDSHAKE_ACCEPT_SIZE = 29
};

enum handshake_verdict {
    HANDSHAKE_MORE,   /* no fault so far; more bytes are needed */
    HANDSHAKE_DONE,   /* bytes[0, consumed) are a handshake; the bytes after it are frames */
    HANDSHAKE_REFUSED /* send the refusal, and close */
};

struct handshake {
    const struct request *request;      /* DONE: a GET of `websocket`, with its query */
    size_t consumed;                    /* DONE */
    bool head;                          /* REFUSED: it is a HEAD, which gets no body */
    char accept[HANDSHAKE_ACCEPT_SIZE]; /* DONE: the value of Sec-WebSocket-Accept */
    struct text protocol;               /* DONE: for Sec-WebSocket-Protocol; absent: none */
    int status;                         /* REFUSED: 400, 403, 404, 405, 426 or 431 */
    const char *headers;                /* REFUSED: more header lines, each ended by CRLF */
    const char *why;                    /* REFUSED: one sentence for the client */
};

struct handshaker;

/* origins: which pages may connect besides those of the same host: see origin_allowed. mount: see
 * request_endpoint. Both are borrowed as long as the handshaker lives. Returns NULL when out of
 * memory. */
struct handshaker *handshaker_new(const char *origins, const char *mount);
void handshaker_free(struct handshaker *handshaker); /* NULL is allowed */

/* Looks at bytes[0, len), of which earlier calls have seen the first `seen`. The caller appends
 * between calls, and changes nothing. HANDSHAKE_MAX bytes without the end of the head are refused.
 * Not to be called again after DONE or REFUSED. */
enum handshake_verdict handshake_scan(struct handshaker *handshaker, const uint8_t *bytes,
                                      size_t seen, size_t len, struct handshake *handshake);

/* Appends the response of a handshake that is DONE (101). */
void handshake_put_accept(struct buf *out, const struct handshake *handshake);

/* Appends the refusal of a handshake: a whole response, after which the caller closes the
 * connection. headers and head: as in the struct; headers may be NULL. why: any text. */
void handshake_put_error(struct buf *out, int status, const char *headers, const char *why,
                         bool head);

#endif

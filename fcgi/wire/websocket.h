/* websocket.h - one WebSocket behind its handshake (RFC 6455, 5): what its client sends, and the
 * frames that the daemon sends.
 *
 *     socket --bytes--> websocket_feed --> texts, in order: websocket_first, websocket_drop
 *                             |----------> pongs, appended to what is to be sent
 *                             +----------> websocket_closing: the end, once the texts are answered
 *
 * wslay reads and writes the frames. It is there only while one is under way: a WebSocket that says
 * nothing costs WEBSOCKET_REST_MAX bytes. One that talks costs, at most, twice the largest message,
 * 5 KB, and the texts that have not been dropped.
 *
 * What is wrong is judged at the first byte that makes it so: a frame by its header, a text by the
 * first bytes that are not UTF-8. The same bytes mean the same in any portions. No I/O; loop's
 * thread only.
 */
#ifndef ENCKE_FCGI_WEBSOCKET_H
#define ENCKE_FCGI_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/io/buf.h"
#include "fcgi/wire/form.h"

enum {
    WEBSOCKET_REST_MAX = 64,
    WEBSOCKET_BURST = 10 /* seconds' worth of frames that may come at once */
};

/* Why a WebSocket ends (7.4.1). */
enum websocket_code {
    WEBSOCKET_NORMAL = 1000,
    WEBSOCKET_GOING_AWAY = 1001, /* the daemon drains */
    WEBSOCKET_PROTOCOL = 1002,
    WEBSOCKET_BINARY = 1003,
    WEBSOCKET_NOT_UTF8 = 1007,
    WEBSOCKET_TOO_MANY = 1008,
    WEBSOCKET_TOO_LARGE = 1009,
    WEBSOCKET_NO_MEMORY = 1011
};

struct websocket;

/* For a client that may send texts of max_message bytes, and frames_per_s frames a second in the
 * long run (1 to 1,000,000). Returns NULL when out of memory. */
struct websocket *websocket_new(size_t max_message, unsigned frames_per_s);
void websocket_free(struct websocket *websocket); /* NULL is allowed */

/* Takes bytes that the client sent; now_ms is any clock that does not go back. Each ping is
 * answered in out; all pongs are no more bytes than their pings. Ignores everything once
 * websocket_closing. Feed it again only when the texts of the last time have been dropped, or they
 * add up. */
void websocket_feed(struct websocket *websocket, const uint8_t *bytes, size_t len, uint64_t now_ms,
                    struct buf *out);

/* The first of the texts that have come whole and have not been dropped; absent if there is none.
 * UTF-8, maybe with NULs. Valid until it is dropped. */
struct text websocket_first(const struct websocket *websocket);
void websocket_drop(struct websocket *websocket);

/* Why the WebSocket is to end: the client's own code if it has closed (WEBSOCKET_NORMAL if it gave
 * none), or what it did wrong. 0 while it goes on. */
unsigned websocket_closing(const struct websocket *websocket);

/* ---- the daemon's frames, appended to out ---- */

void websocket_put_text(struct buf *out, const char *text, size_t len);

/* A ping without content. */
void websocket_put_ping(struct buf *out);

/* The close frame with that code, and why in words if the code is one of the enum's faults. */
void websocket_put_close(struct buf *out, unsigned code);

#endif

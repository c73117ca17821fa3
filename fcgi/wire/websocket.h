/* websocket.h - one WebSocket after its handshake (RFC 6455, 5): the frames that its client sends,
 * and those that the daemon sends.
 *
 *     socket --bytes--> websocket_feed --> texts, in order: websocket_first, websocket_drop
 *                             |----------> pongs, appended to the bytes to send
 *                             +----------> websocket_closing: the end, once the texts are answered
 *
 * wslay reads and writes the frames. It has memory only while a frame is incomplete: a WebSocket
 * whose client sends nothing costs WEBSOCKET_REST_MAX bytes. One whose client sends costs at most
 * twice the largest message, 5 KB, and the texts that have not been dropped.
 *
 * A fault is found at the first byte that shows it: in a frame's header, or at the first bytes of a
 * text that are not UTF-8. The same bytes have the same effect in any portions. No I/O; loop's
 * thread only.
 */
#ifndef ENCKE_FCGI_WEBSOCKET_H
#define ENCKE_FCGI_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/io/buf.h"
#include "fcgi/io/text.h"

enum {
    WEBSOCKET_REST_MAX = 64, /* bytes of memory */
    WEBSOCKET_BURST = 10     /* seconds: so many seconds' frames may come at once */
};

/* Why a WebSocket ends (7.4.1). */
enum websocket_code {
    WEBSOCKET_NORMAL = 1000,
    WEBSOCKET_GOING_AWAY = 1001, /* the daemon stops */
    WEBSOCKET_PROTOCOL = 1002,
    WEBSOCKET_BINARY = 1003,
    WEBSOCKET_NOT_UTF8 = 1007,
    WEBSOCKET_TOO_MANY = 1008,
    WEBSOCKET_TOO_LARGE = 1009,
    WEBSOCKET_NO_MEMORY = 1011
};

struct websocket;

/* max_message: bytes of the largest text that the client may send. frames_per_s: how many frames a
 * second it may send on average, 1 to 1,000,000. Returns NULL when out of memory. */
struct websocket *websocket_new(size_t max_message, unsigned frames_per_s);
void websocket_free(struct websocket *websocket); /* NULL is allowed */

/* Takes bytes that the client sent. now_ms: the time of any clock that does not go back. Appends a
 * pong to out for each ping; a pong is not longer than its ping. Ignores the bytes once
 * websocket_closing is not 0. The caller should drop the texts of one call before the next, since
 * all that are not dropped stay in memory. */
void websocket_feed(struct websocket *websocket, const uint8_t *bytes, size_t len, uint64_t now_ms,
                    struct buf *out);

/* The first of the whole texts that have not been dropped; absent if there is none. It is UTF-8,
 * and may have NULs. Valid until it is dropped. */
struct text websocket_first(const struct websocket *websocket);
void websocket_drop(struct websocket *websocket);

/* Why the WebSocket must end: the client's code if it has closed it (WEBSOCKET_NORMAL if it gave
 * none), or the code for the client's fault. 0 as long as it goes on. */
unsigned websocket_closing(const struct websocket *websocket);

/* ---- the daemon's frames, appended to out ---- */

void websocket_put_text(struct buf *out, const char *text, size_t len);

/* A ping without content. */
void websocket_put_ping(struct buf *out);

/* A close frame with that code, and with a reason in words if the code is one of the enum's. */
void websocket_put_close(struct buf *out, unsigned code);

#endif

/* transport.h - how streams write messages: as lines of JSON, scripts in an iframe, Server-Sent
 * Events, or WebSocket frames. Each is a row of the table in transport.c.
 *
 * Every transport says the same things: at its opening what a client needs to begin; a message; a
 * cursor to go on from; a heartbeat, which carries the cursor too; and a reset: messages may be
 * missing before those that follow (log_read). A reset moves no cursor: a client that loses the
 * connection right after it asks from its old cursor, and is told again.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_TRANSPORT_H
#define ENCKE_FCGI_TRANSPORT_H

#include <stdint.h>

#include "fcgi/io/buf.h"
#include "fcgi/readers/wanted.h"
#include "fcgi/wire/reply.h"
#include "store/message.h"

enum stream_kind { STREAM_LINES, STREAM_IFRAME, STREAM_EVENTS, STREAM_WEBSOCKET, STREAM_KINDS };

struct transport {
    enum stream_kind kind;
    const char *type;   /* the response's content type; NULL: these are WebSocket frames */
    const char *header; /* further header lines, or NULL */
    void (*put_opening)(struct buf *out);
    /* Writes what stands before each message, if its bytes depend only on the callback; put_message
     * goes on from there. NULL: nothing does. */
    void (*put_call)(struct buf *out, const struct shape *shape);
    void (*put_message)(struct buf *out, const struct shape *shape, const char *epoch,
                        const struct message *message);
    void (*put_cursor)(struct buf *out, const struct shape *shape, const char *epoch, uint64_t seq);
    void (*put_heartbeat)(struct buf *out, const struct shape *shape, const char *epoch,
                          uint64_t seq);
    void (*put_reset)(struct buf *out, const struct shape *shape);
};

/* The transport of a stream's format. */
const struct transport *transport_of(enum format format);

/* Its name, as in the path. Static. */
const char *transport_name(enum stream_kind kind);

/* What the put functions wrote, framed for the wire; NULL when out of memory. */
struct frame *transport_frame(const struct shape *shape, const struct buf *content);

/* Appends the same bytes to out. */
void transport_put_framed(struct buf *out, const struct shape *shape, const struct buf *content);

/* The beginning of a stream's response: its headers and content; NULL when out of memory. A
 * WebSocket has no headers any more: its handshake is over. */
struct frame *transport_opening(const struct shape *shape, const struct buf *content);

#endif

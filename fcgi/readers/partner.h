/* partner.h - what a stream asks of its client's side: a WebSocket's client speaks too, all other
 * clients only listen.
 *
 * A stream has a partner and knows no more of it than this. All clients that only listen have the
 * same one, silent_partner; the partner of a WebSocket's client is in talk.h. Each function that
 * gets a connection may end it.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_PARTNER_H
#define ENCKE_FCGI_PARTNER_H

#include <stdbool.h>

#include "fcgi/conn/conn.h"

struct partner {
    const struct partner_ops *ops;
};

struct partner_ops {
    /* What epoll is to report while the stream is live. */
    enum watch (*watch)(const struct partner *partner);
    /* There is something to read. */
    void (*readable)(struct conn *conn);
    /* The socket takes bytes again, and the stream is not cut: sends what waited for that.
     * Returns false if the socket is full again, or the connection has ended. */
    bool (*resume)(struct conn *conn);
    /* A heartbeat is due. Returns whether the client is taken for dead. */
    bool (*is_dead)(struct partner *partner);
    /* The stream is to end between two frames, as the client expects. */
    void (*finish)(struct conn *conn);
    /* The client is gone: ends the connection. */
    void (*gone)(struct conn *conn);
    void (*free)(struct partner *partner);
};

/* Of each stream whose client only listens: anything that comes from it ends the connection. */
extern struct partner silent_partner;

#endif

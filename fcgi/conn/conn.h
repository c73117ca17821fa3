/* conn.h - one connection from the web server, from accept to close.
 *
 *            +--> IDLE --first bytes--> READING --whole request--> an endpoint
 *            |                                                        |
 *            |        +-----------------------+-----------------------+----------+
 *            |        v                       v                       v          v
 *   (kept)   |     CREATING --commit-->    answer  <--news, end--   HELD,     STREAM
 *            |     DEFERRED --its turn-->     |                    RELAYED       |
 *            |                                +<--------------- its end ---------+
 *            +------------ all sent ----------+----socket full----> SENDING --> all sent
 *
 * (A DEFERRED one for which there is nothing after all becomes HELD.)
 *
 * A peer that goes away, a request that does not arrive whole in time, and bytes that are no
 * request end the connection in any state, and conn_end is the one way it ends.
 *
 * The struct is what every held request costs: about a hundred bytes. Loop's thread only.
 */
#ifndef ENCKE_FCGI_CONN_H
#define ENCKE_FCGI_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fcgi/io/loop.h"
#include "fcgi/wire/reply.h"
#include "fcgi/io/timer.h"
#include "store/log.h"

struct deferred;
struct server;
struct group;
struct inbound;
struct poll;
struct rest;
struct stream;

enum conn_state {
    CONN_IDLE,
    CONN_READING,
    CONN_CREATING,
    CONN_DEFERRED,
    CONN_HELD,
    CONN_RELAYED,
    CONN_STREAM,
    CONN_SENDING,
    CONN_LINGERING, /* the answer is out; whatever still comes is dropped */
    CONN_ENDED
};

/* What epoll tells of a connection; that the peer is gone, it always tells. */
enum watch {
    WATCH_NONE,   /* nothing yet: a short request is answered before epoll has heard of it */
    WATCH_PAUSE,  /* that it is gone */
    WATCH_INPUT,  /* that there is something to read */
    WATCH_OUTPUT, /* that the socket, which was full, takes bytes again */
    WATCH_LATER   /* the same, of a reader that is behind: others are served first */
};

struct conn {
    struct source source;
    struct timer timer;
    union {
        LIST_ENTRY(conn) link;       /* in one of the server's lists, its group's or its poll's */
        TAILQ_ENTRY(conn) idle_link; /* IDLE: among the server's that are idle */
    };
    struct server *server;
    int fd;
    uint16_t request_id; /* 0: a WebSocket's */
    uint8_t state;       /* enum conn_state */
    bool websocket : 1;  /* it speaks HTTP, then WebSocket; else FastCGI */
    bool keep : 1;       /* the web server wants to use the connection again */
    bool lingers : 1;    /* it is not closed as soon as its answer is out */
    bool head : 1;       /* the request is a HEAD, the answer goes without its body */
    uint8_t watch : 3;   /* enum watch */
    union {
        struct inbound *inbound;   /* READING: what has arrived so far, owned */
        struct append *append;     /* CREATING: the log's */
        struct deferred *deferred; /* DEFERRED: see hold.h */
        struct group *group;       /* HELD: see hold.h */
        struct poll *poll;         /* RELAYED: see relay.h */
        struct stream *stream;     /* STREAM: see stream.h */
        struct rest *rest;         /* SENDING: what is left of the answer, owned; NULL: nothing */
    } u;
};
LIST_HEAD(conn_list, conn);
TAILQ_HEAD(idle_list, conn);

/* Takes over a connected, non-blocking socket and reads what is already there: FastCGI, or a
 * WebSocket's handshake. Closes fd when out of memory. */
void conn_accept(struct server *server, int fd, bool websocket);

/* Answers the request, whatever it waited for, with the caller's reference to frame (NULL, for
 * out of memory, ends the connection). The connection may have ended when this returns. */
void conn_answer(struct conn *conn, struct frame *frame);

/* Answers with an error, as the connection speaks it: see frame_error, handshake_put_error. */
void conn_refuse(struct conn *conn, int status, const char *header, const char *text);

/* The same, for what the log did not do. */
void conn_refuse_for(struct conn *conn, enum log_status status);

/* Marks the request as waiting for append to be committed. */
void conn_await(struct conn *conn, struct append *append);

/* Lets the connection wait as DEFERRED until it is its turn: see hold_turn. */
void conn_defer(struct conn *conn, struct deferred *deferred);

/* Lets the connection wait as HELD in the group, for ms. */
void conn_park(struct conn *conn, struct group *group, uint64_t ms);

/* Lets the connection wait as RELAYED in the poll's list, for ms. */
void conn_relay(struct conn *conn, struct poll *poll, struct conn_list *list, uint64_t ms);

/* Makes the connection a STREAM, among the server's that are behind. stream_due is called after
 * ms. */
void conn_stream(struct conn *conn, struct stream *stream, uint64_t ms);

/* Moves a STREAM to the list, and lets epoll tell what it now waits for: see stream_readable and
 * stream_writable. The connection may have ended when this returns. */
void conn_stream_on(struct conn *conn, struct conn_list *list, enum watch watch);

/* Ends the connection and frees all that is its own; the struct itself at the end of the loop's
 * round. */
void conn_end(struct conn *conn);

#endif

/* conn.h - one connection from the web server, from accept to close, and what all of them share.
 *
 * At any time a connection waits for one thing: a struct wait says what it is called and what to do
 * when it happens. This file knows none of them by name. Those of every request are in reading.h
 * (the next request, the rest of one) and answer.h (a full socket, a lingering close); a hold, a
 * stream, a relayed request, a create each bring their own.
 *
 *     accepted --> idle --first bytes--> reading --whole request--> an endpoint
 *                   ^                                                  |
 *                   |                    +-----------------------------+
 *                   |                    v                             v
 *                all sent <---------- answer <--news, commit, end-- the wait of a hold, a stream,
 *                   ^                    |                          a relayed request, a create
 *                   +----- sending <-----+ socket full
 *
 * A peer that goes away, a request that does not arrive whole in time, and bytes that are no
 * request end the connection whatever it waits for, and conn_end is the one way it ends.
 *
 * Every held request costs one struct conn, so it is kept small. Loop's thread only.
 */
#ifndef ENCKE_FCGI_CONN_H
#define ENCKE_FCGI_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fcgi/conn/unsent.h"
#include "fcgi/io/buf.h"
#include "fcgi/io/loop.h"
#include "fcgi/io/timer.h"

struct conn;
struct conns;
struct decoder;
struct handshake;
struct handshaker;
struct request;

enum { CONN_GONE = EPOLLHUP | EPOLLERR | EPOLLRDHUP }; /* events: the peer has closed */

/* What a connection can wait for. Static and constant. Each function may end the connection, but
 * for left. */
struct wait {
    const char *name; /* for a debugger */
    /* The socket is ready for what it is watched for, or the peer has closed: events as epoll
     * reports them. NULL: nothing but the peer's end is expected, so any event ends the connection.
     * (No web server multiplexes requests or sends ABORT_REQUEST.) */
    void (*ready)(struct conn *conn, uint32_t events);
    /* The time is over. NULL: that ends the connection. */
    void (*expired)(struct conn *conn);
    /* The connection does not wait for this any more: it waits for something else by now, or ends.
     * Releases `in`. NULL: there is nothing to release. */
    void (*left)(struct conn *conn, void *in);
};

/* What epoll reports of a connection. It always reports that the peer has closed. */
enum watch {
    WATCH_NONE,   /* nothing yet: a short request is answered before epoll knows its connection */
    WATCH_CLOSE,  /* nothing else */
    WATCH_INPUT,  /* there is something to read */
    WATCH_OUTPUT, /* the socket, which was full, takes bytes again */
    WATCH_LATER   /* the same, for a reader that is behind: others are served first */
};

struct conn {
    struct source source;
    struct timer timer;
    union {
        LIST_ENTRY(conn) link;       /* in the list of its wait */
        TAILQ_ENTRY(conn) idle_link; /* in the list of the idle ones */
    };
    struct conns *conns;
    const struct wait *wait; /* NULL: the connection has ended */
    void *in;                /* what belongs to the wait, of the wait's own type; NULL: nothing */
    int fd;
    uint16_t request_id; /* 0: a WebSocket's */
    bool websocket : 1;  /* it speaks HTTP, then WebSocket; else FastCGI */
    bool idle : 1;       /* it is in the list of the idle ones */
    bool keep : 1;       /* the web server wants to use the connection again */
    bool lingers : 1;    /* after its answer it waits for the peer to close first: answer.c */
    bool head : 1;       /* the request is a HEAD, the answer goes without its body */
    uint8_t watch : 3;   /* enum watch */
};
LIST_HEAD(conn_list, conn);
TAILQ_HEAD(idle_list, conn);

enum { INBOX_SIZE = 64 * 1024 }; /* bytes taken from a socket at once */

/* All connections, and what they share. */
struct conns {
    struct loop *loop;
    unsigned count, count_max;   /* connections; the descriptors allow count_max */
    struct idle_list idle;       /* kept open by the web server, most recently used first */
    struct conn_list busy;       /* all others, but for those whose wait has a list of its own */
    const struct wait *first;    /* what a connection waits for at first, and after each answer */
    uint64_t request_timeout_ms; /* for a request to arrive whole, and for a full socket to move */
    bool draining;               /* the daemon is about to stop: answer at once, hold nothing */
    struct unsent unsent;        /* what sockets have not taken */
    uint64_t deliveries;         /* messages handed to readers */

    /* How requests are decoded (reading.h). The two functions get each one, with `service`. */
    size_t body_max; /* bytes of a request's body */
    struct decoder *decoder;
    struct handshaker *handshaker;
    void (*take_request)(void *service, struct conn *conn, const struct request *request);
    void (*take_websocket)(void *service, struct conn *conn, const struct handshake *handshake,
                           const uint8_t *bytes, size_t len);
    void *service;

    /* A connection has ended, or is idle: there is room for another. */
    void (*room_made)(struct conns *conns);

    struct buf scratch; /* where bodies are written before they are framed; any call may use it */
    uint8_t inbox[INBOX_SIZE]; /* what was read last; any call may use it */
};

/* Sets loop, unsent and the lists. All other fields are the caller's to set. */
void conns_init(struct conns *conns, struct loop *loop, size_t unsent_max);

/* Ends every connection in the list. */
void conns_end_list(struct conn_list *list);

/* Ends all that are idle or busy; those in other lists are their owners'. */
void conns_end_all(struct conns *conns);

static inline bool conns_are_full(const struct conns *conns)
{
    return conns->count >= conns->count_max;
}

/* Looks for room for one more connection. If there is none, ends the one that has been idle for
 * longest: a web server expects that a kept connection may end. But if its next request is already
 * there, it is left alone, and the caller is to look again soon. */
enum conns_room { ROOM_NOW, ROOM_SOON, ROOM_NONE };
enum conns_room conns_make_room(struct conns *conns);

/* A connection for the connected, non-blocking socket, which waits for conns->first. It is not
 * watched yet. Returns NULL when out of memory, and then closes fd. */
struct conn *conn_new(struct conns *conns, int fd, bool websocket);

#define CONN_FOREVER UINT64_MAX

/* From now on the connection waits for `wait`, with `in` for its functions, and is in that list.
 * After ms the wait has expired; with CONN_FOREVER it never does. Then the former wait's `left` is
 * called with the former `in`. What epoll reports stays the same: see conn_watch. */
void conn_wait(struct conn *conn, struct conn_list *list, const struct wait *wait, void *in,
               uint64_t ms);

/* Whether it waits for that. */
static inline bool conn_waits(const struct conn *conn, const struct wait *wait)
{
    return conn->wait == wait;
}

/* The wait expires after ms from now, instead of when it was to; with CONN_FOREVER never. */
void conn_expire_in(struct conn *conn, uint64_t ms);

/* Moves the connection to another list; it waits for the same as before. */
void conn_move(struct conn *conn, struct conn_list *list);

/* Lets the connection wait for its next request, among the idle ones, without a limit of time. */
void conn_wait_idle(struct conn *conn);

/* Has epoll report what. Ends the connection if that fails. */
void conn_watch(struct conn *conn, enum watch what);

/* Ends the connection and frees all that is its own; the struct itself at the end of the loop's
 * round. One that has ended is left alone. */
void conn_end(struct conn *conn);

#endif

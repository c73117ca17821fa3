/* support_conn.h - what the tests of connections share: a loop, the connections in it, a clock that
 * moves only when a test says so, and peers at the other ends of socketpairs.
 *
 * A request that arrives is taken by a wait of the tests', and is then the test's to answer.
 */
#ifndef ENCKE_TESTS_SUPPORT_CONN_H
#define ENCKE_TESTS_SUPPORT_CONN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fcgi/conn/conn.h"
#include "fcgi/io/buf.h"

enum {
    TIMEOUT_MS = 10000,   /* conns.request_timeout_ms */
    CONNS_MAX = 3,        /* conns.count_max */
    MAX_MESSAGE = 100000, /* conns.body_max is enough for a message of so many bytes */
    LARGE = 4 << 20       /* bytes that no socket takes at once */
};

extern struct loop loop;
extern struct conns conns;
extern unsigned rooms_made; /* calls of conns.room_made */

/* ---- requests, and what each waits for until the test does something else ---- */

extern const struct wait attentive; /* its `in` is &attentive */

struct asked {
    unsigned requests, websockets;
    struct conn *conn;    /* of the latest */
    struct buf websocket; /* what came behind the latest handshake */
    bool head;            /* the latest request is a HEAD */
    /* calls of the functions of attentive */
    unsigned ready, expired, left;
    uint32_t events; /* of the latest call of ready */
};
extern struct asked asked;

/* For cmocka_unit_test_setup_teardown. The teardown ends what is idle or busy, and asserts that
 * nothing is left. */
int conns_setup(void **state);
int conns_teardown(void **state);

/* ---- time ---- */

/* Rounds of the loop until nothing happens any more; no time passes. */
void go_round(void);

/* So much time passes, and what was to happen in it happens. */
void pass(uint64_t ms);

/* ---- peers ---- */

struct peer {
    int fd;
    struct conn *conn; /* of its latest request */
    struct buf heard;
    bool closed; /* it has heard the end */
};

/* A peer whose connection is taken by accept: conn_accept_fastcgi or conn_accept_websocket. */
struct peer peer_connect(void (*accept)(struct conns *conns, int fd));

/* Says something, and lets the loop go round. */
void peer_say(struct peer *peer, const void *bytes, size_t len);

/* Asks for something, with that method, on a connection to be kept or not. Returns the connection
 * that waits for its answer. */
struct conn *peer_ask(struct peer *peer, const char *method, bool keep);

/* Connects, and asks on a connection to be kept. */
struct conn *peer_connect_and_ask(struct peer *peer);

/* Hears all that is there, and returns how much it was. */
size_t peer_hear(struct peer *peer);

/* Whether text is in what it has heard, or hears now. */
bool peer_has_heard(struct peer *peer, const char *text);

/* Closes, and lets the loop go round. */
void peer_leave(struct peer *peer);

#endif

/* relay.h - requests that are held here and asked for at a distant comet server, once for all who
 * ask the same.
 *
 *     conn, conn, conn ... --- poll {upstream "default"; "ns=1"} --- fetch ---> upstream
 *     conn, feed ------------- poll {upstream "default"; "id=7"} --- fetch --->    "
 *
 * A poll is one query to one upstream: one request, under way as long as somebody waits for it.
 * Its answer goes to all of them as it came, rendered once. Who joins late gets it, too.
 *
 * When there is no answer to give, clients are told {"ret":"new"}, so that they look for
 * themselves; but not before they have waited, the longer the longer it has been failing, so that
 * those who ask again at once do not spin. An upstream that cannot be reached is asked nothing:
 * while somebody waits, one connection is tried once a second, and when it succeeds all who wait
 * are told at once. Any other failure concerns only its own query, or a mad query of one client
 * would stop all others; of the queries that fail so, one a second is made again while somebody
 * waits, and when it is answered, or held, all the others are, too.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_RELAY_H
#define ENCKE_FCGI_RELAY_H

#include <stddef.h>
#include <stdint.h>

#include "fcgi/conn.h"
#include "fcgi/fetch.h"
#include "fcgi/upstream.h"

enum {
    RELAY_WAIT_MS = 1000,      /* for what has just begun to fail; it grows with the trouble … */
    RELAY_WAIT_MAX_MS = 30000, /* … up to this */
    RELAY_RETRY_MS = 1000,     /* between two tries of what fails, by whomever */
    RELAY_PROOF_MS = 2000,     /* a request that used to fail and is held so long is good again */
    RELAY_MEMORY_MS = 60000    /* how long a query that failed is remembered with nobody waiting */
};

struct relay;
struct poll;

/* Who wants a poll to be under way even with no client waiting; one at most an upstream. */
struct keeper {
    /* Here is an answer, good for this call only. Returns NULL, and the poll is no longer kept; or
     * what is wrong with the answer (a few words, static): then it counts as failed. */
    const char *(*answered)(struct keeper *keeper, const struct fetch *fetch);
    void (*failed)(struct keeper *keeper); /* it is kept on, and will be tried again */
    /* The upstream can be reached again, or holds what it used to fail. The poll is no longer
     * kept. */
    void (*reached)(struct keeper *keeper);
};

/* Returns NULL with errno set when out of memory or descriptors; otherwise relay_close. */
struct relay *relay_open(struct server *server, const struct upstreams *upstreams,
                         unsigned polls_max);
void relay_close(struct relay *relay); /* ends what waits; NULL is allowed */

/* Holds conn for the answer of that upstream to that query (see upstream.h), for ms at most, or
 * refuses it with a 503. */
void relay_ask(struct relay *relay, struct conn *conn, const struct upstream *upstream,
               const char *query, uint64_t ms);

/* Lets a poll be under way until it is answered. Returns false when out of memory. */
bool relay_keep(struct relay *relay, struct keeper *keeper, const struct upstream *upstream,
                const char *query);

/* A client's time is over: answers it. Called by conn.c. */
void relay_expired(struct conn *conn);

/* A connection has left the poll's list, for whatever reason; called by conn.c. */
void relay_left(struct server *server, struct poll *poll);

/* Answers all who wait, as the daemon is about to stop, and asks for nothing any more. */
void relay_release(struct relay *relay);

enum relay_error {
    RELAY_UNREACHABLE, /* no look-up, connection or TLS */
    RELAY_TIMEOUT,
    RELAY_STATUS, /* 5xx; or one that the keeper would not have */
    RELAY_BROKEN, /* cut short, reset, malformed */
    RELAY_REFUSED /* too large, a redirect, not passed on for safety */
};
enum { RELAY_ERRORS = RELAY_REFUSED + 1 };

/* How an upstream is doing. */
struct relay_stats {
    bool tried;         /* anything was ever asked of it */
    bool failing;       /* the latest request was no success */
    uint64_t down_ms;   /* how long it has been out of reach; 0: it is not */
    unsigned clients;   /* that wait now */
    unsigned under_way; /* requests, probes left out */
    uint64_t asked;     /* by clients */
    uint64_t requests;  /* made */
    uint64_t coalesced; /* asked, and joined to a request under way */
    uint64_t answers;   /* good ones */
    uint64_t errors[RELAY_ERRORS];
    const char *last_error; /* NULL: there was none */
};
void relay_stats(struct relay *relay, const struct upstream *upstream, struct relay_stats *stats);

#endif

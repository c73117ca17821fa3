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
 * those who ask again at once do not spin; or until it works again, of which they are told at once.
 * An upstream that cannot be reached is tried by one request at a time. Any other failure concerns
 * only its own query, or a mad query of one client would stop all others. The states of both are in
 * uplink.h.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_RELAY_H
#define ENCKE_FCGI_RELAY_H

#include <stddef.h>
#include <stdint.h>

#include "fcgi/conn/conn.h"
#include "fcgi/relay/fetch.h"
#include "fcgi/relay/upstream.h"

enum {
    RELAY_WAIT_MS = 1000,      /* for what has just begun to fail; it grows with the trouble … */
    RELAY_WAIT_MAX_MS = 30000, /* … up to this */
    RELAY_RETRY_MS = 1000,     /* between two tries of what fails */
    RELAY_LOOK_MS = 100,       /* between two looks at such a try */
    RELAY_PROOF_MS = 2000,     /* held so long, and twice what it took to fail, a try is good */
    RELAY_MEMORY_MS = 60000    /* how long a query that failed is remembered with nobody waiting */
};

struct relay;
struct poll;

/* Who wants a poll to be under way even with no client waiting; one at most an upstream. Its
 * functions must not call relay_keep. */
struct keeper {
    uint64_t wrong_ms; /* since when the answers that it got were wrong; 0: they were not. Then … */
    uint64_t lasted_ms; /* … how long the latest of them took. Both count as a poll's failing. */
    /* Here is an answer, until this returns. The poll is no longer kept. Returns NULL, or what is
     * wrong with the answer (a few words), for the operator; clients get it all the same. */
    const char *(*answered)(struct keeper *keeper, const struct fetch *fetch);
    /* There was an error, or the poll has to wait for its upstream. It is kept, and tried again.
     * Perhaps called from within relay_keep, and perhaps several times. */
    void (*failed)(struct keeper *keeper);
    /* After that: it works again. The poll is kept, and its request under way. */
    void (*reached)(struct keeper *keeper);
};

/* Returns NULL with errno set when out of memory or descriptors; otherwise relay_close. */
struct relay *relay_open(struct server *server, const struct upstreams *upstreams,
                         unsigned polls_max);
void relay_close(struct relay *relay); /* ends what waits; NULL is allowed */

/* Holds conn for the answer of that upstream to that query (see upstream.h), for ms at most. It may
 * be answered already when this returns: with a 503, if too many are held or asked for. */
void relay_ask(struct relay *relay, struct conn *conn, const struct upstream *upstream,
               const char *query, uint64_t ms);

/* Lets a poll be under way until it is answered; --upstream-requests does not bound these. Returns
 * false when out of memory, or after relay_release. */
bool relay_keep(struct relay *relay, struct keeper *keeper, const struct upstream *upstream,
                const char *query);

/* How long to wait with telling of what has been failing since then, or with trying it again: 1, 2,
 * 4 … 30 seconds, less up to a tenth. */
uint64_t relay_wait_ms(uint64_t since_ms);

/* A client's time is over: answers it. Called by conn.c. */
void relay_expired(struct conn *conn);

/* A connection has left the poll's list, for whatever reason; called by conn.c. */
void relay_left(struct server *server, struct poll *poll);

/* Answers all who wait, as the daemon is about to stop, and asks for nothing any more. */
void relay_release(struct relay *relay);

enum relay_error {
    RELAY_UNREACHABLE, /* no look-up, connection or TLS */
    RELAY_TIMEOUT,
    RELAY_STATUS, /* 5xx; or an answer that the keeper finds wrong */
    RELAY_BROKEN, /* cut short, reset, malformed */
    RELAY_REFUSED /* too large, a redirect, not passed on for safety */
};
enum { RELAY_ERRORS = RELAY_REFUSED + 1 };

/* How an upstream is doing. */
struct relay_stats {
    bool tried;           /* anything was ever asked of it */
    bool down;            /* it is out of reach */
    uint64_t trouble_ms;  /* how long there has been no success; 0: all is well */
    unsigned clients;     /* that wait now */
    unsigned under_way;   /* requests */
    uint64_t asked;       /* by clients */
    uint64_t requests;    /* made */
    uint64_t coalesced;   /* asked, and joined to a request under way */
    uint64_t answers;     /* good ones */
    uint64_t turned_away; /* clients, as there were too many different requests */
    uint64_t errors[RELAY_ERRORS];
    const char *last_error; /* NULL: there was none */
};
void relay_stats(struct relay *relay, const struct upstream *upstream, struct relay_stats *stats);

#endif

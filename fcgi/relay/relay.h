/* relay.h - relayed requests: they are held here, and a distant comet server (the upstream) is
 * asked once for all clients that ask the same.
 *
 *     conn, conn, conn ... --- poll {upstream "default"; "ns=1"} --- fetch ---> upstream
 *     conn, feed ------------- poll {upstream "default"; "id=7"} --- fetch --->    "
 *
 * A poll is one query to one upstream: one request, which is under way as long as somebody waits
 * for it. Its answer goes to all of them as it came, framed once. A client that joins late gets it,
 * too.
 *
 * When there is no answer, clients are told {"ret":"new"}, so that they look for themselves. But
 * first they wait, the longer the longer it has been failing (backoff.h), so that clients that ask
 * again at once do not spin. When it works again they are told at once. An upstream that cannot be
 * reached is tried by one request at a time. Any other failure concerns only its own query:
 * otherwise a broken query of one client would stop all others. The states of both are in uplink.h.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_RELAY_H
#define ENCKE_FCGI_RELAY_H

#include <stddef.h>
#include <stdint.h>

#include "fcgi/conn/admission.h"
#include "fcgi/conn/conn.h"
#include "fcgi/relay/fetch.h"
#include "fcgi/relay/keeper.h"
#include "fcgi/relay/upstream.h"

struct relay;

/* What the operator said of the requests, and of how many there may be. */
struct relay_options {
    struct fetch_options fetch;
    unsigned polls_max; /* different requests under way at once, keepers' not counted */
};

/* Returns NULL with errno set when out of memory or descriptors; otherwise relay_close. */
struct relay *relay_open(struct loop *loop, struct admission *admission,
                         const struct upstreams *upstreams, const struct relay_options *options);
void relay_close(struct relay *relay); /* ends what waits; NULL is allowed */

/* Holds conn for the answer of that upstream to that query (see upstream.h), for ms at most. It may
 * have been answered when this returns: with a 503, if too many are held or asked for. */
void relay_ask(struct relay *relay, struct conn *conn, const struct upstream *upstream,
               const char *query, uint64_t ms);

/* Keeps a poll under way until it is answered; --upstream-requests does not bound these. Returns
 * false when out of memory, or after relay_release. */
bool relay_keep(struct relay *relay, struct keeper *keeper, const struct upstream *upstream,
                const char *query);

/* Answers all who wait, as the daemon is about to stop, and makes no more requests. */
void relay_release(struct relay *relay);

/* How an upstream is doing. */
struct relay_stats {
    bool tried;           /* it was ever asked for anything */
    bool down;            /* it is out of reach */
    uint64_t trouble_ms;  /* how long there has been no success; 0: all is well */
    unsigned clients;     /* that wait now */
    unsigned under_way;   /* requests */
    uint64_t asked;       /* requests of clients */
    uint64_t requests;    /* that were made to the upstream */
    uint64_t coalesced;   /* requests of clients that joined one under way */
    uint64_t answers;     /* good ones */
    uint64_t turned_away; /* clients, as there were too many different requests */
    uint64_t errors[RELAY_ERRORS];
    const char *last_error; /* NULL: there was none */
};
void relay_stats(struct relay *relay, const struct upstream *upstream, struct relay_stats *stats);

#endif

/* poll.h - a query to an upstream, and who waits for its answer: what there is of polls, of uplinks
 * and of the relay. What happens to them is in uplink.h.
 *
 * For relay.c and uplink.c alone. Loop's thread only.
 */
#ifndef ENCKE_FCGI_POLL_H
#define ENCKE_FCGI_POLL_H

#include <stdbool.h>
#include <stdint.h>

#include "fcgi/conn/conn.h"
#include "fcgi/io/timer.h"
#include "fcgi/relay/fetch.h"
#include "fcgi/relay/keeper.h"
#include "fcgi/relay/trouble.h"
#include "fcgi/relay/upstream.h"
#include "store/table.h"

struct uplink;

enum poll_state {
    POLL_NEW,        /* nothing has been asked yet */
    POLL_ASKING,     /* a request is under way, and all is well */
    POLL_REACHING,   /* a request is under way, to find out whether the uplink is up again */
    POLL_RETRYING,   /* a request is under way after a failure; it is not known to be connected */
    POLL_PROVING,    /* it is connected, and has to be held for longer than a failure takes */
    POLL_WAITING,    /* the uplink is down, and another request may be the next to find out */
    POLL_FAILING,    /* the last request failed; another is made later */
    POLL_REMEMBERED, /* the same, but nobody wants it, and it will be forgotten */
    POLL_OVER        /* it is about to be freed */
};
enum { POLL_STATES = POLL_OVER + 1 };

struct poll {
    UT_hash_handle hh; /* by query, among its uplink's */
    struct uplink *uplink;
    enum poll_state state;
    bool moving; /* what an event leads to is being done: it must not be freed yet */
    bool owed;   /* a client has waited since before the request under way was made */
    struct fetch fetch;
    struct conn_list conns;
    unsigned clients;      /* in conns */
    struct keeper *keeper; /* NULL: only clients want it; see poll_keep */
    uint64_t began_ms;     /* of the latest request; 0: none yet */
    uint64_t lasted_ms;    /* how long the latest failure took */
    uint64_t failing_ms;   /* since when its requests fail, if they do */
    struct timer timer;    /* reaching, retrying: when to look at the request; proving: when it is
                              proven; remembered: when to forget it */
    char query[];
};

enum uplink_state { UPLINK_UP, UPLINK_DOWN };
enum { UPLINK_STATES = UPLINK_DOWN + 1 };

/* An upstream, and how it is doing. */
struct uplink {
    struct relay *relay;
    const struct upstream *upstream;
    struct target target;
    struct poll *polls;
    enum uplink_state state;
    uint64_t down_ms;  /* since when it is down, if it is */
    uint64_t tried_ms; /* when its latest request was made */
    struct timer retry_timer;
    struct trouble trouble;
    unsigned clients;
    uint64_t asked, requests, coalesced, answers, turned_away;
};

/* All uplinks, and what they share. */
struct relay {
    struct timers *timers;
    struct admission *admission;
    struct fetcher fetcher;
    const struct upstreams *upstreams;
    unsigned polls;     /* all */
    unsigned kept;      /* those with a keeper, which are not limited */
    unsigned polls_max; /* those without */
    bool full;          /* there were too many, and the operator has been told */
    bool stopped;
    struct uplink uplinks[]; /* as many as upstreams */
};

enum { RELAY_RETRY_MS = 1000 }; /* between two tries of what fails */

/* Whether a request made at that time is too recent for another try. */
static inline bool tried_just_now(uint64_t ms)
{
    return timer_now_ms() - ms < RELAY_RETRY_MS;
}

/* Whether there are as many polls as may be, of those that are limited. */
bool relay_is_full(const struct relay *relay);

/* The poll of that query; a new one if there is none. NULL: out of memory; or it is limited and
 * there are too many, and then relay_is_full. */
struct poll *poll_find_or_make(struct uplink *uplink, const char *query, bool limited);

/* Nobody waits in it any more. A request under way is cancelled. */
void poll_free(struct poll *poll);

/* NULL: no keeper wants it any more. */
void poll_set_keeper(struct poll *poll, struct keeper *keeper);

/* Whether its request is under way. */
static inline bool poll_under_way(const struct poll *poll)
{
    return poll->state >= POLL_ASKING && poll->state <= POLL_PROVING;
}

/* Whether its clients can be told that there was nothing so far. */
static inline bool poll_is_well(const struct poll *poll)
{
    return poll->state == POLL_ASKING || (poll->state == POLL_REACHING && !poll->owed);
}

/* Whether it has no request under way, and somebody waits for the next one. */
static inline bool poll_waits(const struct poll *poll)
{
    return poll->state == POLL_WAITING || poll->state == POLL_FAILING;
}

/* Whether some request of the uplink is still connecting. */
bool uplink_is_connecting(const struct uplink *uplink);

/* Of the polls that wait, the one that is to make the next request: first a keeper's, unless it was
 * tried just now; then the one that was tried the longest time ago. NULL: none waits. */
struct poll *uplink_next_poll(const struct uplink *uplink);

#endif

/* uplink.h - the relay's side of an upstream: its polls, and how both are doing. For relay.c alone.
 *
 * An uplink is up or down, and each of its polls is fine or failing:
 *
 *     up      -- a request finds no connection -----------------------> down
 *     down    -- a request connects, or an older one is answered -----> up
 *     fine    -- a request ends in any other error -------------------> failing
 *     failing -- a good answer; or a request is held for longer than
 *                the one before took to fail -------------------------> fine
 *
 * While an uplink is down, or a poll is failing, a request is made once a second, as long as
 * somebody waits. When it is up again, all who wait are told; when a poll is fine again, its
 * clients are, and the others that fail are tried at once.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_UPLINK_H
#define ENCKE_FCGI_UPLINK_H

#include <stdbool.h>
#include <stdint.h>

#include "fcgi/conn/conn.h"
#include "fcgi/relay/fetch.h"
#include "fcgi/relay/keeper.h"
#include "fcgi/relay/upstream.h"
#include "store/table.h"

struct uplink;

struct poll {
    UT_hash_handle hh; /* by query, among its uplink's */
    struct uplink *uplink;
    struct fetch fetch;
    struct conn_list conns;
    unsigned clients;      /* in conns */
    struct keeper *keeper; /* NULL: only clients want it; see poll_set_keeper */
    uint64_t began_ms;     /* of the latest request; 0: none yet */
    uint64_t held_ms;      /* since when that is known to be connected; 0: it is not */
    uint64_t lasted_ms;    /* how long the latest failure took */
    uint64_t failing_ms;   /* since when its requests fail; 0: it is fine */
    bool owed;             /* a client has waited since before the request under way was made */
    bool busy;             /* it must not be freed yet */
    struct timer timer;    /* under way: when to look at it; unwanted: when to forget it */
    char query[];
};

/* An upstream, and how it is doing. */
struct uplink {
    struct relay *relay;
    const struct upstream *upstream;
    struct target target;
    struct poll *polls;
    uint64_t down_ms;    /* since when it is out of reach; 0: it is up */
    uint64_t trouble_ms; /* since when there was no success; 0: all is well */
    uint64_t tried_ms;   /* when its latest request was made */
    struct timer retry_timer;
    bool warned;      /* the operator knows of the trouble */
    uint64_t told_ms; /* when the operator was warned last; 0: never */
    unsigned clients;
    uint64_t asked, requests, coalesced, answers, turned_away, errors[RELAY_ERRORS];
    char last_error[160];
};

enum {
    RELAY_RETRY_MS = 1000,  /* between two tries of what fails */
    RELAY_LOOK_MS = 100,    /* between two looks at such a try */
    RELAY_PROOF_MS = 2000,  /* held so long, and twice what it took to fail, a try is good */
    RELAY_MEMORY_MS = 60000 /* how long a query that failed is remembered with nobody waiting */
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

/* Returns 0, or -1 with errno set; either way target_close its target. */
int uplink_open(struct uplink *uplink, struct relay *relay, const struct upstream *upstream);

/* Whether there are as many polls as may be, of those that are limited. */
bool relay_is_full(const struct relay *relay);

/* The poll of that query; a new one if there is none. NULL: out of memory; or it is limited and
 * there are too many, and then relay_is_full. */
struct poll *poll_for(struct uplink *uplink, const char *query, bool limited);

void poll_set_keeper(struct poll *poll, struct keeper *keeper);

/* Makes the poll's request. Puts it off if the poll fails and the last request was made just now,
 * or if the uplink is down and any request was. Somebody wants it, and it is not under way. */
void poll_pursue(struct poll *poll);

/* Answers all clients with the frame, of which it takes over the caller's reference (NULL: out of
 * memory, their connections end). The poll stays. */
void poll_answer(struct poll *poll, struct frame *frame);

/* If nobody wants the poll and it is not busy: frees it, or, if it fails, remembers it for a while.
 */
void poll_unwanted(struct poll *poll);

/* Frees it, with nobody waiting. */
void poll_free(struct poll *poll);

#endif

/* uplink.h - the relay's side of an upstream: its polls, and the states of both. For relay.c alone.
 *
 * An uplink is up or down:
 *
 *   up   -- a request finds no connection -------------------> down
 *   down -- a request connects, or an older one is answered -> up, and all who wait are told
 *
 * A poll goes from state to state (enum poll_state) as things happen to it (enum poll_event). A dot
 * is what cannot happen or means nothing:
 *
 *              new       asking   reaching  retrying   proving    waiting   failing    remembered
 *   due        asking    .        .         .          .          asking    retrying   retrying
 *   due, down  reaching  .        .         .          .          reaching  retrying   retrying
 *   too soon   waiting   .        .         .          .          waiting   failing    failing
 *   wrong      failing   .        .         .          .          failing   .          .
 *   connected  .         .        asking    proving    .          .         .          .
 *   proven     .         .        .         .          asking     .         .          .
 *   answered   .         over     over      over       over       .         .          .
 *   unreached  .         waiting  waiting   failing    failing    .         .          .
 *   failed     .         failing  failing   failing    failing    .         .          .
 *   back       .         .        .         .          .          waiting   failing    .
 *   unwanted   over      over     over      remembered remembered over      remembered .
 *   forgotten  .         .        .         .          .          .         .          over
 *
 * While an uplink is down, or a poll is failing, a request is made once a second, as long as
 * somebody waits. When it is up again, the clients of all polls that wait for it are told, and a
 * poll that has a keeper makes its request at once. When a poll is fine again, its clients are
 * told, and the others that fail are tried at once.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_UPLINK_H
#define ENCKE_FCGI_UPLINK_H

#include <stdbool.h>
#include <stdint.h>

#include "fcgi/relay/keeper.h"
#include "fcgi/relay/poll.h"
#include "fcgi/relay/upstream.h"

enum poll_event {
    POLL_DUE,      /* it is its turn to make a request, and the uplink is up … */
    POLL_DUE_DOWN, /* … or down */
    POLL_TOO_SOON, /* somebody wants a request, but has to wait for its turn */
    POLL_WRONG,    /* its new keeper has found the answers before this one wrong */
    POLL_CONNECTED,
    POLL_PROVEN, /* it has been held for long enough */
    POLL_ANSWERED,
    POLL_UNREACHED, /* the request found no connection */
    POLL_FAILED,    /* it failed in any other way */
    POLL_BACK,      /* the uplink is up again */
    POLL_UNWANTED,  /* there is no client and no keeper any more */
    POLL_FORGOTTEN  /* it was remembered for long enough */
};
enum { POLL_EVENTS = POLL_FORGOTTEN + 1 };

enum uplink_event { UPLINK_LOST, UPLINK_REACHED };
enum { UPLINK_EVENTS = UPLINK_REACHED + 1 };

enum {
    RELAY_LOOK_MS = 100,    /* between two looks at a try of what fails */
    RELAY_PROOF_MS = 2000,  /* held so long, and twice what it took to fail, a try is good */
    RELAY_MEMORY_MS = 60000 /* how long a query that failed is remembered with nobody waiting */
};

/* Returns 0, or -1 with errno set; either way target_close its target. */
int uplink_open(struct uplink *uplink, struct relay *relay, const struct upstream *upstream);

/* The poll of that query; a new one if there is none. NULL: out of memory; or it is limited and
 * there are too many, and then relay_is_full. */
struct poll *poll_for(struct uplink *uplink, const char *query, bool limited);

/* The keeper wants the poll, until it is answered. */
void poll_keep(struct poll *poll, struct keeper *keeper);

/* Makes the poll's request. Puts it off if the poll fails and the last request was made just now,
 * or if the uplink is down and any request was. Somebody wants it, and it is not under way. */
void poll_pursue(struct poll *poll);

/* Answers all clients with the frame, of which it takes over the caller's reference (NULL: out of
 * memory, their connections end). */
void poll_answer(struct poll *poll, struct frame *frame);

/* A client has left. If nobody wants the poll now, and nothing is being done with it: frees it, or,
 * if it fails, remembers it for a while. */
void poll_left(struct poll *poll);

/* Frees the poll, once `end` has made its clients leave. */
void poll_end(struct poll *poll, void (*end)(struct poll *poll));

#endif

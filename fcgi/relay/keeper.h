/* keeper.h - who wants a request to an upstream to be under way even when no client waits, and what
 * it is told; and how requests fail.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_KEEPER_H
#define ENCKE_FCGI_KEEPER_H

#include <stdint.h>

#include "fcgi/relay/fetch.h"

/* How a request to an upstream fails. */
enum relay_error {
    RELAY_UNREACHABLE, /* no look-up, connection or TLS */
    RELAY_TIMEOUT,
    RELAY_STATUS, /* 5xx; or an answer that the keeper finds wrong */
    RELAY_BROKEN, /* cut short, reset, malformed */
    RELAY_REFUSED /* too large, a redirect, not passed on for safety */
};
enum { RELAY_ERRORS = RELAY_REFUSED + 1 };

/* At most one an upstream. Its functions must not call relay_keep. */
struct keeper {
    uint64_t wrong_ms; /* since when the answers that it got were wrong; 0: they were not. Then … */
    uint64_t lasted_ms; /* … how long the latest of them took. Both count as the poll's failing. */
    /* An answer, valid until this returns. The poll is no longer kept. Returns NULL, or what is
     * wrong with the answer (a few words), for the operator; clients get it all the same. */
    const char *(*answered)(struct keeper *keeper, const struct fetch *fetch);
    /* There was an error, or the poll has to wait for its upstream. It is kept, and tried again.
     * Perhaps called from within relay_keep, and perhaps several times. */
    void (*failed)(struct keeper *keeper);
    /* After that: it works again. The poll is kept, and its request under way. */
    void (*reached)(struct keeper *keeper);
};

#endif

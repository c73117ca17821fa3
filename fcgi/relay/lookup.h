/* lookup.h - looks up the addresses of a host without blocking the loop.
 *
 * getaddrinfo blocks for as long as the name servers take, so it is called in a thread: one at a
 * time for each struct lookup, however many fetches wait for it. (libcurl would start one for each
 * request, and wait for it when the request is given up.) A thread that hangs is left alone: it
 * holds nothing but its own job.
 *
 * Loop's thread only, but for that.
 */
#ifndef ENCKE_FCGI_LOOKUP_H
#define ENCKE_FCGI_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "fcgi/io/loop.h"
#include "fcgi/io/timer.h"

enum { LOOKUP_FRESH_MS = 60000 }; /* how long addresses are good for */

struct lookup {
    struct source source;
    struct timer timer;
    struct loop *loop;
    char *host, *port;
    uint64_t wait_ms;
    struct lookup_job *job; /* the thread's and ours, while it is under way */
    int event_fd;           /* by which it tells that it is done; -1: the host is an address */
    char *addresses;        /* separated by commas, those of IPv6 in brackets; NULL: not known */
    uint64_t known_ms;      /* since when */
    /* Called by the loop after a lookup_start. The addresses are there, and fault is NULL; or fault
     * says in a few words what went wrong (static), and older addresses may still be there. */
    void (*done)(struct lookup *lookup, const char *fault);
};

/* Prepares for host (a name, or an address, perhaps in brackets) and port; both are copied.
 * done is called after wait_ms at the latest. Returns 0, or -1 with errno set; either way
 * lookup_close. */
int lookup_open(struct lookup *lookup, struct loop *loop, const char *host, const char *port,
                uint64_t wait_ms, void (*done)(struct lookup *lookup, const char *fault));

/* Whether the addresses are known and still good, or the host is an address. */
bool lookup_known(const struct lookup *lookup);

/* Looks it up, unless that is under way already. In any case done is called, later. */
void lookup_start(struct lookup *lookup);

/* The addresses turned out to be no good: looks them up anew next time. */
void lookup_forget(struct lookup *lookup);

/* Does not wait for a look-up that is under way. All zero bytes is allowed. */
void lookup_close(struct lookup *lookup);

#endif

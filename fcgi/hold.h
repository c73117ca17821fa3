/* hold.h - requests that wait for news, and how news reaches them.
 *
 * Holds that want the same - the same channels, the same form of answer, the same limit - form a
 * group. A request is parked only when its channels hold nothing newer than its cursor, and only
 * the loop moves the head; so all holds of a group lack the same messages, and get the same bytes:
 * rendered once, framed once, sent to each (invariants 3 and 4 of the design). A hold itself needs
 * no cursor.
 *
 *     channel "main" ---- member ---- group {main; json; 1000} ---- conn, conn, conn ...
 *               \------- member ---- group {main, news; html; 50} - conn ...
 *     channel "news" ---- member ------/
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_HOLD_H
#define ENCKE_FCGI_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "fcgi/conn.h"
#include "fcgi/wanted.h"
#include "store/log.h"

struct server;
struct channel;

struct holds {
    struct server *server;
    struct channel *channels; /* by name: those that somebody waits for */
    struct group *groups;     /* by what they want */
    unsigned count;           /* requests held */
    unsigned max;
    uint64_t refused; /* for being too many, since the start */
    bool full;        /* and the operator has been told */
};

void holds_init(struct holds *holds, struct server *server, unsigned max);

/* Parks conn until there is news on what it wants, or wanted->hold_ms less up to a tenth are
 * over. When it cannot be parked - too many, out of memory - it is answered with a 503. The
 * caller has just found nothing newer. wanted is copied. */
void hold_park(struct conn *conn, const struct wanted *wanted);

/* Answers every hold that the drained news concern. */
void holds_wake(struct holds *holds, const struct log_news *news);

/* Ends a hold whose time is over, with the answer that says so. */
void hold_expired(struct holds *holds, struct conn *conn);

/* Ends all holds likewise, as the daemon is about to stop. */
void holds_release(struct holds *holds);

/* A connection has left its group's list, for whatever reason; called by conn.c. */
void hold_left(struct holds *holds, struct group *group);

/* Calls each with every channel that somebody waits for, and how many do. */
void holds_each_channel(const struct holds *holds,
                        void (*each)(void *context, const char *name, unsigned count),
                        void *context);

#endif

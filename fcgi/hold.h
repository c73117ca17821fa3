/* hold.h - long polls: requests that are held until there is news, or their time is over.
 *
 * A request is parked only when its channels hold nothing newer than its cursor, so all that wait
 * in one group get the same answer (group.h).
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_HOLD_H
#define ENCKE_FCGI_HOLD_H

#include <stdint.h>

#include "fcgi/conn.h"
#include "fcgi/group.h"
#include "fcgi/wanted.h"

struct server;

/* Parks conn until there is news on what it wants, or wanted->wait_ms less up to a tenth are
 * over. When it cannot be parked - too many, out of memory - it is answered with a 503. The
 * caller has just found nothing newer. wanted is copied. */
void hold_park(struct conn *conn, const struct wanted *wanted);

/* Answers every hold of the group, which news concern that came after `before`. */
void hold_wake(struct server *server, struct group *group, struct rendering *rendering,
               uint64_t before);

/* Ends a hold whose time is over, with the answer that says so. */
void hold_expired(struct conn *conn);

/* Ends all holds of the group likewise, as the daemon is about to stop. */
void hold_release(struct server *server, struct group *group);

/* A connection has left the group's list, for whatever reason; called by conn.c. */
void hold_left(struct server *server, struct group *group);

#endif

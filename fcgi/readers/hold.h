/* hold.h - long polls: requests that are answered with what is newer than their cursor, or held
 * until there is something, or until their time is over.
 *
 * A request is parked only when its channels hold nothing newer than its cursor, so all that wait
 * in one group get the same answer (group.h).
 *
 * Many that come back at once with old cursors have much to be given. So that a create, or
 * another's hold, does not wait until all have it, only so much is given in one round of the loop;
 * the rest are deferred, and have their turn after all others (loop.h). Until then they are not
 * held: they do not count for --max-holds, and the time that they would wait has not begun.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_HOLD_H
#define ENCKE_FCGI_HOLD_H

#include <stdint.h>

#include "fcgi/conn/conn.h"
#include "fcgi/readers/group.h"
#include "fcgi/readers/wanted.h"

struct server;

/* Answers conn with what is newer than the cursor that is wanted; if there is nothing, parks it
 * until there is, or wanted->wait_ms less up to a tenth are over. When it cannot be parked - too
 * many, out of memory - it is answered with a 503. wanted is copied. */
void hold_poll(struct conn *conn, const struct wanted *wanted);

/* The turn of a poll that was deferred has come; called by conn.c. */
void hold_turn(struct conn *conn);

/* Answers every hold of the group, which news concern that came after `before`; or defers them,
 * when much has been given in this round of news, or is not taken. */
void hold_wake(struct server *server, struct group *group, uint64_t before);

/* Ends a hold whose time is over, with the answer that says so. */
void hold_expired(struct conn *conn);

/* Ends all holds of the group likewise, as the daemon is about to stop. */
void hold_release(struct server *server, struct group *group);

/* A connection has left the group's list, for whatever reason; called by conn.c. */
void hold_left(struct server *server, struct group *group);

/* The same of one that was deferred. */
void hold_deferred_left(struct server *server, struct deferred *deferred);

#endif

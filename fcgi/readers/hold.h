/* hold.h - long polls: requests that are answered with what is newer than their cursor, or held
 * until there is something, or until their time is over.
 *
 * A request is held only when its channels have nothing newer than its cursor, so all that wait in
 * one group get the same answer (group.h).
 *
 * Many that come back at once with old cursors have much to be given. A create, or another's hold,
 * must not wait until all have it. So only so much is given in one round of the loop; the rest are
 * deferred, and have their turn after all others (loop.h). Until then they are not held: they do
 * not count for --max-holds, and the time for which they would wait has not begun. The same is true
 * of a poll whose messages are read from the disk, which waits for them (store/log.h).
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_HOLD_H
#define ENCKE_FCGI_HOLD_H

#include "fcgi/conn/conn.h"
#include "fcgi/readers/readers.h"
#include "fcgi/readers/wanted.h"

/* Answers conn with what is newer than the wanted cursor. If there is nothing, holds it until there
 * is, or until wanted->wait_ms, less up to a tenth, are over. When it cannot be held - too many,
 * out of memory - it is answered with a 503. wanted is copied. */
void hold_poll(struct readers *readers, struct conn *conn, const struct wanted *wanted);

/* The log has begun anew: those that are deferred start over with it. */
void hold_restart(struct readers *readers);

/* The daemon drains: refuses all that wait for the disk. Their clients ask again, from where they
 * were, here and below. */
void hold_refuse_reads(struct readers *readers);

/* The daemon stops now: refuses all that are still deferred. */
void hold_refuse_deferred(struct readers *readers);

#endif

/* stream.h - answers that go on: a stream gets what is in the log, and then what comes.
 *
 *     opened --> behind --everything read--> live, in its group --its time is over--> ended
 *                  ^                           |   |                                    ^
 *                  +----- its socket full -----+   +--a drain, while its partner-> set aside
 *                                                     waits for the log
 *
 * A live stream has everything up to the head and costs nothing until there is news; then its group
 * gets the same bytes (group.h). One whose socket is full falls behind: nothing is queued for it.
 * It is only a cursor, and the rest of the one part that was cut through (invariant 7 of the
 * design). Once it is writable it is served from the log, a page at a time and after all others,
 * until it has caught up. A publish never waits for it. What the client of a WebSocket says is read
 * only while its stream is live.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_STREAM_H
#define ENCKE_FCGI_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "fcgi/conn/conn.h"
#include "fcgi/readers/partner.h"
#include "fcgi/readers/readers.h"
#include "fcgi/readers/stream_give.h"
#include "fcgi/readers/wanted.h"

#define STREAM_FOREVER UINT64_MAX /* wait_ms, of a stream that does not end by itself */

/* Begins the stream that was asked for, or answers why not: the log cannot be read, too many wait,
 * out of memory. It ends by itself after wanted->wait_ms; with 0, when it has given what is there.
 * wanted is copied. A WebSocket's stream begins with the greeting, and takes over the partner; for
 * others both are NULL. */
void stream_open(struct readers *readers, struct conn *conn, const struct wanted *wanted,
                 const char *greeting, struct partner *partner);

/* The connection's stream; NULL if it does not stream. */
struct stream *stream_of(const struct conn *conn);

/* Sends a frame between two of the stream's own; takes over the reference (NULL, for out of memory,
 * ends the connection). The stream must not be cut. Returns false if the socket was full, so that
 * the rest will go out first, or if the connection has ended. */
bool stream_say(struct conn *conn, struct frame *frame);

/* The log has begun anew: the streams that are behind start over with it. */
void stream_restart(struct readers *readers);

/* Ends the streams that are behind as if their time were over, since the daemon is about to stop.
 * One that is in the middle of a frame is left to be cut off. */
void stream_release_behind(struct readers *readers);

#endif

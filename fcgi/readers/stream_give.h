/* stream_give.h - how a stream is given its messages: live, behind, or waiting for the disk.
 *
 * A stream that is behind is given a batch when its socket takes bytes, and then waits until it
 * takes more. What is no longer in memory is read from the disk first, a page at a time: meanwhile
 * the stream is behind and its socket is not looked at (store/log.h, log_read_later).
 *
 * The functions that get a connection may end it. Loop's thread only. Nothing here blocks.
 */
#ifndef ENCKE_FCGI_STREAM_GIVE_H
#define ENCKE_FCGI_STREAM_GIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "fcgi/conn/conn.h"
#include "fcgi/readers/batch.h"
#include "fcgi/readers/group.h"
#include "fcgi/readers/partner.h"
#include "fcgi/readers/readers.h"
#include "fcgi/readers/transport.h"
#include "store/log.h"

/* What a connection has beyond its own struct while it streams: its conn->in. */
struct stream {
    struct group *group;
    struct partner *partner;
    struct progress progress; /* its cursor counts only while it is behind */
    struct read *read;        /* of its next page from the disk; NULL: none is under way */
    uint64_t ends_ms;         /* by the clock of timer.h; UINT64_MAX: never */
    enum stream_kind kind;
    bool live;
    bool once; /* it ends when it has caught up */
};

static inline struct readers *readers_of(const struct stream *stream)
{
    return stream->group->readers;
}

/* Whether its socket cut a frame or a part of a batch through. The rest goes out before all else.
 */
static inline bool stream_is_cut(const struct stream *stream)
{
    return stream->progress.rest.frame != NULL;
}

/* Lets epoll report what the partner of a live stream now waits for. */
void stream_rewatch(struct conn *conn);

/* Takes a live stream out of its group: it gets no more news, and a drain waits for its end. */
void stream_set_aside(struct conn *conn);

/* Gives up the read of its next page from the disk, if one is under way. */
void stream_cancel_read(struct stream *stream);

/* Takes the stream out of its group: it catches up from its cursor when its socket takes bytes. */
void stream_fall_behind(struct conn *conn);

/* Ends the stream between two frames. */
void stream_finish(struct conn *conn);

/* The client is gone. */
void stream_abandon(struct conn *conn);

/* Sends a batch to a stream that is not cut. Returns false if the connection has
 * ended or is behind now. */
bool stream_give_batch(struct conn *conn, const struct batch *batch);

/* Sends a frame that is no message (NULL, out of memory, ends the connection), after which the
 * stream goes on from the cursor. Takes over the reference. Returns as stream_give_batch. */
bool stream_give_frame(struct conn *conn, struct frame *frame, struct cursor cursor);

/* Gives a stream that is behind its next batch. When that was the last it is live, or has ended. */
void stream_give_next(struct conn *conn, const struct batch *batch);

/* The same, but the batch has to be read from the disk first. */
void stream_give_later(struct conn *conn);

/* The socket of a stream that is behind takes bytes again. */
void stream_give_more(struct conn *conn);

#endif

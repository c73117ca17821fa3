/* batch.h - a page of messages as the bytes of a stream, one frame a message, sent to many streams
 * with one call each.
 *
 * A stream whose socket takes only a part keeps the one frame that was cut through, and its cursor.
 * So a slow reader costs one frame at most, which it shares with all that were cut there.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_BATCH_H
#define ENCKE_FCGI_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "fcgi/io/buf.h"
#include "fcgi/wire/reply.h"
#include "fcgi/conn/unsent.h"
#include "fcgi/readers/wanted.h"
#include "store/log.h"

struct batch {
    uint32_t refs;
    uint32_t count;
    uint64_t next;    /* the cursor's seq once all is sent */
    struct gap *told; /* the gap of which the first frame tells, or none need be told: one
                         reference; NULL: none */
    bool more;        /* there is more to read from there */
    bool bare;        /* the call that goes before each message is not in the frames */
    size_t len;       /* bytes of all frames */
    struct frame **frames;
    struct iovec *iov; /* of the frames */
};

enum { BATCH_BYTES = 64 * 1024 }; /* a batch ends with the frame that reaches them */

/* Renders page for streams of that shape: all of it, or as much as makes a batch, with more to
 * read; a reset is told with the first message, or instead of one. Without one the call of scripts
 * is left to batch_send, so that the frames are the same for all callbacks. scratch is overwritten.
 * Returns one reference, or NULL when out of memory. */
struct batch *batch_new(struct buf *scratch, const struct shape *shape, const char *epoch,
                        const struct page *page);

struct batch *batch_hold(struct batch *batch);
void batch_drop(struct batch *batch); /* NULL is allowed */

/* How far a stream has come. */
struct progress {
    struct cursor cursor; /* what it has been given, the rest below included */
    struct rest rest;     /* of the frame that the socket cut through */
    struct gap *told;     /* that it knows of: one reference; NULL: none (gap.h) */
};

/* Sends what the socket takes, without blocking, to a stream that has no frame cut through, and
 * notes in progress how far that was; messages counts those that were given. The call goes before
 * each frame; it is NULL unless the batch is bare. Returns 1 when all is sent, 0 when the socket is
 * full, -1 when the peer is gone. */
int batch_send(const struct batch *batch, struct frame *call, int fd, struct progress *progress,
               uint64_t *messages);

#endif

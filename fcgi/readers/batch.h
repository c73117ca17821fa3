/* batch.h - a page of messages as frames, one for each message, which is sent to a stream with one
 * system call. Many streams can get the same batch, and batches share the frames of the messages
 * that both have (rendered.h).
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

#include "fcgi/conn/unsent.h"
#include "fcgi/io/buf.h"
#include "fcgi/readers/rendered.h"
#include "fcgi/readers/wanted.h"
#include "fcgi/wire/reply.h"
#include "store/log.h"

struct batch {
    uint32_t count;
    uint64_t next;    /* the cursor's seq once all is sent */
    struct gap *told; /* the gap of which its first frame tells: one reference; NULL: none */
    bool more;        /* there is more to read from there */
    bool bare;        /* the call that goes before each message is not in the frames */
    size_t len;       /* bytes of all frames */
    struct frame **frames;
    struct iovec *iov; /* of the frames */
};

enum { BATCH_BYTES = 64 * 1024 }; /* a batch ends with the frame that reaches them */

/* Makes a batch of the page for streams of that shape, up to BATCH_BYTES; if that is not all, there
 * is more to read. A reset is told in the frame of the first message, or in one of its own. A batch
 * without a reset does not contain the call of scripts, which batch_send adds: so its frames are
 * the same for all callbacks. The batch is the caller's; NULL when out of memory. */
struct batch *batch_new(struct rendered *rendered, const struct shape *shape,
                        const struct page *page);

void batch_free(struct batch *batch); /* NULL is allowed */

/* How far a stream has come. */
struct progress {
    struct cursor cursor; /* what it has been given, the rest below included */
    struct rest rest;     /* of the frame that the socket cut through */
    struct gap *told;     /* the gap that it knows of: one reference; NULL: none (gap.h) */
};

/* Sends what the socket takes, without blocking, to a stream that has no frame cut through. Notes
 * in progress how far the stream has come, and adds the messages that were given to *messages. The
 * call goes before each frame; it is NULL unless the batch is bare. Returns 1 when all is sent, 0
 * when the socket is full, -1 when the peer is gone. */
int batch_send(const struct batch *batch, struct frame *call, int fd, struct progress *progress,
               uint64_t *messages);

#endif

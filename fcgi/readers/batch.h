/* batch.h - a page of messages in parts, which is sent to a stream with one system call. A part is
 * a run of messages whose texts lie side by side in a frame (rendered.h); of scripts it is one
 * message. Many streams can get the same batch, and batches share the frames of the messages that
 * both have.
 *
 * A stream whose socket takes only some bytes keeps the one part that was cut through, and its
 * cursor. So a slow reader costs one frame at most, which it shares with all that were cut there.
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
    uint32_t count;   /* parts */
    uint64_t next;    /* the cursor's seq once all is sent */
    struct gap *told; /* the gap of which its first part tells: one reference; NULL: none */
    bool more;        /* there is more to read from there */
    bool bare;        /* the call that goes before each message is not in the parts */
    size_t messages;
    size_t len; /* bytes of all parts */
    struct batch_part {
        struct frame *frame; /* its bytes are in it: one reference */
        uint64_t seq;        /* the reader's cursor once it is sent */
        uint32_t messages;
    } * parts;
    struct iovec *iov; /* the bytes of the parts */
};

enum { BATCH_BYTES = 64 * 1024 }; /* a batch ends with the message that reaches them */

/* Makes a batch of the page for streams of that shape, up to BATCH_BYTES; if that is not all, there
 * is more to read. A reset is told in the part of the first message, or in one of its own. A batch
 * without a reset does not contain the call of scripts, which batch_send adds: so its parts are
 * the same for all callbacks. The batch is the caller's; NULL when out of memory. */
struct batch *batch_new(struct rendered *rendered, const struct shape *shape,
                        const struct page *page);

void batch_free(struct batch *batch); /* NULL is allowed */

/* How far a stream has come. */
struct progress {
    struct cursor cursor; /* what it has been given, the rest below included */
    struct rest rest;     /* of the part that the socket cut through */
    struct gap *told;     /* the gap that it knows of: one reference; NULL: none (gap.h) */
};

/* Sends what the socket takes, without blocking, to a stream that has no part cut through. Notes
 * in progress how far the stream has come, and adds the messages that were given to *messages. The
 * call goes before each part; it is NULL unless the batch is bare. Returns 1 when all is sent, 0
 * when the socket is full, -1 when the peer is gone. */
int batch_send(const struct batch *batch, struct frame *call, int fd, struct progress *progress,
               uint64_t *messages);

#endif

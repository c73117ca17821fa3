/* rendered.h - messages as frames, each rendered once for all who get it.
 *
 * When a web server was restarted, thousands of readers come back at once, each with a cursor of
 * its own, and get mostly the same messages. So a message that was rendered is kept for a while:
 * for streams with its record around it, as the part of a batch (batch.h); for polls as the text
 * that is copied into their answers (render.h).
 *
 * A message has one place for each format. It is kept until another message needs that place, or
 * until too many bytes are kept.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_RENDERED_H
#define ENCKE_FCGI_RENDERED_H

#include <stddef.h>
#include <stdint.h>

#include "fcgi/io/buf.h"
#include "fcgi/readers/wanted.h"
#include "fcgi/wire/reply.h"
#include "store/message.h"

enum {
    /* A prime: the messages of a channel that has every 16th, say, still have all places. */
    RENDERED_MAX = 8191,
    RENDERED_BYTES_MAX = 4 << 20 /* more only if a single message has more */
};

struct rendered {
    const char *epoch; /* of the log that the messages are from: not copied */
    struct rendered_place {
        struct frame *frame; /* its seq is the message's; NULL: none */
        enum format format;
    } places[RENDERED_MAX];
    struct buf scratch, html;
    size_t next_drop; /* the place from which the next one is dropped that is too much */
    size_t bytes;     /* that are kept */
    uint64_t made;    /* bytes that were rendered, in all */
};

void rendered_init(struct rendered *rendered, const char *epoch);

/* The message in that shape, without the call of scripts (transport.h) and without what stands
 * between messages in an answer. The frame stays the store's, and is valid until the next call;
 * NULL when out of memory. */
struct frame *rendered_message(struct rendered *rendered, const struct shape *shape,
                               const struct message *message);

/* Frees all. The store may be used again. */
void rendered_free(struct rendered *rendered);

#endif

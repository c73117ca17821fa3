/* rendered.h - messages as they are sent, each rendered once for all who get it.
 *
 * When a web server was restarted, thousands of readers come back at once, each with a cursor of
 * its own, and get mostly the same messages. So the text of a message is kept for a while. Texts of
 * one format lie side by side in blocks, in the order in which they were rendered, which is mostly
 * that of the log. So what a reader lacks is a few runs: an answer copies each run at once
 * (render.h), and a batch sends it at once (batch.h).
 *
 * A block is a frame, so that a reader whose socket is full keeps the block, not a copy. The oldest
 * block is dropped when too many bytes are kept. A message has one place for each format, which
 * tells where its text is; another message may need that place, or its block may be dropped.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_RENDERED_H
#define ENCKE_FCGI_RENDERED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/io/buf.h"
#include "fcgi/readers/wanted.h"
#include "fcgi/wire/reply.h"
#include "store/message.h"

enum {
    /* A prime: the messages of a channel that has every 16th, say, still have all places. */
    RENDERED_MAX = 8191,
    /* Bytes of a block, its frame's head included; more if a single message has more. A reader
     * whose socket is full costs no more than that. */
    RENDERED_BLOCK = 4096,
    RENDERED_BYTES_MAX = 4 << 20 /* of blocks; more only if a single message has more */
};

struct rendered {
    const char *epoch; /* of the log that the messages are from: not copied */
    struct rendered_place {
        uint64_t seq;     /* the message's */
        uint64_t block;   /* the number of the block in which its text is */
        uint32_t at, len; /* of the text, in the block */
    } places[RENDERED_MAX];
    struct rendered_block {
        struct frame *frame;
        uint32_t used; /* bytes */
        enum format format;
    } blocks[RENDERED_BYTES_MAX / RENDERED_BLOCK]; /* a ring: by the number of the block */
    uint64_t first, next;   /* the number of the oldest block, and of the next to be made */
    uint64_t open[FORMATS]; /* the number of the block to which texts of the format are added */
    struct buf scratch, content; /* for rendering: a text, and what it is made of */
    size_t bytes;                /* of blocks */
    uint64_t made;               /* bytes that were rendered, in all */
};

void rendered_init(struct rendered *rendered, const char *epoch);

/* Messages whose texts lie side by side. */
struct rendered_run {
    struct frame *frame; /* it has the texts: one reference, the caller's */
    uint32_t at, len;    /* of the texts, in its bytes */
    size_t count;        /* messages */
};

/* Gives the texts, in that shape, of the first of count messages (at least 1), as far as they lie
 * side by side: at least one, and none after the one that reaches `most` bytes. Those that are not
 * kept are rendered. A text for an answer in JSON ends with a comma. One for scripts lacks the call
 * before it (transport.h). Returns false when out of memory. */
bool rendered_run(struct rendered *rendered, const struct shape *shape,
                  struct message *const *messages, size_t count, size_t most,
                  struct rendered_run *run);

/* Frees all. The store may be used again. */
void rendered_free(struct rendered *rendered);

#endif

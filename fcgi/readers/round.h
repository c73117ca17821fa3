/* round.h - what is rendered in one round of news is kept, for all who get the same.
 *
 * Groups may differ in their channels, in the limit of an answer, or in the callback of a script,
 * and still lack the same messages in most rounds of news. Then they get the same bytes, which are
 * rendered once: an entry here is found by the messages that are in it, not by who gets it.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_ROUND_H
#define ENCKE_FCGI_ROUND_H

#include <stddef.h>

#include "fcgi/io/buf.h"
#include "fcgi/readers/batch.h"
#include "fcgi/readers/wanted.h"
#include "fcgi/wire/reply.h"
#include "store/log.h"

struct rendering;

/* All zero bytes is a round that has just begun. */
struct round {
    struct rendering *renderings; /* by the messages in them */
    struct buf key;
    size_t kept;     /* bytes of them */
    size_t rendered; /* bytes that were rendered in this round, kept or not */
};

enum { ROUND_KEPT_MAX = 4 << 20 }; /* bytes; when it would be more, all are dropped first */

/* The answer that gives page to polls, as render_page makes it. Returns one reference, or NULL when
 * out of memory. */
struct frame *round_frame(struct round *round, struct buf *scratch, enum format format,
                          const char *epoch, const struct page *page, size_t most);

/* The batch that gives page to streams, as batch_new makes it. Returns one reference, or NULL when
 * out of memory. */
struct batch *round_batch(struct round *round, struct buf *scratch, const struct shape *shape,
                          const char *epoch, const struct page *page);

/* The round is over: drops all. */
void round_end(struct round *round);

#endif

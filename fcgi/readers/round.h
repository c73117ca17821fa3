/* round.h - the answers that polls get in one round of news are kept, for all who get the same.
 *
 * Groups may differ in their channels or in the limit of an answer, and still lack the same
 * messages in most rounds of news. Then they get the same answer: it is found by the messages that
 * are in it, not by who gets it.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_ROUND_H
#define ENCKE_FCGI_ROUND_H

#include <stddef.h>

#include "fcgi/io/buf.h"
#include "fcgi/readers/rendered.h"
#include "fcgi/readers/wanted.h"
#include "fcgi/wire/reply.h"
#include "store/log.h"

struct round_answer;

/* All zero bytes is a round that has just begun. */
struct round {
    struct round_answer *answers; /* by the messages in them */
    struct buf key;
    size_t kept; /* bytes of them */
    size_t made; /* bytes that were rendered in this round: of answers, and of streams' messages */
};

enum { ROUND_KEPT_MAX = 4 << 20 }; /* bytes; when it would be more, all are dropped first */

/* The answer that gives page to polls, as render_page makes it. Returns one reference, or NULL when
 * out of memory. */
struct frame *round_frame(struct round *round, struct rendered *rendered, enum format format,
                          const struct page *page, size_t most);

/* The round is over: drops all. */
void round_end(struct round *round);

#endif

/* unsent.h - what sockets have not taken, of all readers together, and its bound.
 *
 * The rest of an answer is kept until its reader has taken it, and so is the one frame of a stream
 * that its socket cut through. How much that is, readers choose: by what they ask for, and by not
 * reading. So all of it is counted, a frame once however many lack it; and where it is more than
 * the bound, those who have taken nothing for longest are cut off; or, while all have taken
 * something a moment ago, who has come last (and where that does not do, the former again). They
 * lose nothing: a client goes on from the cursor that it has.
 *
 * A reader is not cut off for a frame that it shares with many, which would free next to nothing,
 * while there are others; nor the only one, whatever it lacks: it would ask for the same again, and
 * never get it.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_UNSENT_H
#define ENCKE_FCGI_UNSENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fcgi/wire/reply.h"

struct conn;

/* What one connection still has to send. All zero bytes: nothing. */
struct rest {
    TAILQ_ENTRY(rest) link;
    struct conn *conn;   /* whose it is, once it is counted; else NULL */
    struct frame *call;  /* that goes before it: one reference; NULL: none */
    struct frame *frame; /* one reference; NULL: nothing is left */
    uint32_t sent;       /* bytes of both */
    int queued;          /* bytes that its socket holds, at the last look */
    uint64_t moved_ms;   /* when some were taken, by the clock of timer.h */
};
TAILQ_HEAD(rest_list, rest);

struct unsent {
    struct rest_list rests; /* who has taken nothing for longest first */
    struct rest *latest;    /* the one that came last; NULL: it is gone */
    size_t count;           /* of them */
    size_t bytes;           /* of their frames */
    size_t bytes_max;
    uint64_t cut_off; /* readers, since the start */
    bool told;        /* the operator knows that some are cut off */
};

/* Sends as much as the socket takes, without blocking. Returns 1 when all is sent, 0 when the
 * socket is full, -1 when the peer is gone. */
int rest_send(struct rest *rest, int fd);

enum { UNSENT_MOMENT_MS = 1000 }; /* whoever took something so recently is a reader */

void unsent_init(struct unsent *unsent, size_t bytes_max);

/* The connection's socket is full, and has taken what rest says: counts the rest, if it is not yet,
 * and puts it at the end of the line. */
void unsent_note(struct unsent *unsent, struct rest *rest, struct conn *conn);

/* It is taken, or will not be: drops the frames. A rest that is none is left alone. */
void unsent_drop(struct unsent *unsent, struct rest *rest);

/* Whether it is more than half of what it may be: time to give less at once; and more. */
static inline bool unsent_is_much(const struct unsent *unsent)
{
    return unsent->bytes > unsent->bytes_max / 2;
}

static inline bool unsent_is_too_much(const struct unsent *unsent)
{
    return unsent->bytes > unsent->bytes_max;
}

/* Who is to be cut off; NULL while it is not too much, or one reader's alone. */
struct conn *unsent_worst(struct unsent *unsent);

/* One reader is cut off: counts it, and tells the operator, once, and again only after it had
 * become half as much (unsent_note_better). */
void unsent_note_cut_off(struct unsent *unsent);
void unsent_note_better(struct unsent *unsent);

#endif

/* unsent.h - counts and bounds the bytes that sockets have not taken, of all readers together.
 *
 * The rest of an answer is kept until its reader has taken it, and so is the one frame of a stream
 * that its socket cut through. Readers decide how much that is: by what they ask for, and by not
 * reading. So all of it is counted, a frame once however many readers lack it. When it is more than
 * the bound, readers are cut off: those that have taken nothing for longest; but while all have
 * taken something a moment ago, the one that came last. They lose nothing: a client goes on from
 * the cursor that it has.
 *
 * A reader that shares its frame with many is passed over while there are others, since cutting it
 * off frees next to nothing. The only reader is never cut off, whatever it lacks: it would ask for
 * the same again, and never get it.
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
    struct conn *conn;   /* the reader, once the rest is counted; else NULL */
    struct frame *call;  /* sent before the frame: one reference; NULL: none */
    struct frame *frame; /* one reference; NULL: nothing is left */
    uint32_t at, len;    /* which of the frame's bytes are sent: len of them, from byte `at` on */
    uint32_t sent;       /* bytes of the call and of these */
    int queued;          /* bytes that the socket held at the last look */
    uint64_t moved_ms;   /* when it took some last, by the clock of timer.h */
};
TAILQ_HEAD(rest_list, rest);

struct unsent {
    struct rest_list rests; /* the one whose reader has taken nothing for longest comes first */
    struct rest *latest;    /* the one that was counted last; NULL: it is gone */
    size_t count;           /* of them */
    size_t bytes;           /* of their frames */
    size_t bytes_max;
    uint64_t cut_off; /* readers, since the start */
    bool told;        /* the operator knows that some are cut off */
};

/* All of the frame. Takes over the reference. */
static inline struct rest rest_of(struct frame *frame)
{
    return (struct rest){.frame = frame, .len = frame->len};
}

/* Sends as much as the socket takes, without blocking. Returns 1 when all is sent, 0 when the
 * socket is full, -1 when the peer is gone. */
int rest_send(struct rest *rest, int fd);

enum { UNSENT_MOMENT_MS = 1000 }; /* a reader that took something so recently still reads */

void unsent_init(struct unsent *unsent, size_t bytes_max);

/* The connection's socket is full again, after it took what rest->sent says. Counts the rest, if it
 * is not counted yet, and puts it at the end of the list. */
void unsent_note(struct unsent *unsent, struct rest *rest, struct conn *conn);

/* The rest is sent, or never will be: drops its frames, and empties it. An empty one is allowed. */
void unsent_drop(struct unsent *unsent, struct rest *rest);

/* Whether it is more than half of the bound, so that it is time to give less at once; and whether
 * it is more than all of it. */
static inline bool unsent_is_much(const struct unsent *unsent)
{
    return unsent->bytes > unsent->bytes_max / 2;
}

static inline bool unsent_is_too_much(const struct unsent *unsent)
{
    return unsent->bytes > unsent->bytes_max;
}

/* The reader to cut off next. NULL while it is not too much, or there is only one. */
struct conn *unsent_worst(struct unsent *unsent);

/* A reader is cut off: counts it, and tells the operator, once, and again only after
 * unsent_note_better has found that no more than half of the bound was unsent. */
void unsent_note_cut_off(struct unsent *unsent);
void unsent_note_better(struct unsent *unsent);

#endif

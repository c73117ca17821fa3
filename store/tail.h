/* tail.h - the recent messages, in memory.
 *
 * One rule carries it: every message that is retained, visible and newer than `start` is in here,
 * with a channel entry of its own if need be. So a reader whose cursor is at or past start is
 * answered from memory alone, gap included:
 * - a channel with an entry keeps its floor there;
 * - one without has nothing newer than start. If it has messages on disk, its floor is below them,
 *   so below start, and no gap for such a cursor. If it has none, its floor is `forgotten`. These
 *   need no telling apart: forgotten is below every retained message (retention.h), so once it is
 *   past start, every channel that has messages has them here.
 *
 * To stay within its bytes it lets go of the oldest and raises start. It begins at 0 while the
 * whole log fits.
 *
 * The loop's thread only.
 */
#ifndef ENCKE_STORE_TAIL_H
#define ENCKE_STORE_TAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "store/message.h"
#include "store/page.h"

struct tail_entry;   /* a message's place in the order of the log */
struct tail_channel; /* a channel's messages */
TAILQ_HEAD(tail_list, tail_entry);

struct tail {
    uint64_t start;     /* see above */
    uint64_t forgotten; /* the floor of channels without messages */
    size_t count;       /* messages */
    size_t bytes;       /* message_size of them */
    size_t limit_bytes;
    struct tail_list recent; /* all of them, oldest first */
    struct tail_channel *channels;
};

void tail_init(struct tail *tail, size_t limit_bytes);
void tail_free(struct tail *tail);

/* Takes a reference to message, which is newer than all before. When out of memory, the tail lets
 * go of everything up to it instead, and the disk answers. */
void tail_add(struct tail *tail, struct message *message);

/* Lets go of the oldest messages while they are more than limit_bytes. */
void tail_trim(struct tail *tail);

/* The channel's messages up to floor are retained no longer. */
void tail_forget(struct tail *tail, const char *channel, uint64_t floor);

/* Sets the floor of a channel that has messages here, when the log is opened. */
void tail_set_floor(struct tail *tail, const char *channel, uint64_t floor);

/* The channel's floor, exact when it is past start. */
uint64_t tail_floor(const struct tail *tail, const char *channel);

/* Fills the page with what is newer than `after` (and than start) on count channels, in order, and
 * sets page->more if something is left. Returns 0, or -1 when out of memory. */
int tail_read(const struct tail *tail, const char *const *channels, size_t count, uint64_t after,
              struct page_fill *fill);

#endif

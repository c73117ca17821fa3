/* tail.h - the recent messages, in memory.
 *
 * One rule makes it work: every message that is retained, visible and newer than `start` is in
 * here, and so is its channel. So a reader whose cursor is at start or newer is answered from
 * memory alone, and its gap is known, too:
 * - A channel that is in here has its floor (schema.h) here.
 * - A channel that is not in here has no message newer than start. If it has older ones on disk,
 *   its floor is below them, and so below start: no gap for such a cursor. If it has none, its
 *   floor is `forgotten`. Both cases are answered with `forgotten`, and that is right: if forgotten
 *   is not above start, it is no gap either; and if it is, there is no channel of the first case,
 *   since forgotten is below every retained message (retention.h).
 *
 * To stay within its bytes, it drops the oldest messages and raises start. start is 0 as long as
 * the whole log fits.
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
struct tail_channel; /* a channel and its messages */
TAILQ_HEAD(tail_list, tail_entry);

struct tail {
    uint64_t start;     /* all that is newer is in here: see above */
    uint64_t forgotten; /* the floor of channels without messages */
    size_t count;       /* messages */
    size_t bytes;       /* message_size of them */
    size_t limit_bytes;
    struct tail_list recent; /* all of them, oldest first */
    struct tail_channel *channels;
};

void tail_init(struct tail *tail, size_t limit_bytes);
void tail_free(struct tail *tail);

/* Adds message, which is newer than all before, with a reference of its own. When out of memory,
 * the tail instead drops everything up to it, and the disk answers. */
void tail_add(struct tail *tail, struct message *message);

enum { TAIL_PINNED_BYTES = 16 << 20 }; /* beyond limit_bytes; then what is pinned is dropped, too */

/* Drops the oldest messages until limit_bytes are enough. Messages after the seq `pinned` stay, up
 * to TAIL_PINNED_BYTES more. */
void tail_trim(struct tail *tail, uint64_t pinned);

/* Drops everything: nothing up to floor is retained. */
void tail_restart(struct tail *tail, uint64_t floor);

/* The channel's messages up to floor are no longer retained: drops them. */
void tail_forget(struct tail *tail, const char *channel, uint64_t floor);

/* Sets the floor of a channel that has messages here, when the log is opened. */
void tail_set_floor(struct tail *tail, const char *channel, uint64_t floor);

/* The channel's floor; exact if it is past start. */
uint64_t tail_floor(const struct tail *tail, const char *channel);

/* Fills the page with the messages of count channels that are newer than `after` (and than start),
 * in order. Sets page->more if there are more of them. Returns 0, or -1 when out of memory. */
int tail_read(const struct tail *tail, const char *const *channels, size_t count, uint64_t after,
              struct page_fill *fill);

#endif

/* page.h - filling a page of messages (log.h's struct page) up to its limit.
 *
 * The loop's thread only.
 */
#ifndef ENCKE_STORE_PAGE_H
#define ENCKE_STORE_PAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "store/log.h"

struct page_fill {
    struct page *page;
    struct page_limit limit;
    size_t bytes;    /* of data so far */
    size_t capacity; /* of page->messages */
};

/* Up to where the messages of each of a set of channels are no longer retained. */
struct floors {
    uint64_t *each; /* room for all of the set */
    size_t count;   /* so far */
    uint64_t highest;
};

static inline void floors_add(struct floors *floors, uint64_t floor)
{
    if (floor > floors->highest)
        floors->highest = floor;
    floors->each[floors->count++] = floor;
}

/* Whether the page takes no more messages. */
static inline bool page_is_full(const struct page_fill *fill)
{
    return fill->page->count >= fill->limit.messages || fill->bytes >= fill->limit.bytes;
}

/* Makes room for count messages more, or for as many as the limit lets in. Returns 0, or -1 when
 * out of memory, with the page as it was. */
int page_reserve(struct page_fill *fill, size_t count);

/* Adds message to a page that is not full, taking over the reference. Returns 0, or -1 when out of
 * memory, and then the reference is still the caller's. */
int page_add(struct page_fill *fill, struct message *message);

#endif

/* page.h - a page: the messages that one read gives, up to a limit.
 *
 * struct page and struct page_limit are part of the log's interface (log.h). The rest is for the
 * files that fill a page: tail.c from memory, reader.c from the disk, plan.c from both.
 *
 * One thread at a time: a page is the reader's thread's while it is read, then the loop's.
 */
#ifndef ENCKE_STORE_PAGE_H
#define ENCKE_STORE_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/clock.h"
#include "store/gap.h"
#include "store/message.h"

/* Messages of a set of channels, in the order of the log. */
struct page {
    struct message **messages; /* count references, dropped by page_free */
    size_t count;
    uint64_t next;   /* the seq of the cursor to go on with: the visible head, or with `more` the
                        last message of the page */
    bool more;       /* there is more, or may be: ask again from next */
    bool reset;      /* messages may be missing between the cursor and this page */
    struct gap *gap; /* which ones: up to where each channel has lost messages. A reader who knows
                        of it need not be told (gap.h). NULL: none after the cursor */
};

/* How much a page may hold. It ends with the message that reaches either. */
struct page_limit {
    size_t messages; /* at least 1 */
    size_t bytes;    /* of data; at least 1 */
};

void page_free(struct page *page);

/* ---- filling ---- */

struct page_fill {
    struct page *page;
    struct page_limit limit;
    size_t bytes;     /* of data so far */
    size_t capacity;  /* of page->messages */
    int64_t until_ms; /* of the steady clock: then a page that is not empty ends; 0: no limit */
};

/* The floors (schema.h) of a set of channels: the messages up to them may have been deleted. */
struct floors {
    uint64_t *each; /* room for all channels of the set */
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
    return fill->page->count >= fill->limit.messages || fill->bytes >= fill->limit.bytes ||
           (fill->until_ms > 0 && fill->page->count > 0 && clock_steady_ms() >= fill->until_ms);
}

/* Makes room for count more messages, or for as many as the limit allows. Returns 0, or -1 when out
 * of memory, with the page as it was. */
int page_reserve(struct page_fill *fill, size_t count);

/* Adds message to a page that is not full, and takes over the reference. Returns 0, or -1 when out
 * of memory; then the reference is still the caller's. */
int page_add(struct page_fill *fill, struct message *message);

/* Adds all messages of another page, with references of their own, and takes over `more`. Returns
 * 0, or -1 when out of memory, with the page as it was. */
int page_add_all(struct page_fill *fill, const struct page *from);

#endif

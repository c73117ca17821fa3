/* plan.h - where a page begins, and how it is put together: from memory alone, or from what was
 * read from the disk and what memory has after that.
 *
 * No I/O. The loop's thread only.
 */
#ifndef ENCKE_STORE_PLAN_H
#define ENCKE_STORE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/cursor.h"
#include "store/page.h"
#include "store/tail.h"

/* What a reader is to be given. */
struct plan {
    uint64_t after; /* messages that are newer than this */
    bool check_gap; /* the reader believes that it has seen everything up to `after` */
    bool reset;     /* its cursor tells nothing, so it is told */
};

/* The plan for a cursor that is not CURSOR_NOW, in a log whose visible head is head. */
struct plan plan_of(struct cursor cursor, uint64_t head);

/* What was read from the disk: the messages of some channels from `after`, without it, to upto. */
struct disk_page {
    uint64_t after, upto;
    struct page page; /* messages, and whether there are more of them up to upto */
    struct floors floors;
};

/* Whether the page says too little to go on from: it is empty, and memory no longer has all that is
 * newer than its upto. Then the disk is to be read from there on. */
bool plan_needs_more(const struct disk_page *disk, const struct tail *tail);

/* Fill the empty page with count channels' messages: from memory, or from what was read from the
 * disk (for which plan_needs_more is false) and from memory. floors has room for all channels, and
 * is overwritten. Return 0, or -1 when out of memory, with the page partly filled. */
int plan_fill_from_memory(const struct plan *plan, const struct tail *tail, uint64_t head,
                          const char *const *channels, size_t count, struct floors *floors,
                          struct page_limit limit, struct page *page);
int plan_fill_from_disk(const struct plan *plan, const struct tail *tail, uint64_t head,
                        const struct disk_page *disk, const char *const *channels, size_t count,
                        struct floors *floors, struct page_limit limit, struct page *page);

#endif

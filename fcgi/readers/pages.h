/* pages.h - what streams are given of the log: pages, rendered. Those that were rendered for
 * streams behind are kept for a while, so that streams that catch up side by side share them.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_PAGES_H
#define ENCKE_FCGI_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/readers/batch.h"
#include "fcgi/readers/group.h"
#include "fcgi/readers/round.h"
#include "store/log.h"

enum { PAGES_KEPT = 16, PAGES_KEPT_BYTES = 256 * 1024 /* of one; larger ones are not kept */ };

struct pages {
    struct log *log;
    struct round *round; /* where the news of this moment are rendered */
    struct buf *scratch;
    struct kept_page {
        uint64_t serial;  /* of the group */
        uint64_t head;    /* of the log, then */
        struct gap *told; /* as in struct progress */
        struct cursor cursor;
        struct batch *batch; /* NULL: none */
    } kept[PAGES_KEPT];
    bool failing; /* the last could not be read, and the operator has been told */
};

void pages_init(struct pages *pages, struct log *log, struct round *round, struct buf *scratch);

/* The page for a reader of the group that has come so far. Returns one reference, or NULL with the
 * reason in *status. May read from the disk. */
struct batch *pages_get(struct pages *pages, const struct group *group,
                        const struct progress *progress, enum log_status *status);

/* The page from seq on of those of the group's channels that have news in this round; as above. */
struct batch *pages_news(struct pages *pages, const struct group *group, uint64_t seq);

/* Forgets all; more may be kept again. */
void pages_free(struct pages *pages);

#endif

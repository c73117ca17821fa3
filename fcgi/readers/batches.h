/* batches.h - what streams get from the log: pages of messages, each rendered as a batch (batch.h).
 * A batch that was rendered for a stream that is behind is kept for a while, so that streams which
 * catch up side by side share it.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_BATCHES_H
#define ENCKE_FCGI_BATCHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/readers/batch.h"
#include "fcgi/readers/group.h"
#include "fcgi/readers/round.h"
#include "store/log.h"

enum { BATCHES_KEPT = 16, BATCHES_KEPT_BYTES = 256 * 1024 /* of one; larger ones are not kept */ };

struct batches {
    struct log *log;
    struct round *round; /* where the news of this moment are rendered */
    struct buf *scratch;
    struct kept_batch {
        uint64_t serial;  /* of the group */
        uint64_t head;    /* of the log, when the batch was rendered */
        struct gap *told; /* as in struct progress */
        struct cursor cursor;
        struct batch *batch; /* NULL: none */
    } kept[BATCHES_KEPT];
    bool failing; /* the last page could not be read, and the operator has been told */
};

void batches_init(struct batches *batches, struct log *log, struct round *round,
                  struct buf *scratch);

/* The next batch for a stream of the group that has come as far as progress says. Returns one
 * reference, or NULL with the reason in *status. May read from the disk. */
struct batch *batches_get(struct batches *batches, const struct group *group,
                          const struct progress *progress, enum log_status *status);

/* The batch of what came after seq in those of the group's channels that have news in this round.
 * Returns one reference, or NULL. */
struct batch *batches_news(struct batches *batches, const struct group *group, uint64_t seq);

/* Frees what is kept. More may be kept afterwards. */
void batches_free(struct batches *batches);

#endif

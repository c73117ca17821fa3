/* batches.h - what streams get from the log: pages of messages, each as a batch (batch.h).
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_BATCHES_H
#define ENCKE_FCGI_BATCHES_H

#include <stdint.h>

#include "fcgi/readers/batch.h"
#include "fcgi/readers/group.h"
#include "store/log.h"

/* The next batch for a stream of the group that has come as far as progress says. It is the
 * caller's; NULL with the reason in *status. May read from the disk. */
struct batch *batches_next(const struct group *group, const struct progress *progress,
                           enum log_status *status);

/* The batch of what came after seq in those of the group's channels that have news in this round.
 * Likewise. */
struct batch *batches_news(const struct group *group, uint64_t seq);

#endif

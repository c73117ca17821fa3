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
 * caller's; NULL with the reason in *status. LOG_LATER: memory does not have it, see batches_read.
 */
struct batch *batches_next(const struct group *group, const struct progress *progress,
                           enum log_status *status);

/* Has the page for that batch read from the disk; done is called with it. Returns as
 * log_read_later, which says more. */
enum log_status batches_read(const struct group *group, const struct progress *progress,
                             read_done *done, void *owner, struct read **read);

/* The batch of the page that was read so. A gap that the stream knows of is taken out of the page.
 * It is the caller's; NULL if the status is another than LOG_OK, or when out of memory. */
struct batch *batches_of_page(const struct group *group, const struct progress *progress,
                              struct page *page, enum log_status status);

/* The batch of what came after seq in those of the group's channels that have news in this round.
 * Returns as batches_next. */
struct batch *batches_news(const struct group *group, uint64_t seq, enum log_status *status);

#endif

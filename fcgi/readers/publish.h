/* publish.h - the one way into the log, for the messages of creates, WebSockets and feeds.
 *
 *     publish_text(publisher, channel, text, &ops, owner, &append);  // queued for the next commit
 *     ... log_drain ...
 *     publish_done(publisher, &news);       // ops->done: each owner learns how it ended
 *     ... the readers are given the news ...
 *     publish_delivered(&news);             // ops->delivered
 *
 * The operator is told when messages begin to fail, and when they are stored again, not each time.
 *
 * Loop's thread only. Nothing here blocks.
 */
#ifndef ENCKE_FCGI_PUBLISH_H
#define ENCKE_FCGI_PUBLISH_H

#include <stddef.h>

#include "fcgi/wire/form.h"
#include "store/log.h"

struct publisher {
    struct log *log;
    size_t max_message;          /* bytes of one message */
    enum log_status last_status; /* of the latest message */
};

/* What makes text unfit for a message, its length aside; or NULL. One sentence, JSON-safe and
 * static. */
const char *publish_complaint(struct text text);

/* Queues a message with that text, which publish_complaint finds fit, for the next commit. Returns
 * LOG_OK with *append, of which ops tells the owner (store/log.h); or why not. */
enum log_status publish_text(struct publisher *publisher, const char *channel, struct text text,
                             const struct append_ops *ops, void *owner, struct append **append);

/* The same for a message that is there already. Takes over the reference, whatever it returns. */
enum log_status publish_message(struct publisher *publisher, struct message *message,
                                const struct append_ops *ops, void *owner, struct append **append);

/* The owner goes away: the message is stored all the same, and nobody is told. */
static inline void publish_forget(struct append *append)
{
    append->ops = NULL;
    append->owner = NULL;
}

/* Tell the owners how their appends ended. publish_done calls ops->done, as soon as the log has
 * reported; publish_delivered calls ops->delivered, once the waiting readers have the news. */
void publish_done(struct publisher *publisher, const struct log_news *news);
void publish_delivered(const struct log_news *news);

#endif

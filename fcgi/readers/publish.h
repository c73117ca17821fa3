/* publish.h - the one way into the log, for the messages of creates, batches, WebSockets and feeds.
 *
 *     publish_text(publisher, channel, text, &ops, owner, &append);  // queued for the next commit
 *     ... log_drain ...
 *     publish_done(publisher, &news);       // ops->done: each owner learns how it ended
 *     ... the readers are given the news ...
 *     publish_delivered(&news);             // ops->delivered
 *
 * The operator is told when messages begin to fail, and when they are stored again, not each time;
 * and of limits that only some messages meet, once a minute.
 *
 * Loop's thread only. Nothing here blocks.
 */
#ifndef ENCKE_FCGI_PUBLISH_H
#define ENCKE_FCGI_PUBLISH_H

#include <stddef.h>

#include "fcgi/wire/entries.h"
#include "store/log.h"

struct publisher {
    struct log *log;
    size_t max_message;          /* bytes of one message */
    enum log_status last_status; /* of the latest message, those aside that only meet a limit */
    uint64_t channels_told_ms;   /* when the operator was told of a limit; 0: never */
    uint64_t keys_told_ms;
};

/* What makes text unfit for a message, its length aside; or NULL. One sentence, JSON-safe and
 * static. */
const char *publish_complaint(struct text text);

/* Whether the message that a client names may be published. Returns 0, or the HTTP status to refuse
 * it with: then *why is one sentence, JSON-safe, and valid until the next call. */
int publish_check(const struct publisher *publisher, const struct entry *entry, const char **why);

/* Makes the message of an entry that publish_check has found fit. It goes to the channel `main`
 * unless the entry names one. Returns one reference, or NULL when out of memory. */
struct message *publish_make(const struct entry *entry);

/* Queues messages for the next commit, which stores all of them or none. Takes over the references,
 * whatever it returns. If one is NULL, memory ran out, and none is stored. Returns LOG_OK with
 * *append, of which ops tells the owner (store/log.h); or why not. */
enum log_status publish_messages(struct publisher *publisher, struct message *const *messages,
                                 size_t count, const struct append_ops *ops, void *owner,
                                 struct append **append);

/* The same for a new message without a key, with a text that publish_complaint finds fit. */
enum log_status publish_text(struct publisher *publisher, const char *channel, struct text text,
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

#include "fcgi/readers/publish.h"

#include <string.h>

#include "fcgi/io/diag.h"
#include "store/clock.h"

/* Tells the operator if the status is another than that of the message before. */
static void note_publish_status(struct publisher *publisher, enum log_status status)
{
    if (status == publisher->last_status)
        return;
    publisher->last_status = status;
    const char *error = status == LOG_QUEUE ? NULL : log_error(publisher->log);
    if (status == LOG_OK)
        diag(DIAG_INFO, "messages are stored again");
    else
        diag(status == LOG_FAILED ? DIAG_ERROR : DIAG_WARN, "messages cannot be stored: %s",
             error ? error : log_status_text(status));
}

const char *publish_complaint(struct text text)
{
    if (text.len > 0 && memchr(text.bytes, '\0', text.len))
        return "the message contains a NUL byte";
    return text.len > 0 && !text_is_utf8(text) ? "the message is not UTF-8" : NULL;
}

enum log_status publish_message(struct publisher *publisher, struct message *message,
                                const struct append_ops *ops, void *owner, struct append **append)
{
    enum log_status status =
        message ? log_append(publisher->log, &message, 1, ops, owner, append) : LOG_NO_MEMORY;
    if (status == LOG_OK)
        return LOG_OK;
    message_drop(message);
    note_publish_status(publisher, status);
    return status;
}

enum log_status publish_text(struct publisher *publisher, const char *channel, struct text text,
                             const struct append_ops *ops, void *owner, struct append **append)
{
    struct message *message = message_new(channel, text.bytes, text.len, clock_wall_ms());
    return publish_message(publisher, message, ops, owner, append);
}

void publish_done(struct publisher *publisher, const struct log_news *news)
{
    struct append *append;
    STAILQ_FOREACH (append, &news->done, next) {
        note_publish_status(publisher, append->status);
        if (append->ops && append->ops->done)
            append->ops->done(append);
    }
    if (news->failed)
        note_publish_status(publisher, LOG_FAILED);
}

void publish_delivered(const struct log_news *news)
{
    struct append *append;
    STAILQ_FOREACH (append, &news->done, next)
        if (append->ops && append->ops->delivered)
            append->ops->delivered(append);
}

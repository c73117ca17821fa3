#include "fcgi/readers/publish.h"

#include <stdio.h>
#include <string.h>

#include "fcgi/io/diag.h"
#include "fcgi/io/timer.h"
#include "fcgi/readers/wanted.h"
#include "fcgi/wire/key.h"
#include "store/clock.h"

enum { LIMIT_TOLD_MS = 60000 };

/* A limit that some messages meet while others are stored: at most one line a minute tells of it.
 */
static void note_limit(uint64_t *told_ms, const char *line)
{
    uint64_t now = timer_now_ms();
    if (*told_ms != 0 && now - *told_ms < LIMIT_TOLD_MS)
        return;
    *told_ms = now;
    diag(DIAG_WARN, "%s", line);
}

/* Tells the operator if the status is another than that of the message before. */
static void note_publish_status(struct publisher *publisher, enum log_status status)
{
    if (status == LOG_CHANNELS)
        note_limit(
            &publisher->channels_told_ms,
            "too many channels are kept (--max-channels-kept): messages on new ones are refused");
    if (status == LOG_KEYS)
        note_limit(&publisher->keys_told_ms,
                   "too many keys are kept (--once-keys): messages with new ones are refused");
    if (log_status_is_of_message(status) || status == publisher->last_status)
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

int publish_check(const struct publisher *publisher, const struct entry *entry, const char **why)
{
    static char too_large[64];
    if (entry->channel.bytes && !channel_name_valid(entry->channel)) {
        *why = CHANNEL_NAME_RULE;
        return 400;
    }
    if (entry->message.len > publisher->max_message) {
        snprintf(too_large, sizeof too_large, "the message is larger than %zu bytes",
                 publisher->max_message);
        *why = too_large;
        return 413;
    }
    *why = publish_complaint(entry->message);
    if (!*why)
        *why = key_complaint(entry->once);
    return *why ? 400 : 0;
}

struct message *publish_make(const struct entry *entry)
{
    const char *channel = entry->channel.bytes ? entry->channel.bytes : "main";
    struct text text = entry->message, key = entry->once;
    int64_t now = clock_wall_ms();
    return key.bytes ? message_new_once(channel, text.bytes, text.len, now, key.bytes, key.len)
                     : message_new(channel, text.bytes, text.len, now);
}

enum log_status publish_messages(struct publisher *publisher, struct message *const *messages,
                                 size_t count, const struct append_ops *ops, void *owner,
                                 struct append **append)
{
    enum log_status status = LOG_OK;
    for (size_t i = 0; i < count; i++)
        if (!messages[i])
            status = LOG_NO_MEMORY;
    if (status == LOG_OK)
        status = log_append(publisher->log, messages, count, ops, owner, append);
    if (status == LOG_OK)
        return LOG_OK;
    for (size_t i = 0; i < count; i++)
        message_drop(messages[i]);
    note_publish_status(publisher, status);
    return status;
}

enum log_status publish_text(struct publisher *publisher, const char *channel, struct text text,
                             const struct append_ops *ops, void *owner, struct append **append)
{
    struct message *message = message_new(channel, text.bytes, text.len, clock_wall_ms());
    return publish_messages(publisher, &message, 1, ops, owner, append);
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

#include "store/message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* About what a message costs beyond its bytes: its struct, its links in memory and the allocator's
 * share, measured as 120 bytes. On disk, its row and its entry in the index are less. Files contain
 * sums of it (schema.h, log.bytes). */
enum { OVERHEAD = 128 };

/* With room for a key of that length. */
static struct message *make_message(const char *channel, const char *data, size_t data_len,
                                    int64_t time_ms, size_t key_len)
{
    size_t channel_len = strlen(channel);
    assert(channel_len <= CHANNEL_MAX && key_len <= KEY_MAX);
    if (channel_len > CHANNEL_MAX || data_len > UINT32_MAX || key_len > KEY_MAX)
        return NULL;
    struct message *message = malloc(sizeof *message + channel_len + 1 + data_len + 1 + key_len);
    if (!message)
        return NULL;
    message->seq = 0;
    message->time_ms = time_ms;
    message->refs = 1;
    message->data_len = (uint32_t)data_len;
    message->channel_len = (uint8_t)channel_len;
    message->key_len = (uint8_t)key_len;
    memcpy(message->bytes, channel, channel_len + 1);
    if (data_len)
        memcpy(message->bytes + channel_len + 1, data, data_len);
    message->bytes[channel_len + 1 + data_len] = '\0';
    return message;
}

struct message *message_new(const char *channel, const char *data, size_t data_len, int64_t time_ms)
{
    return make_message(channel, data, data_len, time_ms, 0);
}

struct message *message_new_once(const char *channel, const char *data, size_t data_len,
                                 int64_t time_ms, const char *key, size_t key_len)
{
    assert(key_len > 0);
    struct message *message = make_message(channel, data, data_len, time_ms, key_len);
    if (message)
        memcpy(message->bytes + message->channel_len + 1 + data_len + 1, key, key_len);
    return message;
}

struct message *message_hold(struct message *message)
{
    message->refs++;
    return message;
}

void message_drop(struct message *message)
{
    if (message && --message->refs == 0)
        free(message);
}

size_t message_size(const struct message *message)
{
    return message_size_of(message->channel_len, message->data_len) + message->key_len;
}

size_t message_size_of(size_t channel_len, size_t data_len)
{
    return OVERHEAD + channel_len + data_len;
}

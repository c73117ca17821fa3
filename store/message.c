#include "store/message.h"

#include <assert.h>
#include <sodium/crypto_generichash.h>
#include <stdlib.h>
#include <string.h>

/* About what a message costs beyond its bytes: its struct, its links in memory and the allocator's
 * share, measured as 120 bytes. On disk, its row and its entry in the index are less. Files contain
 * sums of it (schema.h, log.bytes). */
enum { OVERHEAD = 128 };

/* With room for a key, if it is keyed. */
static struct message *make_message(const char *channel, const char *data, size_t data_len,
                                    int64_t time_ms, bool keyed)
{
    size_t channel_len = strlen(channel);
    assert(channel_len <= CHANNEL_MAX);
    if (channel_len > CHANNEL_MAX || data_len > UINT32_MAX)
        return NULL;
    size_t bytes = channel_len + 1 + data_len + 1 + (keyed ? MESSAGE_KEY : 0);
    struct message *message = malloc(sizeof *message + bytes);
    if (!message)
        return NULL;
    message->seq = 0;
    message->time_ms = time_ms;
    message->refs = 1;
    message->data_len = (uint32_t)data_len;
    message->channel_len = (uint8_t)channel_len;
    message->keyed = keyed;
    memcpy(message->bytes, channel, channel_len + 1);
    if (data_len)
        memcpy(message->bytes + channel_len + 1, data, data_len);
    message->bytes[channel_len + 1 + data_len] = '\0';
    return message;
}

struct message *message_new(const char *channel, const char *data, size_t data_len, int64_t time_ms)
{
    return make_message(channel, data, data_len, time_ms, false);
}

/* The NUL behind the name keeps channel and key apart. */
struct message *message_new_once(const char *channel, const char *data, size_t data_len,
                                 int64_t time_ms, const char *key, size_t key_len)
{
    struct message *message = make_message(channel, data, data_len, time_ms, true);
    if (!message)
        return NULL;
    crypto_generichash_state state;
    uint8_t *hash = (uint8_t *)message->bytes + message->channel_len + 1 + data_len + 1;
    crypto_generichash_init(&state, NULL, 0, MESSAGE_KEY);
    crypto_generichash_update(&state, (const uint8_t *)channel, message->channel_len + 1ULL);
    crypto_generichash_update(&state, (const uint8_t *)key, key_len);
    crypto_generichash_final(&state, hash, MESSAGE_KEY);
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
    return message_size_of(message->channel_len, message->data_len);
}

size_t message_size_of(size_t channel_len, size_t data_len)
{
    return OVERHEAD + channel_len + data_len;
}

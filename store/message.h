/* message.h - one message of the log, shared by all who need it.
 *
 * A message is made once, when it is received or read, and never changes after its commit. It has a
 * count of references: the memory of recent messages, an append that waits for its commit and a
 * page that was read hold one each. Its bytes are never copied for a reader.
 *
 * The count is not atomic: only the loop's thread takes and drops references. The writer's thread
 * borrows a message through its append, and gives the append back. The reader's thread makes
 * messages, and hands them over with their page.
 */
#ifndef ENCKE_STORE_MESSAGE_H
#define ENCKE_STORE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHANNEL_MAX = 64, /* bytes of a channel's name, without its NUL */
    KEY_MAX = 128     /* bytes of a key */
};

struct message {
    uint64_t seq;    /* place in the log, from 1; 0 until it is committed */
    int64_t time_ms; /* when it was appended: milliseconds since 1970, UTC; never decides order */
    uint32_t refs;
    uint32_t data_len; /* bytes */
    uint8_t channel_len;
    uint8_t key_len; /* 0: it has none */
    char bytes[]; /* the channel's name and its NUL, then data_len bytes of data and a NUL, then the
                     key */
};

/* Makes a message with one reference and seq 0. Copies channel (NUL-terminated, at most CHANNEL_MAX
 * bytes) and data (any bytes; may be NULL if data_len is 0). time_ms is clock_wall_ms() for a new
 * message. Returns NULL when out of memory. */
struct message *message_new(const char *channel, const char *data, size_t data_len,
                            int64_t time_ms);

/* Makes a message that is to be stored once, whatever number of times its publisher tries: on its
 * channel, key stands for it (1 to KEY_MAX bytes). The rest is as for message_new. */
struct message *message_new_once(const char *channel, const char *data, size_t data_len,
                                 int64_t time_ms, const char *key, size_t key_len);

/* Takes one more reference and returns message. */
struct message *message_hold(struct message *message);

/* Drops one reference; the last one frees it. NULL is allowed. */
void message_drop(struct message *message);

/* The channel's name, NUL-terminated; lives as long as the message. */
static inline const char *message_channel(const struct message *message)
{
    return message->bytes;
}

/* The data: data_len bytes, and a NUL after them that is not part of it. */
static inline const char *message_data(const struct message *message)
{
    return message->bytes + message->channel_len + 1;
}

/* Its key: key_len bytes; NULL if it has none. */
static inline const char *message_key(const struct message *message)
{
    return message->key_len ? message_data(message) + message->data_len + 1 : NULL;
}

/* What the message counts for wherever bytes are limited: its data, its channel's name, its key and
 * a fixed overhead, so that empty messages are not free. */
size_t message_size(const struct message *message);

/* The same for a message on disk, which has no key there. */
size_t message_size_of(size_t channel_len, size_t data_len);

#endif

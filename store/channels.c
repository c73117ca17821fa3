#include "store/channels.h"

#include <stdlib.h>
#include <string.h>

struct channel *channels_find(const struct channels *channels, const char *name, size_t name_len)
{
    struct channel *channel;
    HASH_FIND(hh, channels->by_name, name, name_len, channel);
    return channel;
}

struct channel *channels_find_id(const struct channels *channels, sqlite3_int64 id)
{
    struct channel *channel;
    HASH_FIND(hh_id, channels->by_id, &id, sizeof id, channel);
    return channel;
}

struct channel *channels_add(struct channels *channels, sqlite3_int64 id, const char *name,
                             size_t name_len)
{
    struct channel *channel = calloc(1, sizeof *channel + name_len + 1);
    if (!channel)
        return NULL;
    channel->id = id;
    channel->name_len = (uint8_t)name_len;
    memcpy(channel->name, name, name_len);
    HASH_ADD(hh, channels->by_name, name, name_len, channel);
    if (!channel->hh.tbl) {
        free(channel);
        return NULL;
    }
    HASH_ADD(hh_id, channels->by_id, id, sizeof channel->id, channel);
    if (!channel->hh_id.tbl) {
        HASH_DELETE(hh, channels->by_name, channel);
        free(channel);
        return NULL;
    }
    return channel;
}

void channels_drop(struct channels *channels, struct channel *channel)
{
    HASH_DELETE(hh, channels->by_name, channel);
    HASH_DELETE(hh_id, channels->by_id, channel);
    free(channel);
}

/* If one of them is busy, it is soon loaded again. */
void channels_shrink(struct channels *channels, unsigned keep)
{
    while (HASH_CNT(hh, channels->by_name) > keep)
        channels_drop(channels, channels->by_name);
}

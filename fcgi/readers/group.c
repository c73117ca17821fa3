#include "fcgi/readers/group.h"

#include <stdlib.h>
#include <string.h>

#include "fcgi/conn/admission.h"
#include "fcgi/io/timer.h"
#include "fcgi/readers/transport.h"

/* A channel that is read by a group. */
struct channel {
    UT_hash_handle hh;
    LIST_HEAD(, member) members;
    bool news;                       /* in this round */
    STAILQ_ENTRY(channel) next_news; /* in this round's list */
    char name[];
};
STAILQ_HEAD(channel_list, channel);
STAILQ_HEAD(group_list, group);

/* One group reads one channel. */
struct member {
    LIST_ENTRY(member) link; /* among the channel's members */
    struct channel *channel;
    struct group *group;
};

enum { OVERHEAD = 24 }; /* bytes that the allocator and the hash table add to an element, about */

void groups_init(struct groups *groups, struct readers *readers, struct admission *admission,
                 struct buf *scratch)
{
    *groups = (struct groups){.readers = readers, .admission = admission, .scratch = scratch};
    TAILQ_INIT(&groups->deserted);
}

/* ---- making and joining ---- */

static size_t channel_bytes(const char *name)
{
    return OVERHEAD + sizeof(struct channel) + strlen(name) + 1;
}

static size_t group_bytes(size_t key_len, size_t channels)
{
    return 2 * OVERHEAD + sizeof(struct group) + key_len + channels * sizeof(struct member);
}

/* A text that is equal for readers that want the same: the shape and the sorted channels. The
 * callback comes first, so that the group can point to it. The text stays the buffer's. */
static const char *group_key(struct buf *scratch, const struct wanted *wanted)
{
    const struct shape *shape = &wanted->shape;
    buf_reset(scratch);
    buf_puts(scratch, shape->callback);
    buf_add(scratch, "", 1);
    buf_printf(scratch, "%d %u %u", (int)shape->format, shape->limit, shape->request_id);
    for (size_t i = 0; i < wanted->count; i++) {
        buf_puts(scratch, " ");
        buf_puts(scratch, wanted->channels[i]);
    }
    return buf_ok(scratch) ? scratch->bytes : NULL;
}

static struct channel *channel_find_or_make(struct groups *groups, const char *name)
{
    struct channel *channel;
    size_t name_size = strlen(name) + 1;
    HASH_FIND_STR(groups->channels, name, channel);
    if (channel || !(channel = calloc(1, sizeof *channel + name_size)))
        return channel;
    memcpy(channel->name, name, name_size);
    LIST_INIT(&channel->members);
    HASH_ADD_STR(groups->channels, name, channel);
    if (!channel->hh.tbl) {
        free(channel);
        return NULL;
    }
    groups->admission->bytes += channel_bytes(name);
    return channel;
}

static void channel_free_unread(struct groups *groups, struct channel *channel)
{
    if (!LIST_EMPTY(&channel->members) || channel->news)
        return;
    HASH_DEL(groups->channels, channel);
    groups->admission->bytes -= channel_bytes(channel->name);
    free(channel);
}

static void group_free(struct groups *groups, struct group *group)
{
    for (size_t i = 0; i < group->member_count; i++) {
        LIST_REMOVE(&group->members[i], link);
        channel_free_unread(groups, group->members[i].channel);
    }
    groups->admission->bytes -= group->bytes;
    frame_drop(group->call);
    free(group->members);
    free(group->key);
    free(group);
}

/* Makes the group a member of all its channels. */
static bool add_group_members(struct groups *groups, struct group *group,
                              const struct wanted *wanted)
{
    group->members = calloc(wanted->count, sizeof *group->members);
    if (!group->members)
        return false;
    for (size_t i = 0; i < wanted->count; i++) {
        struct channel *channel = channel_find_or_make(groups, wanted->channels[i]);
        if (!channel)
            return false;
        struct member *member = &group->members[group->member_count++];
        *member = (struct member){.channel = channel, .group = group};
        LIST_INSERT_HEAD(&channel->members, member, link);
    }
    return true;
}

static struct group *group_new(struct groups *groups, const struct readers_ops *ops,
                               const char *key, size_t key_len, const struct wanted *wanted)
{
    struct group *group = calloc(1, sizeof *group);
    if (!group)
        return NULL;
    group->readers = groups->readers;
    group->ops = ops;
    group->serial = ++groups->serial;
    group->bytes = group_bytes(key_len, wanted->count);
    groups->admission->bytes += group->bytes;
    LIST_INIT(&group->conns);
    group->key = malloc(key_len);
    if (group->key) {
        memcpy(group->key, key, key_len);
        group->shape = wanted->shape;
        group->shape.callback = group->key;
    }
    if (group->key && add_group_members(groups, group, wanted))
        HASH_ADD_KEYPTR(hh, groups->groups, group->key, key_len, group);
    if (group->hh.tbl)
        return group;
    group_free(groups, group);
    return NULL;
}

/* Whether there is room for another group, perhaps once those that nobody is in are freed. */
static bool has_group_room(struct groups *groups, size_t key_len, const struct wanted *wanted)
{
    size_t need = group_bytes(key_len, wanted->count);
    if (!admission_has_bytes(groups->admission, need))
        groups_sweep(groups, 0);
    return admission_has_bytes(groups->admission, need);
}

struct group *group_join(struct groups *groups, const struct readers_ops *ops,
                         const struct wanted *wanted, const char **why)
{
    struct buf *scratch = groups->scratch;
    const char *key = group_key(scratch, wanted);
    struct group *group = NULL;
    *why = "out of memory";
    if (key)
        HASH_FIND(hh, groups->groups, key, scratch->len, group);
    if (key && !group && !has_group_room(groups, scratch->len, wanted))
        *why = "too many channels are read";
    else if (key && !group)
        group = group_new(groups, ops, key, scratch->len, wanted);
    if (!group)
        return NULL;
    if (group->deserted)
        TAILQ_REMOVE(&groups->deserted, group, next_deserted);
    group->deserted = false;
    group->readers_count++;
    return group;
}

void group_rejoin(struct group *group)
{
    group->readers_count++;
}

/* If nobody is in the group any more, keeps it for a moment. */
static void group_desert(struct groups *groups, struct group *group)
{
    if (group->readers_count > 0 || group->news > 0 || group->deserted)
        return;
    group->deserted = true;
    group->deserted_ms = timer_now_ms();
    TAILQ_INSERT_TAIL(&groups->deserted, group, next_deserted);
}

void groups_sweep(struct groups *groups, uint64_t ms)
{
    uint64_t now = timer_now_ms();
    struct group *group;
    while ((group = TAILQ_FIRST(&groups->deserted)) != NULL && group->deserted_ms + ms <= now) {
        TAILQ_REMOVE(&groups->deserted, group, next_deserted);
        HASH_DEL(groups->groups, group);
        group_free(groups, group);
    }
}

void group_leave(struct groups *groups, struct group *group)
{
    group->readers_count--;
    group_desert(groups, group);
}

struct frame *group_call(struct group *group, struct buf *scratch)
{
    if (!group->call) {
        buf_reset(scratch);
        transport_of(group->shape.format)->put_call(scratch, &group->shape);
        group->call = transport_frame(&group->shape, scratch);
    }
    return group->call;
}

size_t group_channels(const struct group *group, const char *names[WANTED_CHANNELS_MAX])
{
    for (size_t i = 0; i < group->member_count; i++)
        names[i] = group->members[i].channel->name;
    return group->member_count;
}

size_t group_news_channels(const struct group *group, const char *names[WANTED_CHANNELS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < group->member_count; i++)
        if (group->members[i].channel->news)
            names[count++] = group->members[i].channel->name;
    return count;
}

/* ---- a round of news ---- */

static void note_news_channel(const struct groups *groups, const struct append_entry *entry,
                              struct channel_list *channels)
{
    struct channel *channel = NULL;
    if (!entry->duplicate)
        HASH_FIND_STR(groups->channels, message_channel(entry->message), channel);
    if (!channel || channel->news)
        return;
    channel->news = true;
    STAILQ_INSERT_TAIL(channels, channel, next_news);
}

static void note_news_channels(const struct groups *groups, const struct log_news *news,
                               struct channel_list *channels)
{
    const struct append *append;
    STAILQ_FOREACH (append, &news->done, next)
        for (uint32_t i = 0; i < append->count && append->status == LOG_OK; i++)
            note_news_channel(groups, &append->entries[i], channels);
}

static void note_news_groups(const struct channel_list *channels, struct group_list *woken)
{
    struct channel *channel;
    struct member *member;
    STAILQ_FOREACH (channel, channels, next_news)
        LIST_FOREACH (member, &channel->members, link)
            if (member->group->news++ == 0)
                STAILQ_INSERT_TAIL(woken, member->group, next_woken);
}

static void forget_news(struct groups *groups, struct channel_list *channels,
                        struct group_list *woken)
{
    struct channel *channel;
    while ((channel = STAILQ_FIRST(channels)) != NULL) {
        STAILQ_REMOVE_HEAD(channels, next_news);
        channel->news = false;
        channel_free_unread(groups, channel);
    }
    struct group *group;
    while ((group = STAILQ_FIRST(woken)) != NULL) {
        STAILQ_REMOVE_HEAD(woken, next_woken);
        group->news = 0;
        group_desert(groups, group);
    }
}

void groups_news(struct groups *groups, const struct log_news *news)
{
    struct channel_list channels = STAILQ_HEAD_INITIALIZER(channels);
    struct group_list woken = STAILQ_HEAD_INITIALIZER(woken);
    note_news_channels(groups, news, &channels);
    note_news_groups(&channels, &woken);
    struct group *group;
    STAILQ_FOREACH (group, &woken, next_woken)
        group->ops->wake(group, news->before);
    forget_news(groups, &channels, &woken);
}

/* ---- all groups ---- */

void groups_restart(struct groups *groups)
{
    struct group *group, *next;
    HASH_ITER (hh, groups->groups, group, next)
        group->ops->restart(group);
}

void groups_release(struct groups *groups)
{
    struct group *group, *next;
    HASH_ITER (hh, groups->groups, group, next)
        group->ops->release(group);
}

void groups_end_all(struct groups *groups)
{
    struct group *group, *next;
    HASH_ITER (hh, groups->groups, group, next)
        conns_end_list(&group->conns);
}

unsigned groups_channels(const struct groups *groups)
{
    return HASH_COUNT(groups->channels);
}

void groups_each_channel(const struct groups *groups,
                         void (*each)(void *context, const char *name, unsigned count),
                         void *context)
{
    for (const struct channel *channel = groups->channels; channel; channel = channel->hh.next) {
        const struct member *member;
        unsigned count = 0;
        LIST_FOREACH (member, &channel->members, link)
            count += member->group->readers_count;
        if (count > 0)
            each(context, channel->name, count);
    }
}

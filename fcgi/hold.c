/* uthash ends the process when it finds no memory, unless it is told otherwise: so an element that
 * could not be added has no table. */
#define HASH_NONFATAL_OOM 1

#include "fcgi/hold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "fcgi/diag.h"
#include "fcgi/render.h"
#include "fcgi/server.h"

/* An answer that was rendered in this round of news; groups that lack the same messages share it.
 */
struct rendering {
    SLIST_ENTRY(rendering) next;
    enum format format;
    uint32_t limit;
    struct frame *frame;
};
SLIST_HEAD(rendering_list, rendering);

/* A channel that somebody waits for. */
struct channel {
    UT_hash_handle hh;
    LIST_HEAD(, member) members;
    bool news;                        /* in this round */
    STAILQ_ENTRY(channel) next_news;  /* in this round's list */
    struct rendering_list renderings; /* of the groups for which only this channel has news */
    char name[CHANNEL_MAX + 1];
};
STAILQ_HEAD(channel_list, channel);

/* One group's wish for one channel. */
struct member {
    LIST_ENTRY(member) link; /* among the channel's members */
    struct channel *channel;
    struct group *group;
};

struct group {
    UT_hash_handle hh;
    char *key;
    struct conn_list conns;
    unsigned count; /* of conns */
    enum format format;
    uint32_t limit;
    unsigned news;                  /* channels with news in this round */
    STAILQ_ENTRY(group) next_woken; /* in this round's list */
    size_t member_count;
    struct member members[];
};
STAILQ_HEAD(group_list, group);

void holds_init(struct holds *holds, struct server *server, unsigned max)
{
    *holds = (struct holds){.server = server, .max = max};
}

/* ---- groups ---- */

/* What makes two holds the same: form, limit and the sorted channels, as text. The result is the
 * buffer's. */
static const char *group_key(struct buf *scratch, const struct wanted *wanted)
{
    buf_reset(scratch);
    buf_printf(scratch, "%d %zu", (int)wanted->format, wanted->limit);
    for (size_t i = 0; i < wanted->count; i++) {
        buf_puts(scratch, " ");
        buf_puts(scratch, wanted->channels[i]);
    }
    buf_add(scratch, "", 1);
    return buf_ok(scratch) ? scratch->bytes : NULL;
}

static struct channel *channel_get(struct holds *holds, const char *name)
{
    struct channel *channel;
    HASH_FIND_STR(holds->channels, name, channel);
    if (channel || !(channel = calloc(1, sizeof *channel)))
        return channel;
    snprintf(channel->name, sizeof channel->name, "%s", name);
    LIST_INIT(&channel->members);
    SLIST_INIT(&channel->renderings);
    HASH_ADD_STR(holds->channels, name, channel);
    if (!channel->hh.tbl) {
        free(channel);
        return NULL;
    }
    return channel;
}

static void channel_let_go(struct holds *holds, struct channel *channel)
{
    if (!LIST_EMPTY(&channel->members) || channel->news)
        return;
    HASH_DEL(holds->channels, channel);
    free(channel);
}

static void group_free(struct holds *holds, struct group *group)
{
    for (size_t i = 0; i < group->member_count; i++) {
        LIST_REMOVE(&group->members[i], link);
        channel_let_go(holds, group->members[i].channel);
    }
    free(group->key);
    free(group);
}

static struct group *group_new(struct holds *holds, const char *key, const struct wanted *wanted)
{
    struct group *group = calloc(1, sizeof *group + wanted->count * sizeof group->members[0]);
    if (!group)
        return NULL;
    group->format = wanted->format;
    group->limit = (uint32_t)wanted->limit;
    group->key = strdup(key);
    LIST_INIT(&group->conns);
    bool complete = group->key != NULL;
    for (size_t i = 0; complete && i < wanted->count; i++) {
        struct channel *channel = channel_get(holds, wanted->channels[i]);
        complete = channel != NULL;
        if (!channel)
            break;
        struct member *member = &group->members[group->member_count++];
        *member = (struct member){.channel = channel, .group = group};
        LIST_INSERT_HEAD(&channel->members, member, link);
    }
    if (complete)
        HASH_ADD_KEYPTR(hh, holds->groups, group->key, strlen(group->key), group);
    if (group->hh.tbl)
        return group;
    group_free(holds, group);
    return NULL;
}

static struct group *group_get(struct holds *holds, const struct wanted *wanted)
{
    const char *key = group_key(&holds->server->scratch, wanted);
    struct group *group = NULL;
    if (key)
        HASH_FIND_STR(holds->groups, key, group);
    return key && !group ? group_new(holds, key, wanted) : group;
}

/* Frees a group that nobody is in any more. */
static void group_let_go(struct holds *holds, struct group *group)
{
    if (group->count > 0 || group->news > 0)
        return;
    HASH_DEL(holds->groups, group);
    group_free(holds, group);
}

/* ---- parking and ending ---- */

/* A storm of clients that were all answered at once must not come back at once. */
static uint64_t jittered(uint64_t ms)
{
    return ms - arc4random_uniform((uint32_t)(ms / 10) + 1);
}

static void refuse(struct conn *conn, const char *why)
{
    char header[32];
    snprintf(header, sizeof header, "Retry-After: %u\r\n", 1 + arc4random_uniform(10));
    conn_answer(conn, frame_error(503, header, why));
}

/* Told once, and again only after it had become better by a tenth. */
static void note_too_many(struct holds *holds)
{
    holds->refused++;
    if (!holds->full)
        diag(DIAG_WARN, "%u requests are held, the limit (--max-holds): refusing more", holds->max);
    holds->full = true;
}

void hold_park(struct conn *conn, const struct wanted *wanted)
{
    struct holds *holds = &conn->server->holds;
    if (conn->server->draining) {
        refuse(conn, "the service is about to stop");
        return;
    }
    if (holds->count >= holds->max) {
        note_too_many(holds);
        refuse(conn, "too many requests are held");
        return;
    }
    struct group *group = group_get(holds, wanted);
    if (!group) {
        refuse(conn, "out of memory");
        return;
    }
    group->count++;
    holds->count++;
    conn_park(conn, group, &group->conns, jittered(wanted->hold_ms));
}

void hold_left(struct holds *holds, struct group *group)
{
    group->count--;
    holds->count--;
    if (holds->count < holds->max - holds->max / 10)
        holds->full = false;
    group_let_go(holds, group);
}

static struct frame *nothing_new(struct holds *holds, enum format format)
{
    struct server *server = holds->server;
    return render_nothing(&server->scratch, format, log_epoch(server->log), log_head(server->log));
}

void hold_expired(struct holds *holds, struct conn *conn)
{
    conn_answer(conn, nothing_new(holds, conn->u.group->format));
}

/* ---- news ---- */

/* Answers everybody in the group. The group may be gone afterwards, unless it has news. */
static void answer_group(struct group *group, struct frame *frame)
{
    for (unsigned left = group->count; left > 0; left--)
        conn_answer(LIST_FIRST(&group->conns), frame ? frame_hold(frame) : NULL);
}

static struct frame *render_news(struct holds *holds, const struct group *group, uint64_t before)
{
    struct server *server = holds->server;
    const char *channels[WANTED_CHANNELS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < group->member_count; i++)
        if (group->members[i].channel->news)
            channels[count++] = group->members[i].channel->name;
    struct page page;
    struct cursor cursor = {.kind = CURSOR_AT, .seq = before};
    enum log_status status = log_read(server->log, channels, count, cursor, group->limit, &page);
    if (status != LOG_OK)
        return render_refusal(status);
    struct frame *frame =
        render_page(&server->scratch, group->format, log_epoch(server->log), &page);
    page_free(&page);
    return frame;
}

/* The channel that alone has news for the group; NULL if there are several. */
static struct channel *only_news(const struct group *group)
{
    if (group->news > 1)
        return NULL;
    for (size_t i = 0;; i++)
        if (group->members[i].channel->news)
            return group->members[i].channel;
}

/* The news of the group, from what this round has rendered already if it can be. One reference,
 * or NULL when out of memory. */
static struct frame *news_for(struct holds *holds, const struct group *group, uint64_t before)
{
    struct channel *channel = only_news(group);
    struct rendering *rendering;
    if (channel) {
        SLIST_FOREACH (rendering, &channel->renderings, next)
            if (rendering->format == group->format && rendering->limit == group->limit)
                return frame_hold(rendering->frame);
    }
    struct frame *frame = render_news(holds, group, before);
    if (channel && frame && (rendering = malloc(sizeof *rendering)) != NULL) {
        *rendering = (struct rendering){
            .format = group->format, .limit = group->limit, .frame = frame_hold(frame)};
        SLIST_INSERT_HEAD(&channel->renderings, rendering, next);
    }
    return frame;
}

static void note_news(struct holds *holds, const struct log_news *news,
                      struct channel_list *channels)
{
    struct append *append;
    STAILQ_FOREACH (append, &news->done, next) {
        struct channel *channel = NULL;
        if (append->status == LOG_OK)
            HASH_FIND_STR(holds->channels, message_channel(append->message), channel);
        if (!channel || channel->news)
            continue;
        channel->news = true;
        STAILQ_INSERT_TAIL(channels, channel, next_news);
    }
}

static void note_woken(const struct channel_list *channels, struct group_list *groups)
{
    struct channel *channel;
    struct member *member;
    STAILQ_FOREACH (channel, channels, next_news)
        LIST_FOREACH (member, &channel->members, link)
            if (member->group->news++ == 0)
                STAILQ_INSERT_TAIL(groups, member->group, next_woken);
}

static void end_round(struct holds *holds, struct channel_list *channels)
{
    struct channel *channel;
    while ((channel = STAILQ_FIRST(channels)) != NULL) {
        STAILQ_REMOVE_HEAD(channels, next_news);
        struct rendering *rendering;
        while ((rendering = SLIST_FIRST(&channel->renderings)) != NULL) {
            SLIST_REMOVE_HEAD(&channel->renderings, next);
            frame_drop(rendering->frame);
            free(rendering);
        }
        channel->news = false;
        channel_let_go(holds, channel);
    }
}

void holds_wake(struct holds *holds, const struct log_news *news)
{
    struct channel_list channels = STAILQ_HEAD_INITIALIZER(channels);
    struct group_list groups = STAILQ_HEAD_INITIALIZER(groups);
    note_news(holds, news, &channels);
    note_woken(&channels, &groups);
    struct group *group;
    while ((group = STAILQ_FIRST(&groups)) != NULL) {
        STAILQ_REMOVE_HEAD(&groups, next_woken);
        struct frame *frame = news_for(holds, group, news->before);
        answer_group(group, frame);
        frame_drop(frame);
        group->news = 0;
        group_let_go(holds, group);
    }
    end_round(holds, &channels);
}

void holds_release(struct holds *holds)
{
    struct group *group, *next;
    HASH_ITER (hh, holds->groups, group, next) {
        struct frame *frame = nothing_new(holds, group->format);
        answer_group(group, frame);
        frame_drop(frame);
    }
}

void holds_each_channel(const struct holds *holds,
                        void (*each)(void *context, const char *name, unsigned count),
                        void *context)
{
    for (const struct channel *channel = holds->channels; channel; channel = channel->hh.next) {
        const struct member *member;
        unsigned count = 0;
        LIST_FOREACH (member, &channel->members, link)
            count += member->group->count;
        each(context, channel->name, count);
    }
}

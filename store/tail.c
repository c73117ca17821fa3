#include "store/tail.h"

#include <stdlib.h>
#include <string.h>

#include "store/table.h"

struct tail_entry {
    TAILQ_ENTRY(tail_entry) recent;
    struct message *message;
    struct tail_channel *channel;
};

struct slot {
    uint64_t seq; /* here too, so that a search reads nothing else */
    struct tail_entry *entry;
};

/* Its messages are a ring of slots, oldest first; the capacity is a power of two. */
struct tail_channel {
    UT_hash_handle hh;
    uint64_t floor;
    struct slot *slots;
    size_t first, count, capacity;
    char name[];
};

enum { MIN_SLOTS = 4 };

static struct slot *slot_at(const struct tail_channel *channel, size_t at)
{
    return &channel->slots[(channel->first + at) & (channel->capacity - 1)];
}

void tail_init(struct tail *tail, size_t limit_bytes)
{
    *tail = (struct tail){.limit_bytes = limit_bytes};
    TAILQ_INIT(&tail->recent);
}

/* ---- channels ---- */

static struct tail_channel *find_tail_channel(const struct tail *tail, const char *name)
{
    struct tail_channel *channel;
    HASH_FIND_STR(tail->channels, name, channel);
    return channel;
}

static int resize_slots(struct tail_channel *channel, size_t capacity)
{
    struct slot *slots = malloc(capacity * sizeof *slots);
    if (!slots)
        return -1;
    for (size_t i = 0; i < channel->count; i++)
        slots[i] = *slot_at(channel, i);
    free(channel->slots);
    channel->slots = slots;
    channel->first = 0;
    channel->capacity = capacity;
    return 0;
}

static void free_tail_channel(struct tail *tail, struct tail_channel *channel)
{
    HASH_DEL(tail->channels, channel);
    free(channel->slots);
    free(channel);
}

/* If the channel had no messages, its floor comes with the same report (log_drain). If it has older
 * ones on disk, its true floor is below start, where nobody asks: 0 will do. */
static struct tail_channel *add_tail_channel(struct tail *tail, const char *name)
{
    size_t name_size = strlen(name) + 1;
    struct tail_channel *channel = calloc(1, sizeof *channel + name_size);
    if (!channel)
        return NULL;
    memcpy(channel->name, name, name_size);
    if (resize_slots(channel, MIN_SLOTS) != 0) {
        free(channel);
        return NULL;
    }
    HASH_ADD_STR(tail->channels, name, channel);
    if (!channel->hh.tbl) {
        free(channel->slots);
        free(channel);
        return NULL;
    }
    return channel;
}

/* ---- messages ---- */

/* Drops a channel's oldest message, and with the last one the channel. */
static void drop_oldest_in(struct tail *tail, struct tail_channel *channel)
{
    struct tail_entry *entry = slot_at(channel, 0)->entry;
    TAILQ_REMOVE(&tail->recent, entry, recent);
    tail->count--;
    tail->bytes -= message_size(entry->message);
    message_drop(entry->message);
    free(entry);
    channel->first = (channel->first + 1) & (channel->capacity - 1);
    channel->count--;
    if (channel->count == 0)
        free_tail_channel(tail, channel);
    else if (channel->capacity > MIN_SLOTS && channel->count <= channel->capacity / 8)
        (void)resize_slots(channel, channel->capacity / 4); /* without memory it stays as it is */
}

static void drop_oldest_message(struct tail *tail)
{
    struct tail_entry *entry = TAILQ_FIRST(&tail->recent);
    tail->start = entry->message->seq;
    drop_oldest_in(tail, entry->channel);
}

static int append_entry(struct tail *tail, struct tail_channel *channel, struct message *message)
{
    if (channel->count == channel->capacity && resize_slots(channel, channel->capacity * 2) != 0)
        return -1;
    struct tail_entry *entry = malloc(sizeof *entry);
    if (!entry)
        return -1;
    entry->message = message_hold(message);
    entry->channel = channel;
    *slot_at(channel, channel->count++) = (struct slot){message->seq, entry};
    TAILQ_INSERT_TAIL(&tail->recent, entry, recent);
    tail->count++;
    tail->bytes += message_size(message);
    return 0;
}

void tail_add(struct tail *tail, struct message *message)
{
    struct tail_channel *channel = find_tail_channel(tail, message_channel(message));
    if (!channel)
        channel = add_tail_channel(tail, message_channel(message));
    if (channel && append_entry(tail, channel, message) == 0)
        return;
    if (channel && channel->count == 0)
        free_tail_channel(tail, channel);
    while (!TAILQ_EMPTY(&tail->recent))
        drop_oldest_message(tail);
    tail->start = message->seq;
}

/* Whether the oldest message, if there is one, is to go. */
static bool is_oldest_too_much(const struct tail *tail, uint64_t pinned)
{
    if (tail->bytes <= tail->limit_bytes)
        return false;
    return TAILQ_FIRST(&tail->recent)->message->seq <= pinned ||
           tail->bytes - tail->limit_bytes > TAIL_PINNED_BYTES;
}

void tail_trim(struct tail *tail, uint64_t pinned)
{
    while (is_oldest_too_much(tail, pinned))
        drop_oldest_message(tail);
}

void tail_free(struct tail *tail)
{
    while (!TAILQ_EMPTY(&tail->recent))
        drop_oldest_message(tail);
}

void tail_restart(struct tail *tail, uint64_t floor)
{
    tail_free(tail);
    tail->start = tail->forgotten = floor;
}

void tail_forget(struct tail *tail, const char *name, uint64_t floor)
{
    struct tail_channel *channel = find_tail_channel(tail, name);
    size_t old = 0;
    if (!channel)
        return;
    channel->floor = floor;
    while (old < channel->count && slot_at(channel, old)->seq <= floor)
        old++;
    /* with the last one, the channel is freed */
    while (old--)
        drop_oldest_in(tail, channel);
}

void tail_set_floor(struct tail *tail, const char *name, uint64_t floor)
{
    struct tail_channel *channel = find_tail_channel(tail, name);
    if (channel)
        channel->floor = floor;
}

uint64_t tail_floor(const struct tail *tail, const char *name)
{
    const struct tail_channel *channel = find_tail_channel(tail, name);
    return channel ? channel->floor : tail->forgotten;
}

/* ---- reading ---- */

/* What is left to read of one channel. */
struct span {
    const struct tail_channel *channel;
    size_t at; /* the next slot */
};

/* The first slot newer than after. Most readers are near the end, and most of them at the end. */
static size_t first_after(const struct tail_channel *channel, uint64_t after)
{
    size_t low = 0, high = channel->count;
    if (slot_at(channel, high - 1)->seq <= after)
        return high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slot_at(channel, middle)->seq <= after)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Finds the channels that have newer messages. Returns how many channels, and in *total how many
 * messages. */
static size_t find_spans(const struct tail *tail, const char *const *channels, size_t count,
                         uint64_t after, struct span *spans, size_t *total)
{
    size_t used = 0;
    *total = 0;
    for (size_t i = 0; i < count; i++) {
        const struct tail_channel *channel = find_tail_channel(tail, channels[i]);
        size_t at = channel ? first_after(channel, after) : 0;
        if (!channel || at == channel->count)
            continue;
        spans[used++] = (struct span){channel, at};
        *total += channel->count - at;
    }
    return used;
}

/* Takes the oldest message of all spans. The last span moves to the place of one that is used up.
 */
static struct message *take_oldest_of(struct span *spans, size_t *used)
{
    size_t oldest = 0;
    for (size_t i = 1; i < *used; i++)
        if (slot_at(spans[i].channel, spans[i].at)->seq <
            slot_at(spans[oldest].channel, spans[oldest].at)->seq)
            oldest = i;
    struct message *message = slot_at(spans[oldest].channel, spans[oldest].at)->entry->message;
    if (++spans[oldest].at == spans[oldest].channel->count)
        spans[oldest] = spans[--*used];
    return message;
}

int tail_read(const struct tail *tail, const char *const *channels, size_t count, uint64_t after,
              struct page_fill *fill)
{
    struct span few[32], *spans = few;
    int result = -1;
    if (count > sizeof few / sizeof *few) {
        spans = calloc(count, sizeof *spans);
        if (!spans)
            return -1;
    }
    size_t total;
    size_t used = find_spans(tail, channels, count, after, spans, &total);
    if (page_reserve(fill, total) != 0)
        goto out;
    while (used && !page_is_full(fill))
        if (page_add(fill, message_hold(take_oldest_of(spans, &used))) != 0)
            goto out; /* cannot happen: the room is reserved */
    fill->page->more = used > 0;
    result = 0;
out:
    if (spans != few)
        free(spans);
    return result;
}

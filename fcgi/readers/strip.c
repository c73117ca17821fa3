#include "fcgi/readers/strip.h"

#include <stdbool.h>
#include <string.h>

#include "fcgi/readers/render.h"

struct place {
    uint64_t seq;
    size_t at; /* in the text */
};

static const struct place *places(const struct strip *strip)
{
    return (const struct place *)(const void *)strip->places.bytes;
}

static size_t length(const struct strip *strip)
{
    return strip->places.len / sizeof(struct place);
}

static void empty(struct strip *strip)
{
    buf_reset(&strip->channels);
    buf_reset(&strip->text);
    buf_reset(&strip->places);
}

static bool is_of(const struct strip *strip, const char *const *channels, size_t count)
{
    const char *at = strip->channels.bytes, *end = at + strip->channels.len;
    for (size_t i = 0; i < count; i++) {
        if (at == end || strcmp(at, channels[i]) != 0)
            return false;
        at += strlen(at) + 1;
    }
    return at == end;
}

/* The place of the message, or the strip's length if it has none such. */
static size_t find(const struct strip *strip, uint64_t seq)
{
    const struct place *place = places(strip);
    size_t low = 0, high = length(strip);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (place[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < length(strip) && place[low].seq == seq ? low : length(strip);
}

/* Whether the page begins in the strip, at *first, and both go on with the same messages as far as
 * they reach. Both are runs of the same channels' messages, so they do if the last ones that both
 * have are the same: between two messages there can only be fewer, where some were deleted. */
static bool begins_in(const struct strip *strip, const struct page *page, size_t *first)
{
    size_t common = length(strip);
    *first = find(strip, page->messages[0]->seq);
    common -= *first;
    if (common == 0)
        return false;
    if (common > page->count)
        common = page->count;
    return places(strip)[*first + common - 1].seq == page->messages[common - 1]->seq;
}

/* The strip in which the page begins; else the one that was not used for longest, emptied. */
static struct strip *choose(struct strips *strips, const char *const *channels, size_t count,
                            const struct page *page, size_t *first)
{
    struct strip *oldest = strips->strips;
    for (size_t i = 0; i < STRIPS; i++) {
        struct strip *strip = &strips->strips[i];
        if (length(strip) > 0 && is_of(strip, channels, count) && begins_in(strip, page, first))
            return strip;
        if (strip->used < oldest->used)
            oldest = strip;
    }
    empty(oldest);
    for (size_t i = 0; i < count; i++)
        buf_add(&oldest->channels, channels[i], strlen(channels[i]) + 1);
    *first = 0;
    return oldest;
}

static void extend(struct strip *strip, const char *epoch, const struct message *message)
{
    struct place place = {message->seq, strip->text.len};
    buf_add(&strip->places, &place, sizeof place);
    render_message(&strip->text, epoch, message);
    buf_puts(&strip->text, ",");
}

/* Where the text of message i ends, with its comma. */
static size_t end_of(const struct strip *strip, size_t i)
{
    return i + 1 < length(strip) ? places(strip)[i + 1].at : strip->text.len;
}

static bool is_whole(const struct strip *strip)
{
    return buf_ok(&strip->channels) && buf_ok(&strip->text) && buf_ok(&strip->places);
}

size_t strip_page(struct strips *strips, struct buf *out, const char *epoch,
                  const char *const *channels, size_t count, const struct page *page, size_t most)
{
    size_t first, given = 0, from = 0, to = 0;
    struct strip *strip = choose(strips, channels, count, page, &first);
    strip->used = ++strips->pages;
    while (given < page->count && to - from < most && is_whole(strip)) {
        if (first + given == length(strip))
            extend(strip, epoch, page->messages[given]);
        if (is_whole(strip)) {
            from = places(strip)[first].at;
            to = end_of(strip, first + given++);
        }
    }
    if (is_whole(strip))
        buf_add(out, strip->text.bytes + from, to - 1 - from);
    else
        out->failed = true;
    if (!is_whole(strip) || strip->text.len > STRIP_BYTES)
        empty(strip);
    return given;
}

void strips_free(struct strips *strips)
{
    for (size_t i = 0; i < STRIPS; i++) {
        buf_free(&strips->strips[i].channels);
        buf_free(&strips->strips[i].text);
        buf_free(&strips->strips[i].places);
    }
    *strips = (struct strips){0};
}

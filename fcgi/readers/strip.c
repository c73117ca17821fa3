#include "fcgi/readers/strip.h"

#include <stdbool.h>
#include <string.h>

#include "fcgi/readers/json.h"

struct place {
    uint64_t seq;
    size_t at; /* in the text */
};

static const struct place *strip_places(const struct strip *strip)
{
    return (const struct place *)(const void *)strip->places.bytes;
}

static size_t strip_length(const struct strip *strip)
{
    return strip->places.len / sizeof(struct place);
}

static void strip_empty(struct strip *strip)
{
    buf_reset(&strip->channels);
    buf_reset(&strip->text);
    buf_reset(&strip->places);
}

static bool is_strip_of(const struct strip *strip, const char *const *channels, size_t count)
{
    const char *at = strip->channels.bytes, *end = at + strip->channels.len;
    for (size_t i = 0; i < count; i++) {
        if (at == end || strcmp(at, channels[i]) != 0)
            return false;
        at += strlen(at) + 1;
    }
    return at == end;
}

/* The index of the message with that seq; the strip's length if it is not in it. */
static size_t find_place(const struct strip *strip, uint64_t seq)
{
    const struct place *place = strip_places(strip);
    size_t low = 0, high = strip_length(strip);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (place[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < strip_length(strip) && place[low].seq == seq ? low : strip_length(strip);
}

/* Whether the page begins in the strip, at *first, and both have the same messages from there to
 * the end of the shorter one. Both are runs of the same channels' messages, in which only some can
 * be missing that were deleted. So it is enough to compare the last message that both could have:
 * if it stands at the same place in both, nothing is missing between. */
static bool page_begins_in(const struct strip *strip, const struct page *page, size_t *first)
{
    size_t common = strip_length(strip);
    *first = find_place(strip, page->messages[0]->seq);
    common -= *first;
    if (common == 0)
        return false;
    if (common > page->count)
        common = page->count;
    return strip_places(strip)[*first + common - 1].seq == page->messages[common - 1]->seq;
}

/* The strip in which the page begins; else the one that was used the longest time ago, emptied. */
static struct strip *choose_strip(struct strips *strips, const char *const *channels, size_t count,
                                  const struct page *page, size_t *first)
{
    struct strip *oldest = strips->strips;
    for (size_t i = 0; i < STRIPS; i++) {
        struct strip *strip = &strips->strips[i];
        if (strip_length(strip) > 0 && is_strip_of(strip, channels, count) &&
            page_begins_in(strip, page, first))
            return strip;
        if (strip->used < oldest->used)
            oldest = strip;
    }
    strip_empty(oldest);
    for (size_t i = 0; i < count; i++)
        buf_add(&oldest->channels, channels[i], strlen(channels[i]) + 1);
    *first = 0;
    return oldest;
}

static void strip_extend(struct strip *strip, const char *epoch, const struct message *message)
{
    struct place place = {message->seq, strip->text.len};
    buf_add(&strip->places, &place, sizeof place);
    json_put_message(&strip->text, epoch, message);
    buf_puts(&strip->text, ",");
}

/* Where the text of message i ends, with its comma. */
static size_t strip_text_end(const struct strip *strip, size_t i)
{
    return i + 1 < strip_length(strip) ? strip_places(strip)[i + 1].at : strip->text.len;
}

static bool is_strip_whole(const struct strip *strip)
{
    return buf_ok(&strip->channels) && buf_ok(&strip->text) && buf_ok(&strip->places);
}

size_t strip_page(struct strips *strips, struct buf *out, const char *epoch,
                  const char *const *channels, size_t count, const struct page *page, size_t most)
{
    size_t first, given = 0, from = 0, to = 0;
    struct strip *strip = choose_strip(strips, channels, count, page, &first);
    strip->used = ++strips->pages;
    while (given < page->count && to - from < most && is_strip_whole(strip)) {
        if (first + given == strip_length(strip))
            strip_extend(strip, epoch, page->messages[given]);
        if (is_strip_whole(strip)) {
            from = strip_places(strip)[first].at;
            to = strip_text_end(strip, first + given++);
        }
    }
    if (is_strip_whole(strip))
        buf_add(out, strip->text.bytes + from, to - 1 - from);
    else
        out->failed = true;
    if (!is_strip_whole(strip) || strip->text.len > STRIP_BYTES)
        strip_empty(strip);
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

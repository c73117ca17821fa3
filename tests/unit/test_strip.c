/* Strips: whatever was asked before, a page's text is what rendering it afresh gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/readers/json.h"
#include "fcgi/readers/render.h"
#include "fcgi/readers/strip.h"

enum { CHANNELS = 3, MOST = 600, STEPS = 20000 };

static const char epoch[] = "0123456789ab";
static const char *const names[CHANNELS] = {"a", "b", "c"};

/* A log of sorts: all messages ever, and for each channel up to where they are deleted. */
struct fake {
    struct message *messages[MOST];
    size_t count;
    uint64_t floors[CHANNELS];
};

static int below(int n)
{
    return rand() % n;
}

static int channel_of(const struct message *message)
{
    return message_channel(message)[0] - 'a';
}

static void append_to(struct fake *fake, int channel, size_t len, int64_t time_ms)
{
    static char text[200 * 1000];
    memset(text, 'x', len);
    struct message *message = message_new(names[channel], text, len, time_ms);
    fake->messages[fake->count++] = message;
    message->seq = fake->count;
}

static void append(struct fake *fake, size_t len, int64_t time_ms)
{
    append_to(fake, below(CHANNELS), len, time_ms);
}

/* What is newer than after on the channels of the set, a bit each, up to limit. */
static struct page read_page(const struct fake *fake, unsigned set, uint64_t after, size_t limit)
{
    struct page page = {.messages = calloc(limit, sizeof *page.messages)};
    for (size_t i = after; i < fake->count && page.count < limit; i++) {
        struct message *message = fake->messages[i];
        int channel = channel_of(message);
        if ((set >> channel & 1) && message->seq > fake->floors[channel])
            page.messages[page.count++] = message_hold(message);
    }
    return page;
}

/* Of the messages that the limit lets in, as many as reach `most` bytes. */
static void check_bytes(struct strips *strips, const struct fake *fake, unsigned set,
                        uint64_t after, size_t limit, size_t most)
{
    const char *channels[CHANNELS];
    size_t count = 0;
    struct page page = read_page(fake, set, after, limit);
    struct buf got = {0}, want = {0};
    for (int i = 0; i < CHANNELS; i++)
        if (set >> i & 1)
            channels[count++] = names[i];
    size_t given = 0;
    for (; given < page.count && want.len + (given > 0) < most; given++) {
        buf_puts(&want, given > 0 ? "," : "");
        json_put_message(&want, epoch, page.messages[given]);
    }
    if (page.count > 0) {
        assert_int_equal(strip_page(strips, &got, epoch, channels, count, &page, most), given);
        assert_true(buf_ok(&got));
        assert_int_equal(got.len, want.len);
        assert_memory_equal(got.bytes, want.bytes, want.len);
    }
    buf_free(&got);
    buf_free(&want);
    page_free(&page);
}

static void check(struct strips *strips, const struct fake *fake, unsigned set, uint64_t after,
                  size_t limit)
{
    check_bytes(strips, fake, set, after, limit, SIZE_MAX);
}

/* Deletes a channel's messages up to seq. */
static void forget(struct fake *fake, int channel, uint64_t seq)
{
    if (seq > fake->floors[channel])
        fake->floors[channel] = seq;
}

static void fake_free(struct fake *fake)
{
    for (size_t i = 0; i < fake->count; i++)
        message_drop(fake->messages[i]);
    *fake = (struct fake){0};
}

/* Appends, deletions of a channel's oldest, and readers of all kinds of ages, mixed. */
static void a_page_is_what_rendering_it_gives(void **state)
{
    struct strips strips = {0};
    struct fake fake = {0};
    const char *seed = getenv("SEED");
    srand(seed ? (unsigned)atoi(seed) : 7);
    for (int step = 0; step < STEPS; step++) {
        int what = below(100);
        if (fake.count == MOST) {
            /* the text of an earlier log would be wrong, though its numbers are the same */
            strips_free(&strips);
            strips = (struct strips){0};
            fake_free(&fake);
        }
        if (what < 15)
            append(&fake, (size_t)below(20), below(1000));
        else if (what < 17)
            forget(&fake, below(CHANNELS), (uint64_t)below((int)fake.count + 1));
        else
            check_bytes(&strips, &fake, 1 + (unsigned)below(7),
                        (uint64_t)below((int)fake.count + 1),
                        below(2) ? MOST : 1 + (size_t)below(50),
                        below(2) ? SIZE_MAX : 1 + (size_t)below(2000));
    }
    fake_free(&fake);
    strips_free(&strips);
}

static void a_page_that_ends_as_a_strip_does_may_begin_otherwise(void **state)
{
    struct strips strips = {0};
    struct fake fake = {0};
    for (const char *channel = "bbbbaabb"; *channel; channel++)
        append_to(&fake, *channel - 'a', 1 + fake.count, 0);
    check(&strips, &fake, 3, 4, MOST); /* 5 6 7 8 */
    forget(&fake, 0, 6);
    check(&strips, &fake, 3, 2, MOST); /* 3 4 7 8 */
    fake_free(&fake);
    strips_free(&strips);
}

static size_t text_of_all(const struct strips *strips)
{
    size_t len = 0;
    for (int i = 0; i < STRIPS; i++)
        len += strips->strips[i].text.len;
    return len;
}

static void pages_of_one_run_share_its_text(void **state)
{
    struct strips strips = {0};
    struct fake fake = {0};
    for (int i = 0; i < 30; i++)
        append(&fake, 10, 0);
    check(&strips, &fake, 7, 0, MOST);
    size_t len = text_of_all(&strips);
    check(&strips, &fake, 7, 0, MOST);
    check(&strips, &fake, 7, 10, MOST);
    check(&strips, &fake, 7, 10, 5);
    assert_int_equal(text_of_all(&strips), len);
    append(&fake, 10, 0);
    check(&strips, &fake, 7, 20, MOST);
    assert_in_range(text_of_all(&strips), len + 1, len + 100); /* the one message's */
    fake_free(&fake);
    strips_free(&strips);
}

/* A run that is too long is given, and not kept. */
static void the_text_that_is_kept_is_bounded(void **state)
{
    struct strips strips = {0};
    struct fake fake = {0};
    for (int i = 0; i < 60; i++)
        append(&fake, 100 * 1000, 0);
    for (uint64_t after = 0; after < 60; after += 7)
        for (unsigned set = 1; set < 8; set++) {
            check(&strips, &fake, set, after, MOST);
            for (int i = 0; i < STRIPS; i++)
                assert_true(strips.strips[i].text.cap <= 2 * STRIP_BYTES);
        }
    fake_free(&fake);
    strips_free(&strips);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_what_rendering_it_gives),
        cmocka_unit_test(a_page_that_ends_as_a_strip_does_may_begin_otherwise),
        cmocka_unit_test(pages_of_one_run_share_its_text),
        cmocka_unit_test(the_text_that_is_kept_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

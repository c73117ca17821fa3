/* Rounds of news: polls that get the same share one answer, and no others do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/readers/round.h"

enum { MESSAGES = 4, LARGE = 1 << 20 };

static struct rendered rendered;
static struct round news;

static int init(void **state)
{
    (void)state;
    rendered_init(&rendered, "0123456789ab");
    return 0;
}

static int end(void **state)
{
    (void)state;
    round_end(&news);
    assert_int_equal(news.kept, 0);
    assert_int_equal(news.made, 0);
    rendered_free(&rendered);
    return 0;
}

/* The messages `first` to `last`, of len bytes. */
static struct page make_page(uint64_t first, uint64_t last, size_t len)
{
    static char text[LARGE];
    struct page page = {.next = last, .messages = calloc(last, sizeof *page.messages)};
    memset(text, 'x', len);
    for (uint64_t seq = first; seq <= last; seq++) {
        page.messages[page.count] = message_new("main", text, len, 0);
        page.messages[page.count++]->seq = seq;
    }
    return page;
}

static struct frame *answer(enum format format, const struct page *page)
{
    struct frame *frame = round_frame(&news, &rendered, format, page, SIZE_MAX);
    assert_non_null(frame);
    return frame;
}

static void polls_that_lack_the_same_get_one_answer(void **state)
{
    (void)state;
    struct page page = make_page(1, MESSAGES, 10), same = make_page(1, MESSAGES, 10);
    struct frame *one = answer(FORMAT_JSON, &page), *other = answer(FORMAT_JSON, &same);
    assert_ptr_equal(one, other);
    assert_int_equal(news.made, one->len);
    frame_drop(one);
    frame_drop(other);
    page_free(&page);
    page_free(&same);
}

static void what_differs_is_not_shared(void **state)
{
    (void)state;
    struct page page = make_page(1, MESSAGES, 10);
    struct page later = make_page(2, MESSAGES, 10), fewer = make_page(1, MESSAGES - 1, 10);
    struct page more = page, reset = page, further = page;
    more.more = true;
    reset.reset = true;
    further.next++;
    const struct page *pages[] = {&page, &later, &fewer, &more, &reset, &further};
    enum { PAGES = sizeof pages / sizeof *pages };
    struct frame *frames[PAGES + 1] = {answer(FORMAT_HTML, &page)};
    for (int i = 0; i < PAGES; i++)
        frames[i + 1] = answer(FORMAT_JSON, pages[i]);
    for (int i = 0; i <= PAGES; i++)
        for (int k = 0; k < i; k++)
            assert_ptr_not_equal(frames[i], frames[k]);
    for (int i = 0; i <= PAGES; i++)
        frame_drop(frames[i]);
    page_free(&page);
    page_free(&later);
    page_free(&fewer);
}

static void the_next_round_begins_with_nothing(void **state)
{
    (void)state;
    struct page page = make_page(1, MESSAGES, 10);
    struct frame *before = answer(FORMAT_JSON, &page);
    round_end(&news);
    struct frame *after = answer(FORMAT_JSON, &page);
    assert_ptr_not_equal(before, after);
    assert_int_equal(news.made, after->len);
    frame_drop(before);
    frame_drop(after);
    page_free(&page);
}

static void the_bytes_that_are_kept_are_bounded(void **state)
{
    (void)state;
    for (uint64_t seq = 1; seq < 12; seq++) {
        struct page page = make_page(seq, seq, LARGE);
        frame_drop(answer(FORMAT_JSON, &page));
        assert_in_range(news.kept, LARGE, ROUND_KEPT_MAX);
        assert_in_range(news.made, seq * LARGE, seq * (LARGE + 1000));
        page_free(&page);
    }
}

#define TEST(claim) cmocka_unit_test_setup_teardown(claim, init, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(polls_that_lack_the_same_get_one_answer),
        TEST(what_differs_is_not_shared),
        TEST(the_next_round_begins_with_nothing),
        TEST(the_bytes_that_are_kept_are_bounded),
    };
    return cmocka_run_group_tests_name("round", tests, NULL, NULL);
}

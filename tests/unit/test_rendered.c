/* Rendered messages: whatever was asked before, each is what rendering it afresh gives; and it is
 * rendered once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/readers/batch.h"
#include "fcgi/readers/render.h"
#include "fcgi/readers/rendered.h"

enum { MANY = 1000, STEPS = 20000 };

static const char epoch[] = "0123456789ab";
static const struct shape json = {.format = FORMAT_JSON, .callback = ""};
static const struct shape lines = {.format = FORMAT_LINES, .request_id = 1, .callback = ""};
static const struct shape scripts = {.format = FORMAT_SCRIPT, .request_id = 1, .callback = "add"};

static struct rendered rendered;

static int init(void **state)
{
    (void)state;
    rendered_init(&rendered, epoch);
    return 0;
}

static int empty(void **state)
{
    (void)state;
    rendered_free(&rendered);
    assert_int_equal(rendered.bytes, 0);
    return 0;
}

static int below(int n)
{
    return rand() % n;
}

static struct message *make(uint64_t seq, size_t len)
{
    static char text[RENDERED_BYTES_MAX + 1];
    memset(text, 'x', len);
    struct message *message = message_new("main", text, len, 1000 + (int64_t)seq);
    assert_non_null(message);
    message->seq = seq;
    return message;
}

/* Count messages from seq `first` on, each so much further. */
static struct page make_page(uint64_t first, uint64_t step, size_t count)
{
    struct page page = {.messages = calloc(count, sizeof *page.messages)};
    for (; page.count < count; page.count++)
        page.messages[page.count] = make(first + step * page.count, 10);
    page.next = page.messages[count - 1]->seq;
    return page;
}

/* How many bytes are rendered for all messages of the page. */
static uint64_t made_for(const struct page *page, const struct shape *shape)
{
    uint64_t made = rendered.made;
    for (size_t i = 0; i < page->count; i++)
        assert_non_null(rendered_message(&rendered, shape, page->messages[i]));
    return rendered.made - made;
}

static void a_message_is_rendered_once_in_each_format(void **state)
{
    (void)state;
    struct page page = make_page(1, 1, MANY);
    assert_true(made_for(&page, &json) > 0);
    assert_true(made_for(&page, &lines) > 0);
    assert_int_equal(made_for(&page, &json), 0);
    assert_int_equal(made_for(&page, &lines), 0);
    page_free(&page);
}

static void so_are_those_of_a_channel_that_has_every_16th(void **state)
{
    (void)state;
    struct page page = make_page(16, 16, MANY);
    assert_true(made_for(&page, &json) > 0);
    assert_int_equal(made_for(&page, &json), 0);
    page_free(&page);
}

static void check_fresh(const struct frame *frame, const struct shape *shape,
                        const struct message *message)
{
    static struct rendered fresh;
    rendered_init(&fresh, epoch);
    const struct frame *want = rendered_message(&fresh, shape, message);
    assert_int_equal(frame->len, want->len);
    assert_memory_equal(frame->bytes, want->bytes, want->len);
    assert_int_equal(frame->seq, message->seq);
    assert_int_equal(frame->request_id, shape->request_id);
    assert_int_equal(frame->messages, 1);
    rendered_free(&fresh);
}

/* More messages than there are places, in formats that need each other's places. */
static void whatever_was_asked_before_it_is_what_rendering_gives(void **state)
{
    (void)state;
    const char *seed = getenv("SEED");
    srand(seed ? (unsigned)atoi(seed) : 7);
    for (int step = 0; step < STEPS; step++) {
        struct shape shape = {.format = (enum format)below(FORMATS), .callback = "add"};
        if (shape.format == FORMAT_WORD)
            continue; /* has no messages */
        if (format_streams(shape.format) && shape.format != FORMAT_FRAMES)
            shape.request_id = (uint16_t)(1 + below(2));
        int near = 1 + below(30); /* many steps meet the same message */
        struct message *message = make((uint64_t)(near + below(3) * RENDERED_MAX), 5);
        check_fresh(rendered_message(&rendered, &shape, message), &shape, message);
        message_drop(message);
    }
}

static void answers_share_the_messages_that_all_of_them_have(void **state)
{
    (void)state;
    struct page page = make_page(1, 1, MANY);
    struct buf scratch = {0};
    uint64_t made = made_for(&page, &json);
    for (size_t from = 0; from < MANY; from += 7) {
        struct page part = page;
        part.messages += from;
        part.count -= from;
        struct frame *frame = render_page(&rendered, &scratch, FORMAT_JSON, &part, SIZE_MAX);
        assert_int_equal(frame->messages, part.count);
        frame_drop(frame);
    }
    assert_int_equal(rendered.made, made);
    buf_free(&scratch);
    page_free(&page);
}

/* Whatever their callback and their cursor. */
static void batches_share_the_frames_that_both_have(void **state)
{
    (void)state;
    struct page page = make_page(1, 1, 30), part = page;
    struct shape other = scripts;
    other.callback = "show";
    part.messages += 10;
    part.count -= 10;
    struct batch *all = batch_new(&rendered, &scripts, &page);
    struct batch *some = batch_new(&rendered, &other, &part);
    assert_int_equal(some->count, 20);
    for (uint32_t i = 0; i < some->count; i++)
        assert_ptr_equal(some->frames[i], all->frames[10 + i]);
    batch_free(all);
    batch_free(some);
    page_free(&page);
}

/* The call of its own is in each of its frames, the reset before the first. */
static void a_batch_with_a_reset_shares_only_what_others_get(void **state)
{
    (void)state;
    struct page page = make_page(1, 1, 3);
    for (int script = 0; script < 2; script++) {
        const struct shape *shape = script ? &scripts : &lines;
        page.reset = true;
        struct batch *reset = batch_new(&rendered, shape, &page);
        page.reset = false;
        struct batch *plain = batch_new(&rendered, shape, &page);
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(reset->frames[i] == plain->frames[i], !script && i > 0);
        batch_free(reset);
        batch_free(plain);
    }
    page_free(&page);
}

static void the_bytes_that_are_kept_are_bounded(void **state)
{
    (void)state;
    for (uint64_t seq = 1; seq < 500; seq++) {
        struct message *message = make(seq, (size_t)below(100 * 1000));
        assert_non_null(rendered_message(&rendered, &lines, message));
        assert_in_range(rendered.bytes, 1, RENDERED_BYTES_MAX);
        message_drop(message);
    }
}

static void one_that_is_larger_than_the_bound_is_kept_alone(void **state)
{
    (void)state;
    struct message *small = make(1, 10), *large = make(2, RENDERED_BYTES_MAX);
    assert_non_null(rendered_message(&rendered, &lines, small));
    const struct frame *frame = rendered_message(&rendered, &lines, large);
    assert_in_range(rendered.bytes, frame->len, frame->len + sizeof *frame);
    assert_ptr_equal(rendered_message(&rendered, &lines, large), frame);
    frame = rendered_message(&rendered, &lines, small);
    assert_in_range(rendered.bytes, frame->len, frame->len + sizeof *frame);
    message_drop(small);
    message_drop(large);
}

/* A reader whose socket is full still needs it. */
static void what_is_dropped_stays_with_its_readers(void **state)
{
    (void)state;
    struct message *first = make(1, 10), *next = make(1 + RENDERED_MAX, 10);
    struct frame *frame = frame_hold(rendered_message(&rendered, &lines, first));
    assert_ptr_not_equal(rendered_message(&rendered, &lines, next), frame);
    check_fresh(frame, &lines, first);
    frame_drop(frame);
    message_drop(first);
    message_drop(next);
}

#define TEST(claim) cmocka_unit_test_setup_teardown(claim, init, empty)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_rendered_once_in_each_format),
        TEST(so_are_those_of_a_channel_that_has_every_16th),
        TEST(whatever_was_asked_before_it_is_what_rendering_gives),
        TEST(answers_share_the_messages_that_all_of_them_have),
        TEST(batches_share_the_frames_that_both_have),
        TEST(a_batch_with_a_reset_shares_only_what_others_get),
        TEST(the_bytes_that_are_kept_are_bounded),
        TEST(one_that_is_larger_than_the_bound_is_kept_alone),
        TEST(what_is_dropped_stays_with_its_readers),
    };
    return cmocka_run_group_tests_name("rendered", tests, NULL, NULL);
}

/* Rendered messages: whatever was asked before, each is what rendering it afresh gives; each is
 * rendered once; and neighbours lie side by side. */
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
#include "tests/unit/support_memory.h"

enum { MANY = 1000, STEPS = 4000, PAGE_MAX = 20, LEN = 10 };

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
        page.messages[page.count] = make(first + step * page.count, LEN);
    page.next = page.messages[count - 1]->seq;
    return page;
}

/* The page without its first messages. */
static struct page page_from(struct page page, size_t from)
{
    page.messages += from;
    page.count -= from;
    return page;
}

/* Appends the texts of the messages to out. Returns in how many runs they lie. */
static size_t put_texts(struct rendered *store, const struct shape *shape,
                        struct message *const *messages, size_t count, struct buf *out)
{
    struct rendered_run run;
    size_t runs = 0;
    for (size_t given = 0; given < count; given += run.count, runs++) {
        assert_true(rendered_run(store, shape, messages + given, count - given, SIZE_MAX, &run));
        assert_in_range(run.count, 1, count - given);
        assert_int_equal(run.frame->request_id, shape->request_id);
        buf_add(out, run.frame->bytes + run.at, run.len);
        frame_drop(run.frame);
    }
    return runs;
}

/* In how many runs the page lies, and how many bytes are rendered for it. */
static size_t runs_of(const struct page *page, const struct shape *shape, uint64_t *made)
{
    struct buf out = {0};
    uint64_t before = rendered.made;
    size_t runs = put_texts(&rendered, shape, page->messages, page->count, &out);
    *made = rendered.made - before;
    assert_true(*made == 0 || *made == out.len);
    buf_free(&out);
    return runs;
}

/* The most runs of so many bytes: each but the last fills a block, to which no other text of the
 * page could be added. */
static size_t runs_most(uint64_t bytes)
{
    return 1 + bytes / (RENDERED_BLOCK - sizeof(struct frame) - 200);
}

static void check_is_rendered_once(const struct page *page)
{
    const struct shape *const shapes[] = {&json, &lines};
    uint64_t made[2], again;
    for (int i = 0; i < 2; i++) {
        assert_in_range(runs_of(page, shapes[i], &made[i]), 1, runs_most(made[i]));
        assert_true(made[i] > 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_in_range(runs_of(page, shapes[i], &again), 1, runs_most(made[i]));
        assert_int_equal(again, 0);
    }
}

static void a_message_is_rendered_once_in_each_format_beside_its_neighbours(void **state)
{
    (void)state;
    struct page page = make_page(1, 1, MANY);
    check_is_rendered_once(&page);
    page_free(&page);
}

static void so_are_those_of_a_channel_that_has_every_16th(void **state)
{
    (void)state;
    struct page page = make_page(16, 16, MANY);
    check_is_rendered_once(&page);
    page_free(&page);
}

/* As in rounds of news. */
static void messages_that_are_rendered_one_by_one_lie_side_by_side(void **state)
{
    (void)state;
    struct page page = make_page(1, 1, 20);
    struct rendered_run run;
    for (size_t i = 0; i < page.count; i++)
        for (int format = 0; format < 2; format++) {
            assert_true(rendered_run(&rendered, format ? &lines : &json, page.messages + i, 1,
                                     SIZE_MAX, &run));
            frame_drop(run.frame);
        }
    uint64_t made;
    assert_int_equal(runs_of(&page, &json, &made), 1);
    assert_int_equal(runs_of(&page, &lines, &made), 1);
    assert_int_equal(made, 0);
    page_free(&page);
}

static void a_run_ends_with_the_message_that_reaches_its_bytes(void **state)
{
    (void)state;
    struct page page = make_page(1, 1, 9);
    struct rendered_run first, run;
    assert_true(rendered_run(&rendered, &json, page.messages, 1, SIZE_MAX, &first));
    for (size_t count = 1; count < page.count; count++)
        for (size_t less = 0; less < first.len; less += first.len - 1) {
            assert_true(rendered_run(&rendered, &json, page.messages, page.count,
                                     count * first.len - less, &run));
            assert_int_equal(run.count, count);
            assert_int_equal(run.len, count * first.len);
            assert_ptr_equal(run.frame, first.frame);
            frame_drop(run.frame);
        }
    frame_drop(first.frame);
    page_free(&page);
}

/* What a store renders that has nothing. */
static void put_fresh_texts(const struct shape *shape, struct message *const *messages,
                            size_t count, struct buf *out)
{
    static struct rendered fresh;
    rendered_init(&fresh, epoch);
    put_texts(&fresh, shape, messages, count, out);
    rendered_free(&fresh);
}

static void check_fresh(const struct shape *shape, struct message *const *messages, size_t count)
{
    struct buf got = {0}, want = {0};
    put_texts(&rendered, shape, messages, count, &got);
    put_fresh_texts(shape, messages, count, &want);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.bytes, want.bytes, want.len);
    buf_free(&got);
    buf_free(&want);
}

static struct shape random_shape(void)
{
    struct shape shape = {.callback = "add"};
    do
        shape.format = (enum format)below(FORMATS);
    while (shape.format == FORMAT_WORD); /* has no messages */
    if (format_streams(shape.format) && shape.format != FORMAT_FRAMES)
        shape.request_id = (uint16_t)(1 + below(2));
    return shape;
}

/* A message always has the same text, of 0 to 599 bytes. */
static size_t random_page(struct message *messages[PAGE_MAX])
{
    size_t count = 1 + (size_t)below(PAGE_MAX);
    uint64_t seq = (uint64_t)below(30) + (uint64_t)below(3) * RENDERED_MAX;
    for (size_t i = 0; i < count; i++) {
        seq += 1 + (uint64_t)(below(3) / 2);
        messages[i] = make(seq, seq * 2654435761U % 600);
    }
    return count;
}

/* Messages that need each other's places, in formats and of requests that do, too; and more of them
 * than are kept. */
static void whatever_was_asked_before_it_is_what_rendering_gives(void **state)
{
    (void)state;
    const char *seed = getenv("SEED");
    srand(seed ? (unsigned)atoi(seed) : 7);
    for (int step = 0; step < STEPS; step++) {
        struct shape shape = random_shape();
        struct message *messages[PAGE_MAX];
        size_t count = random_page(messages);
        check_fresh(&shape, messages, count);
        for (size_t i = 0; i < count; i++)
            message_drop(messages[i]);
    }
    assert_true(rendered.first > 1);
}

static void answers_share_the_messages_that_all_of_them_have(void **state)
{
    (void)state;
    struct page page = make_page(1, 1, MANY);
    uint64_t made;
    runs_of(&page, &json, &made);
    made = rendered.made;
    for (size_t from = 0; from < MANY; from += 7) {
        struct page part = page_from(page, from);
        struct frame *frame = render_page(&rendered, FORMAT_JSON, &part, SIZE_MAX);
        assert_int_equal(frame->messages, part.count);
        frame_drop(frame);
    }
    assert_int_equal(rendered.made, made);
    page_free(&page);
}

/* Whatever their cursor, and of scripts the callback. */
static void batches_share_the_texts_that_both_have(void **state)
{
    (void)state;
    struct page page = make_page(1, 1, 20), part = page_from(page, 10);
    struct shape show = scripts;
    show.callback = "show";
    const struct shape *const shapes[][2] = {{&lines, &lines}, {&scripts, &show}};
    for (int i = 0; i < 2; i++) {
        struct batch *all = batch_new(&rendered, shapes[i][0], &page);
        struct batch *some = batch_new(&rendered, shapes[i][1], &part);
        assert_int_equal(some->messages, 10);
        const char *end_of_all =
            (char *)all->iov[all->count - 1].iov_base + all->iov[all->count - 1].iov_len;
        const char *end_of_some =
            (char *)some->iov[some->count - 1].iov_base + some->iov[some->count - 1].iov_len;
        assert_ptr_equal(end_of_some, end_of_all);
        assert_ptr_equal(some->parts[0].frame, all->parts[0].frame);
        batch_free(all);
        batch_free(some);
    }
    page_free(&page);
}

/* The call of its own is before each of its messages, the reset before the first. */
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
        assert_int_equal(reset->count, script ? 3 : 2);
        for (uint32_t i = 0; i < reset->count; i++)
            assert_int_equal(reset->parts[i].frame == plain->parts[0].frame, !script && i > 0);
        batch_free(reset);
        batch_free(plain);
    }
    page_free(&page);
}

static void render_one(const struct shape *shape, uint64_t seq, size_t len)
{
    struct message *message = make(seq, len);
    struct rendered_run run;
    assert_true(rendered_run(&rendered, shape, &message, 1, SIZE_MAX, &run));
    frame_drop(run.frame);
    message_drop(message);
}

static void the_bytes_that_are_kept_are_bounded(void **state)
{
    (void)state;
    for (uint64_t seq = 1; seq < 500; seq++) {
        render_one(&lines, seq, (size_t)below(100 * 1000));
        assert_in_range(rendered.bytes, 1, RENDERED_BYTES_MAX);
    }
    for (uint64_t seq = 1; seq < 3 * (RENDERED_BYTES_MAX / RENDERED_BLOCK); seq++) {
        render_one(&lines, seq, RENDERED_BLOCK / 2);
        assert_in_range(rendered.bytes, 1, RENDERED_BYTES_MAX);
    }
    assert_int_equal(rendered.bytes, RENDERED_BYTES_MAX);
}

static void one_that_is_larger_than_the_bound_is_kept_alone(void **state)
{
    (void)state;
    render_one(&lines, 1, LEN);
    render_one(&lines, 2, RENDERED_BYTES_MAX);
    assert_in_range(rendered.bytes, RENDERED_BYTES_MAX, RENDERED_BYTES_MAX + 1000);
    uint64_t made = rendered.made;
    render_one(&lines, 2, RENDERED_BYTES_MAX);
    assert_int_equal(rendered.made, made);
    render_one(&lines, 1, LEN);
    assert_int_equal(rendered.bytes, RENDERED_BLOCK);
}

/* A reader whose socket is full still needs it. */
static void what_is_dropped_stays_with_its_readers(void **state)
{
    (void)state;
    struct page page = make_page(1, 1, 3);
    struct rendered_run run;
    struct buf want = {0};
    assert_true(rendered_run(&rendered, &lines, page.messages, page.count, SIZE_MAX, &run));
    put_fresh_texts(&lines, page.messages, page.count, &want);
    render_one(&lines, 4, RENDERED_BYTES_MAX);
    assert_int_equal(run.frame->refs, 1);
    assert_int_equal(run.len, want.len);
    assert_memory_equal(run.frame->bytes + run.at, want.bytes, want.len);
    frame_drop(run.frame);
    buf_free(&want);
    page_free(&page);
}

/* Its first message is in the oldest block, which is dropped for the one of the next. */
static void a_run_keeps_the_block_that_is_dropped_for_its_next_message(void **state)
{
    (void)state;
    struct message *messages[] = {make(1, LEN), make(2, RENDERED_BYTES_MAX)};
    render_one(&lines, 1, LEN);
    check_fresh(&lines, messages, 2);
    message_drop(messages[0]);
    message_drop(messages[1]);
}

static void without_memory_an_answer_has_all_or_is_none_and_the_store_goes_on(void **state)
{
    (void)state;
    struct page page = make_page(1, 1, MANY);
    unsigned nth = 0, none = 0;
    bool failed;
    do {
        rendered_free(&rendered);
        memory_fail(++nth);
        struct frame *frame = render_page(&rendered, FORMAT_HTML, &page, SIZE_MAX);
        failed = memory_has_failed();
        none += !frame;
        assert_true(failed || frame);
        assert_int_equal(frame ? frame->messages : MANY, MANY);
        frame_drop(frame);
        check_fresh(&(struct shape){.format = FORMAT_HTML, .callback = ""}, page.messages, MANY);
    } while (failed);
    assert_in_range(none, 1, nth - 1);
    page_free(&page);
}

#define TEST(claim) cmocka_unit_test_setup_teardown(claim, init, empty)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_rendered_once_in_each_format_beside_its_neighbours),
        TEST(so_are_those_of_a_channel_that_has_every_16th),
        TEST(messages_that_are_rendered_one_by_one_lie_side_by_side),
        TEST(a_run_ends_with_the_message_that_reaches_its_bytes),
        TEST(whatever_was_asked_before_it_is_what_rendering_gives),
        TEST(answers_share_the_messages_that_all_of_them_have),
        TEST(batches_share_the_texts_that_both_have),
        TEST(a_batch_with_a_reset_shares_only_what_others_get),
        TEST(the_bytes_that_are_kept_are_bounded),
        TEST(one_that_is_larger_than_the_bound_is_kept_alone),
        TEST(what_is_dropped_stays_with_its_readers),
        TEST(a_run_keeps_the_block_that_is_dropped_for_its_next_message),
        TEST(without_memory_an_answer_has_all_or_is_none_and_the_store_goes_on),
    };
    return cmocka_run_group_tests_name("rendered", tests, NULL, NULL);
}

/* Batches: what a stream gets, however its socket cuts it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fcgi/readers/batch.h"

enum { MESSAGES = 40 };
static const char epoch[] = "0123456789ab";

/* A page of count messages with seq 1 and up, some of them large. */
static struct page make_page(size_t count)
{
    struct page page = {.next = count, .messages = calloc(count + 1, sizeof *page.messages)};
    static char text[3000];
    memset(text, 'x', sizeof text);
    for (; page.count < count; page.count++) {
        size_t len = page.count % 7 == 0 ? sizeof text : page.count % 5;
        page.messages[page.count] = message_new("main", text, len, 0);
        page.messages[page.count]->seq = page.count + 1;
    }
    return page;
}

static struct batch *make_batch(const struct shape *shape, size_t count, bool reset)
{
    static struct rendered rendered;
    struct page page = make_page(count);
    page.reset = reset;
    rendered_init(&rendered, epoch);
    struct batch *batch = batch_new(&rendered, shape, &page);
    page_free(&page);
    rendered_free(&rendered);
    assert_non_null(batch);
    return batch;
}

static void add_all(struct buf *out, const struct batch *batch, const struct frame *call)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        if (call)
            buf_add(out, call->bytes, call->len);
        buf_add(out, batch->iov[i].iov_base, batch->iov[i].iov_len);
    }
}

/* Takes up to len bytes that the batch's reader has been sent. */
static void take(int fd, struct buf *out, size_t len)
{
    char bytes[4096];
    ssize_t got = recv(fd, bytes, len < sizeof bytes ? len : sizeof bytes, MSG_DONTWAIT);
    if (got > 0)
        buf_add(out, bytes, (size_t)got);
}

static const struct shape lines = {.format = FORMAT_LINES, .request_id = 1, .callback = ""};
static const struct shape scripts = {.format = FORMAT_SCRIPT, .request_id = 1, .callback = "add_x"};

/* What is not sent of a batch is read again from the progress's cursor, as stream.c does. */
static void send_again(int fd, const struct batch *batch, struct frame *call,
                       struct progress *progress, uint64_t *messages)
{
    if (progress->rest.frame) {
        if (rest_send(&progress->rest, fd) != 1)
            return;
        frame_drop(progress->rest.frame);
        frame_drop(progress->rest.call);
        progress->rest = (struct rest){0};
    }
    uint32_t first = 0;
    while (first < batch->count && batch->parts[first].seq <= progress->cursor.seq)
        first++;
    struct batch rest = {.count = batch->count - first,
                         .next = batch->next,
                         .parts = batch->parts + first,
                         .iov = batch->iov + first};
    batch_send(&rest, call, fd, progress, messages);
}

static void check_every_cut(const struct shape *shape, struct frame *call)
{
    struct batch *batch = make_batch(shape, MESSAGES, false);
    struct buf expected = {0};
    assert_int_equal(batch->bare, call != NULL);
    add_all(&expected, batch, call);
    for (unsigned seed = 1; seed <= 50; seed++) {
        struct progress progress = {.cursor = {CURSOR_AT, 0}};
        struct buf got = {0};
        uint64_t messages = 0;
        int pair[2], size = 1;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        srand(seed);
        for (int round = 0; got.len < expected.len; round++) {
            assert_true(round < 100000);
            send_again(pair[0], batch, call, &progress, &messages);
            take(pair[1], &got, 1 + (size_t)rand() % 700);
        }
        assert_int_equal(got.len, expected.len);
        assert_memory_equal(got.bytes, expected.bytes, expected.len);
        assert_int_equal(messages, MESSAGES);
        assert_int_equal(progress.cursor.seq, MESSAGES);
        assert_null(progress.rest.frame);
        buf_free(&got);
        close(pair[0]);
        close(pair[1]);
    }
    buf_free(&expected);
    batch_free(batch);
}

static void however_the_socket_cuts_every_byte_comes_once(void **state)
{
    (void)state;
    check_every_cut(&lines, NULL);
}

static void so_it_does_with_each_readers_own_call_before_each_message(void **state)
{
    (void)state;
    struct frame *call = frame_part(1, "<script>parent.add_x(", strlen("<script>parent.add_x("));
    check_every_cut(&scripts, call);
    frame_drop(call);
}

static bool says(const struct batch *batch, uint32_t part, const char *text)
{
    return memmem(batch->iov[part].iov_base, batch->iov[part].iov_len, text, strlen(text)) != NULL;
}

static void a_reset_comes_with_what_follows_it(void **state)
{
    (void)state;
    struct batch *batch = make_batch(&lines, 2, true);
    assert_int_equal(batch->count, 2);
    assert_true(says(batch, 0, "{\"reset\":true}\n{\"id\":\"0123456789ab-1\""));
    assert_false(says(batch, 1, "reset"));
    batch_free(batch);
}

static void a_reset_of_nothing_gives_the_cursor(void **state)
{
    (void)state;
    struct batch *batch = make_batch(&lines, 0, true);
    assert_int_equal(batch->count, 1);
    assert_int_equal(batch->parts[0].messages, 0);
    assert_true(says(batch, 0, "{\"reset\":true}\n{\"id\":\"0123456789ab-0\"}\n"));
    batch_free(batch);
}

/* Nothing of theirs is shared: the call comes twice in the first part. */
static void scripts_with_a_reset_have_their_call_in_the_parts(void **state)
{
    (void)state;
    struct batch *batch = make_batch(&scripts, 2, true);
    assert_false(batch->bare);
    assert_true(says(batch, 0,
                     "<script>parent.add_x(null,null)</script>\n"
                     "<script>parent.add_x(\"xxx"));
    assert_true(says(batch, 1, "<script>parent.add_x(\"x\",\"0123456789ab-2\""));
    batch_free(batch);
}

/* JSON makes six bytes of each: what is rendered counts, not what it is rendered from. */
static void a_batch_ends_with_the_message_that_reaches_its_bytes(void **state)
{
    (void)state;
    enum { COUNT = 8, LEN = 5000 };
    static char text[LEN];
    static struct rendered rendered;
    struct page page = {.next = 100, .messages = calloc(COUNT, sizeof *page.messages)};
    memset(text, 1, sizeof text);
    for (; page.count < COUNT; page.count++) {
        page.messages[page.count] = message_new("main", text, sizeof text, 0);
        page.messages[page.count]->seq = page.count + 1;
    }
    rendered_init(&rendered, epoch);
    struct batch *batch = batch_new(&rendered, &lines, &page);
    assert_int_equal(batch->messages, 3);
    assert_true(batch->more);
    assert_int_equal(batch->next, 3);
    assert_in_range(batch->len, BATCH_BYTES, BATCH_BYTES + 6 * LEN + 200);
    batch_free(batch);
    page_free(&page);
    rendered_free(&rendered);
}

static void nothing_new_is_sent_at_once(void **state)
{
    (void)state;
    struct batch *batch = make_batch(&lines, 0, false);
    struct progress progress = {.cursor = {CURSOR_START, 0}};
    uint64_t messages = 0;
    assert_int_equal(batch_send(batch, NULL, -1, &progress, &messages), 1);
    assert_int_equal(progress.cursor.kind, CURSOR_AT);
    batch_free(batch);
}

static void a_reader_that_is_gone_is_noticed(void **state)
{
    (void)state;
    struct batch *batch = make_batch(&lines, 3, false);
    struct progress progress = {.cursor = {CURSOR_AT, 0}};
    uint64_t messages = 0;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    close(pair[1]);
    assert_int_equal(batch_send(batch, NULL, pair[0], &progress, &messages), -1);
    close(pair[0]);
    batch_free(batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(however_the_socket_cuts_every_byte_comes_once),
        cmocka_unit_test(so_it_does_with_each_readers_own_call_before_each_message),
        cmocka_unit_test(a_batch_ends_with_the_message_that_reaches_its_bytes),
        cmocka_unit_test(scripts_with_a_reset_have_their_call_in_the_parts),
        cmocka_unit_test(a_reset_comes_with_what_follows_it),
        cmocka_unit_test(a_reset_of_nothing_gives_the_cursor),
        cmocka_unit_test(nothing_new_is_sent_at_once),
        cmocka_unit_test(a_reader_that_is_gone_is_noticed),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}

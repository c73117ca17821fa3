/* Frames: what the web server gets, byte by byte, and who owns it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fastcgi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fcgi/io/buf.h"
#include "fcgi/wire/reply.h"

/* Takes the records apart: appends STDOUT to out, checks every id, and returns whether the answer
 * ended as it should. */
static int unframe(const uint8_t *bytes, size_t len, uint16_t id, struct buf *out)
{
    int ended = 0, closed = 0;
    while (len >= FCGI_HEADER_LEN) {
        size_t content = (size_t)(bytes[4] << 8 | bytes[5]);
        assert_int_equal(bytes[0], FCGI_VERSION_1);
        assert_int_equal(bytes[2] << 8 | bytes[3], id);
        assert_false(ended);
        if (bytes[1] == FCGI_STDOUT) {
            assert_false(closed);
            closed = content == 0;
            buf_add(out, bytes + FCGI_HEADER_LEN, content);
        } else {
            assert_int_equal(bytes[1], FCGI_END_REQUEST);
            assert_true(closed);
            ended = 1;
        }
        size_t whole = FCGI_HEADER_LEN + content + bytes[6];
        bytes += whole;
        len -= whole;
    }
    assert_int_equal(len, 0);
    return ended;
}

static void an_answer_carries_the_common_headers(void **state)
{
    struct buf out = {0};
    struct frame *frame = frame_new(405, TYPE_TEXT, "Allow: GET\r\n", "no", 2);
    assert_true(unframe(frame->bytes, frame->len, 1, &out));
    buf_add(&out, "", 1);
    assert_string_equal(out.bytes, "Status: 405 Method Not Allowed\r\n"
                                   "Content-Type: text/plain; charset=utf-8\r\n"
                                   "Content-Length: 2\r\n"
                                   "Cache-Control: no-store\r\n"
                                   "X-Content-Type-Options: nosniff\r\n"
                                   "Allow: GET\r\n"
                                   "\r\n"
                                   "no");
    frame_drop(frame);
    buf_free(&out);
}

static void bodies_of_every_size_are_framed(void **state)
{
    static const size_t sizes[] = {0, 1, 65000, 65300, 65400, 65535, 65536, 131072, 1000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *body = malloc(sizes[i] + 1);
        memset(body, 'b', sizes[i] + 1);
        struct frame *frame = frame_new(200, TYPE_JSON, NULL, body, sizes[i]);
        struct buf out = {0};
        assert_true(unframe(frame->bytes, frame->len, 1, &out));
        assert_memory_equal(out.bytes + out.len - sizes[i], body, sizes[i]);
        assert_memory_equal(out.bytes + out.len - sizes[i] - 4, "\r\n\r\n", 4);
        frame_drop(frame);
        buf_free(&out);
        free(body);
    }
}

/* Records end in the middle of pieces, and pieces in the middle of records; some are empty. */
static void a_body_in_pieces_is_framed_as_the_whole(void **state)
{
    enum { BODY = 200000, PIECES = 12 };
    static char body[BODY];
    for (size_t i = 0; i < BODY; i++)
        body[i] = (char)(i * 2654435761U >> 24);
    struct frame *whole = frame_new(200, TYPE_JSON, NULL, body, BODY);
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct text pieces[PIECES];
        srand(seed);
        for (size_t i = 0, at = 0; i < PIECES; i++) {
            size_t len = i + 1 == PIECES ? BODY - at : (size_t)rand() % 3 * (size_t)(rand() % 9000);
            pieces[i] = (struct text){body + at, len};
            at += len;
        }
        struct frame *gathered = frame_gather(200, TYPE_JSON, NULL, pieces, PIECES);
        assert_int_equal(gathered->len, whole->len);
        assert_memory_equal(gathered->bytes, whole->bytes, whole->len);
        frame_drop(gathered);
    }
    frame_drop(whole);
}

static void a_full_socket_is_gone_on_with(void **state)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    char *body = calloc(1, 1000000);
    struct frame *frame = frame_new(200, TYPE_JSON, NULL, body, 1000000);
    struct buf got = {0}, out = {0};
    uint32_t sent = 0;
    int rc, waits = 0;
    while ((rc = frame_send(&frame, &sent, pair[0], 300)) == 0) {
        waits++;
        char *room = buf_room(&got, 50000);
        ssize_t len = read(pair[1], room, 50000);
        assert_true(len > 0);
        got.len += (size_t)len;
    }
    assert_int_equal(rc, 1);
    assert_true(waits > 0);
    close(pair[0]);
    ssize_t len;
    while ((len = read(pair[1], buf_room(&got, 50000), 50000)) > 0)
        got.len += (size_t)len;
    assert_true(unframe((uint8_t *)got.bytes, got.len, 300, &out));
    close(pair[1]);
    frame_drop(frame);
    buf_free(&got);
    buf_free(&out);
    free(body);
}

static void another_request_id_leaves_a_shared_frame_alone(void **state)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct frame *frame = frame_new(200, TYPE_JSON, NULL, "{}", 2);
    struct frame *shared = frame_hold(frame);
    struct buf out = {0};
    uint32_t sent = 0;
    assert_int_equal(frame_send(&shared, &sent, pair[0], 9), 1);
    assert_ptr_not_equal(frame, shared);
    assert_int_equal(frame->refs, 1);
    assert_true(unframe(frame->bytes, frame->len, 1, &out));
    buf_reset(&out);
    assert_true(unframe(shared->bytes, shared->len, 9, &out));
    frame_drop(frame);
    frame_drop(shared);
    buf_free(&out);
    close(pair[0]);
    close(pair[1]);
}

static void a_peer_that_is_gone_is_told_from_a_full_socket(void **state)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    close(pair[1]);
    struct frame *frame = frame_error(400, NULL, "no");
    uint32_t sent = 0;
    assert_int_equal(frame_send(&frame, &sent, pair[0], 1), -1);
    frame_drop(frame);
    close(pair[0]);
}

static void an_error_too_long_for_its_buffer_is_cut_to_it(void **state)
{
    struct buf out = {0};
    char text[3000];
    memset(text, 'e', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct frame *frame = frame_error(400, NULL, text);
    assert_int_equal(unframe(frame->bytes, frame->len, 1, &out), 1);
    assert_true(out.len < 800);
    assert_memory_equal(out.bytes + out.len - 4, "e\"}\n", 4);
    frame_drop(frame);
    buf_free(&out);
}

static void an_error_about_an_element_is_cut_likewise(void **state)
{
    struct buf out = {0};
    char text[3000];
    memset(text, 'e', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct frame *frame = frame_error_at(400, NULL, SIZE_MAX, text);
    assert_int_equal(unframe(frame->bytes, frame->len, 1, &out), 1);
    assert_true(out.len < 800);
    static const char end[] = "e\",\"element\":18446744073709551615}\n";
    assert_memory_equal(out.bytes + out.len - strlen(end), end, strlen(end));
    frame_drop(frame);
    buf_free(&out);
}

static void to_a_head_goes_the_header_alone(void **state)
{
    char body[70000];
    memset(body, '\r', sizeof body);
    memcpy(body, "\r\n\r\n", 4);
    struct frame *whole = frame_new(200, TYPE_JSON, "X-Own: 1\r\n", body, sizeof body);
    struct frame *opening = frame_opening(7, TYPE_TEXT, NULL, "begin", 5);
    struct frame *frames[] = {frame_bodiless(frame_hold(whole)), frame_bodiless(opening)};
    for (int i = 0; i < 2; i++) {
        const uint8_t *at = frames[i]->bytes;
        size_t head = (size_t)(at[4] << 8 | at[5]);
        assert_memory_equal(at + 8 + head - 4, "\r\n\r\n", 4);
        assert_int_equal(frames[i]->len, 8 + head + 8 + 16); /* no more STDOUT, END_REQUEST */
        assert_int_equal(at[3], i == 0 ? 1 : 7);
        assert_int_equal(at[8 + head + 8 + 1], FCGI_END_REQUEST);
    }
    assert_non_null(memmem(frames[0]->bytes, frames[0]->len, "Content-Length: 70000", 21));
    assert_int_equal(whole->refs, 1);
    frame_drop(whole);
    frame_drop(frames[0]);
    frame_drop(frames[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(to_a_head_goes_the_header_alone),
        cmocka_unit_test(an_answer_carries_the_common_headers),
        cmocka_unit_test(bodies_of_every_size_are_framed),
        cmocka_unit_test(a_body_in_pieces_is_framed_as_the_whole),
        cmocka_unit_test(a_full_socket_is_gone_on_with),
        cmocka_unit_test(another_request_id_leaves_a_shared_frame_alone),
        cmocka_unit_test(a_peer_that_is_gone_is_told_from_a_full_socket),
        cmocka_unit_test(an_error_too_long_for_its_buffer_is_cut_to_it),
        cmocka_unit_test(an_error_about_an_element_is_cut_likewise),
    };
    return cmocka_run_group_tests_name("reply", tests, NULL, NULL);
}

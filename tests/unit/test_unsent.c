/* What sockets have not taken: how it is counted, and who is cut off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fcgi/io/buf.h"
#include "fcgi/conn/conn.h"
#include "fcgi/conn/unsent.h"

enum { MOST = 1000 };

static struct frame *frame_of(size_t len)
{
    static const char text[2 * MOST];
    return frame_raw(text, len);
}

static void a_frame_counts_once_however_many_lack_it(void **state)
{
    struct unsent unsent;
    struct conn conns[3] = {0};
    struct rest rests[3] = {0};
    struct frame *frame = frame_of(100);
    unsent_init(&unsent, MOST);
    for (int i = 0; i < 3; i++) {
        rests[i].frame = frame_hold(frame);
        unsent_note(&unsent, &rests[i], &conns[i]);
        unsent_note(&unsent, &rests[i], &conns[i]); /* it has taken some of it */
        assert_int_equal(unsent.bytes, 100);
    }
    frame_drop(frame);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(unsent.bytes, 100);
        unsent_drop(&unsent, &rests[i]);
        unsent_drop(&unsent, &rests[i]);
    }
    assert_int_equal(unsent.bytes, 0);
    assert_int_equal(unsent.count, 0);
}

static void who_has_taken_nothing_for_longest_is_cut_off_first(void **state)
{
    struct unsent unsent;
    struct conn conns[4] = {0};
    struct rest rests[4] = {0};
    unsent_init(&unsent, MOST);
    for (int i = 0; i < 4; i++) {
        assert_null(unsent_worst(&unsent));
        rests[i].frame = frame_of(300);
        unsent_note(&unsent, &rests[i], &conns[i]);
    }
    for (int i = 0; i < 4; i++)
        rests[i].moved_ms -= UNSENT_MOMENT_MS;
    unsent_note(&unsent, &rests[0], &conns[0]); /* it reads */
    assert_ptr_equal(unsent_worst(&unsent), &conns[1]);
    unsent_drop(&unsent, &rests[1]);
    assert_null(unsent_worst(&unsent));
    for (int i = 0; i < 4; i++)
        unsent_drop(&unsent, &rests[i]);
}

static void while_all_are_moving_the_last_one_to_come_is_cut_off(void **state)
{
    struct unsent unsent;
    struct conn conns[4] = {0};
    struct rest rests[4] = {0};
    unsent_init(&unsent, MOST);
    for (int i = 0; i < 4; i++) {
        rests[i].frame = frame_of(300);
        unsent_note(&unsent, &rests[i], &conns[i]);
    }
    unsent_note(&unsent, &rests[0], &conns[0]);
    assert_ptr_equal(unsent_worst(&unsent), &conns[3]);
    unsent_drop(&unsent, &rests[3]);
    assert_null(unsent_worst(&unsent));
    for (int i = 0; i < 4; i++)
        unsent_drop(&unsent, &rests[i]);
}

static void who_shares_a_frame_with_many_is_spared(void **state)
{
    enum { MANY = 500 };
    struct unsent unsent;
    static struct conn conns[MANY + 2];
    static struct rest rests[MANY + 2];
    struct frame *shared = frame_of(400);
    unsent_init(&unsent, MOST);
    for (int i = 0; i < MANY + 2; i++) {
        rests[i].frame = i < MANY ? frame_hold(shared) : frame_of(400);
        unsent_note(&unsent, &rests[i], &conns[i]);
        rests[i].moved_ms -= UNSENT_MOMENT_MS;
    }
    frame_drop(shared);
    assert_ptr_equal(unsent_worst(&unsent), &conns[MANY]);
    for (int i = 0; i < MANY + 2; i++)
        unsent_drop(&unsent, &rests[i]);
    assert_int_equal(unsent.bytes, 0);
}

static void the_only_reader_is_spared_whatever_it_lacks(void **state)
{
    struct unsent unsent;
    struct conn conns[2];
    struct rest rests[2] = {0};
    unsent_init(&unsent, MOST);
    for (int i = 0; i < 2; i++) {
        rests[i].frame = frame_of(2 * MOST);
        unsent_note(&unsent, &rests[i], &conns[i]);
        rests[i].moved_ms -= UNSENT_MOMENT_MS;
    }
    assert_ptr_equal(unsent_worst(&unsent), &conns[0]);
    unsent_drop(&unsent, &rests[0]);
    assert_true(unsent_is_too_much(&unsent));
    assert_null(unsent_worst(&unsent));
    unsent_drop(&unsent, &rests[1]);
}

static void whatever_the_socket_takes_a_rest_goes_out_once(void **state)
{
    enum { CALL = 700, PART = 90 * 1000, AFTER = 100 };
    static uint8_t bytes[CALL + PART + AFTER], got[CALL + PART];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 2654435761U >> 24);
    for (uint32_t begin = 0; begin < 1400; begin += 175) {
        int fds[2], small = 4096, sent;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        struct rest rest = {.call = frame_raw(bytes, CALL),
                            .frame = frame_raw(bytes, sizeof bytes),
                            .at = CALL,
                            .len = PART,
                            .sent = begin};
        size_t len = begin;
        do {
            sent = rest_send(&rest, fds[0]);
            for (ssize_t n; (n = recv(fds[1], got + len, 999, MSG_DONTWAIT)) > 0;)
                len += (size_t)n;
            assert_true(sent >= 0);
        } while (sent == 0);
        assert_int_equal(len, sizeof got);
        assert_memory_equal(got + begin, bytes + begin, sizeof got - begin);
        close(fds[1]);
        rest.sent = 0;
        assert_int_equal(rest_send(&rest, fds[0]), -1);
        frame_drop(rest.call);
        frame_drop(rest.frame);
        close(fds[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_counts_once_however_many_lack_it),
        cmocka_unit_test(who_has_taken_nothing_for_longest_is_cut_off_first),
        cmocka_unit_test(while_all_are_moving_the_last_one_to_come_is_cut_off),
        cmocka_unit_test(who_shares_a_frame_with_many_is_spared),
        cmocka_unit_test(the_only_reader_is_spared_whatever_it_lacks),
        cmocka_unit_test(whatever_the_socket_takes_a_rest_goes_out_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* How a request gets in: when it is taken, and when its connection ends instead. */
#include "tests/unit/support_conn.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fcgi/conn/answer.h"
#include "fcgi/conn/reading.h"
#include "tests/unit/fcgi_bytes.h"
#include "tests/unit/support_memory.h"

static const char HANDSHAKE[] = "GET /comet/websocket HTTP/1.1\r\nHost: h\r\n"
                                "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                "Sec-WebSocket-Version: 13\r\n\r\n";

enum { HALF = (sizeof HANDSHAKE - 1) / 2 };

/* The bytes of a request with a body of so many bytes; to be freed. */
static struct buf request_with(size_t body_len)
{
    struct buf bytes = {0};
    char *body = malloc(body_len + 1);
    assert_non_null(body);
    memset(body, 'x', body_len);
    body[body_len] = '\0';
    put_request(&bytes, 1, "POST", "/comet/create", "text/plain", body);
    free(body);
    return bytes;
}

/* Says bytes[0, len), so many at a time, to a connection that may end meanwhile. */
static void say_in_parts(struct peer *peer, const char *bytes, size_t len, size_t most)
{
    for (size_t at = 0; at < len; at += most) {
        (void)send(peer->fd, bytes + at, len - at < most ? len - at : most, MSG_NOSIGNAL);
        go_round();
    }
}

/* ---- FastCGI ---- */

static void take_and_watch(void *service, struct conn *conn, const struct request *request)
{
    (void)service, (void)request;
    asked.requests++;
    conn_wait(conn, &conns.busy, &attentive, (void *)(uintptr_t)&attentive, CONN_FOREVER);
    conn_watch(conn, WATCH_CLOSE);
}

/* The bytes come before the connection is accepted. */
static void a_request_that_is_there_at_once_is_taken_at_once(void **state)
{
    int fds[2];
    struct buf bytes = request_with(5);
    conns.take_request = take_and_watch;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(send(fds[0], bytes.bytes, bytes.len, 0), bytes.len);
    conn_accept_fastcgi(&conns, fds[1]);
    assert_int_equal(asked.requests, 1);
    assert_int_equal(LIST_FIRST(&conns.busy)->watch, WATCH_CLOSE); /* as who took it wants it */
    buf_free(&bytes);
    peer_leave(&(struct peer){.fd = fds[0]});
    assert_int_equal(conns.count, 0);
}

static void a_request_in_parts_is_taken_when_it_is_whole(void **state)
{
    struct peer peer = peer_connect(conn_accept_fastcgi);
    struct buf bytes = request_with(5);
    say_in_parts(&peer, bytes.bytes, bytes.len - 1, 1);
    assert_int_equal(asked.requests, 0);
    peer_say(&peer, bytes.bytes + bytes.len - 1, 1);
    assert_int_equal(asked.requests, 1);
    assert_int_equal(loop.timers.count, 0); /* it has arrived: its time is not measured any more */
    buf_free(&bytes);
    peer_leave(&peer);
}

static void a_request_may_be_larger_than_what_is_read_at_once(void **state)
{
    static const size_t sizes[] = {MAX_MESSAGE, 2 * INBOX_SIZE, LARGE /* too much: only counted */};
    struct peer peer = peer_connect(conn_accept_fastcgi);
    for (unsigned i = 0; i < 3; i++) {
        struct buf bytes = request_with(sizes[i]);
        say_in_parts(&peer, bytes.bytes, bytes.len, INBOX_SIZE + 1000);
        assert_int_equal(asked.requests, i + 1);
        conn_wait_idle(asked.conn);
        buf_free(&bytes);
    }
    peer_leave(&peer);
}

static void bytes_that_are_no_request_end_the_connection(void **state)
{
    struct peer peer = peer_connect(conn_accept_fastcgi);
    peer_say(&peer, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_int_equal(conns.count, 0);
    assert_int_equal(asked.requests, 0);
    peer_leave(&peer);
}

static void a_request_with_something_behind_it_ends_the_connection(void **state)
{
    struct peer peer = peer_connect(conn_accept_fastcgi);
    struct buf bytes = request_with(5);
    buf_add(&bytes, "x", 1);
    peer_say(&peer, bytes.bytes, bytes.len);
    assert_int_equal(conns.count, 0);
    assert_int_equal(asked.requests, 0);
    buf_free(&bytes);
    peer_leave(&peer);
}

static void a_peer_that_leaves_in_the_middle_is_not_waited_for(void **state)
{
    struct peer peer = peer_connect(conn_accept_fastcgi);
    struct buf bytes = request_with(5);
    peer_say(&peer, bytes.bytes, bytes.len / 2);
    assert_int_equal(conns.count, 1);
    peer_leave(&peer);
    assert_int_equal(conns.count, 0);
    buf_free(&bytes);
}

/* ---- time ---- */

static void half_a_request_has_only_so_much_time_however_it_trickles_in(void **state)
{
    struct peer peer = peer_connect(conn_accept_fastcgi);
    struct buf bytes = request_with(5);
    for (int i = 0; i < 4; i++) {
        peer_say(&peer, bytes.bytes + i, 1);
        pass(TIMEOUT_MS / 4 - 1000);
        assert_int_equal(conns.count, 1);
    }
    pass(4000);
    assert_int_equal(conns.count, 0);
    buf_free(&bytes);
    peer_leave(&peer);
}

static void a_connection_that_never_asks_has_only_so_much_time(void **state)
{
    struct peer peer = peer_connect(conn_accept_fastcgi);
    pass(TIMEOUT_MS - 1000);
    assert_int_equal(conns.count, 1);
    pass(1000);
    assert_int_equal(conns.count, 0);
    peer_leave(&peer);
}

static void a_kept_connection_may_be_idle_for_any_time(void **state)
{
    struct peer peer;
    conn_answer(peer_connect_and_ask(&peer), frame_error(400, NULL, "no"));
    pass(100 * TIMEOUT_MS);
    assert_int_equal(conns.count, 1);
    (void)peer_ask(&peer, "GET", true);
    assert_int_equal(asked.requests, 2);
    peer_leave(&peer);
    assert_int_equal(conns.count, 0);
}

/* ---- WebSockets ---- */

static void a_handshake_in_parts_is_taken_with_what_is_behind_it(void **state)
{
    struct peer peer = peer_connect(conn_accept_websocket);
    say_in_parts(&peer, HANDSHAKE, sizeof HANDSHAKE - 2, 1);
    assert_int_equal(asked.websockets, 0);
    peer_say(&peer, "\nframe", 6);
    assert_int_equal(asked.websockets, 1);
    assert_int_equal(asked.websocket.len, 5);
    assert_memory_equal(asked.websocket.bytes, "frame", 5);
    peer_leave(&peer);
}

static void a_handshake_that_is_none_is_refused_and_the_connection_lingers(void **state)
{
    struct peer peer = peer_connect(conn_accept_websocket);
    peer_say(&peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27);
    assert_true(peer_has_heard(&peer, "HTTP/1.1 4"));
    assert_int_equal(asked.websockets, 0);
    assert_false(peer.closed); /* the client is to close first */
    assert_int_equal(conns.count, 1);
    peer_leave(&peer);
    assert_int_equal(conns.count, 0);
}

static void a_head_that_is_refused_as_a_handshake_gets_no_body(void **state)
{
    struct peer peer = peer_connect(conn_accept_websocket);
    peer_say(&peer, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", 28);
    assert_true(peer_has_heard(&peer, "HTTP/1.1 4"));
    assert_memory_equal(peer.heard.bytes + peer.heard.len - 4, "\r\n\r\n", 4);
    peer_leave(&peer);
}

static void half_a_handshake_has_only_so_much_time(void **state)
{
    struct peer peer = peer_connect(conn_accept_websocket);
    peer_say(&peer, HANDSHAKE, HALF);
    pass(TIMEOUT_MS - 1000);
    assert_int_equal(conns.count, 1);
    pass(1000);
    assert_int_equal(conns.count, 0);
    peer_leave(&peer);
}

/* ---- memory ---- */

static void
whatever_allocation_fails_a_request_is_taken_or_refused_or_its_connection_ends(void **state)
{
    struct buf bytes = request_with(1000);
    unsigned nth = 0;
    bool failed;
    do {
        memory_fail(++nth);
        struct peer peer = peer_connect(conn_accept_fastcgi);
        say_in_parts(&peer, bytes.bytes, bytes.len, bytes.len / 2 + 1);
        failed = memory_has_failed();
        bool refused = peer_has_heard(&peer, "Status: 503");
        assert_int_equal(asked.requests + refused + peer.closed, 1);
        asked.requests = 0;
        peer_leave(&peer);
        assert_int_equal(conns.count, 0);
    } while (failed);
    assert_true(nth > 4);
    buf_free(&bytes);
}

static void whatever_allocation_fails_a_handshake_is_taken_or_its_connection_ends(void **state)
{
    unsigned nth = 0;
    bool failed;
    do {
        memory_fail(++nth);
        struct peer peer = peer_connect(conn_accept_websocket);
        say_in_parts(&peer, HANDSHAKE, sizeof HANDSHAKE - 1, HALF);
        failed = memory_has_failed();
        peer_hear(&peer);
        assert_int_equal(asked.websockets + (peer.closed || peer.heard.len > 0), 1);
        asked.websockets = 0;
        peer_leave(&peer);
        go_round();
        assert_int_equal(conns.count, 0);
    } while (failed);
    assert_true(nth > 3);
}

#define WITH_CONNS(claim) cmocka_unit_test_setup_teardown(claim, conns_setup, conns_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CONNS(a_request_that_is_there_at_once_is_taken_at_once),
        WITH_CONNS(a_request_in_parts_is_taken_when_it_is_whole),
        WITH_CONNS(a_request_may_be_larger_than_what_is_read_at_once),
        WITH_CONNS(bytes_that_are_no_request_end_the_connection),
        WITH_CONNS(a_request_with_something_behind_it_ends_the_connection),
        WITH_CONNS(a_peer_that_leaves_in_the_middle_is_not_waited_for),
        WITH_CONNS(half_a_request_has_only_so_much_time_however_it_trickles_in),
        WITH_CONNS(a_connection_that_never_asks_has_only_so_much_time),
        WITH_CONNS(a_kept_connection_may_be_idle_for_any_time),
        WITH_CONNS(a_handshake_in_parts_is_taken_with_what_is_behind_it),
        WITH_CONNS(a_handshake_that_is_none_is_refused_and_the_connection_lingers),
        WITH_CONNS(a_head_that_is_refused_as_a_handshake_gets_no_body),
        WITH_CONNS(half_a_handshake_has_only_so_much_time),
        WITH_CONNS(whatever_allocation_fails_a_request_is_taken_or_refused_or_its_connection_ends),
        WITH_CONNS(whatever_allocation_fails_a_handshake_is_taken_or_its_connection_ends),
    };
    return cmocka_run_group_tests_name("reading", tests, NULL, NULL);
}

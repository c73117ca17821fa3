/* The end of a request: its answer goes out, or says why there is none, and the connection waits
 * for the next request, lingers, or ends. */
#include "tests/unit/support_conn.h"

#include <string.h>
#include <sys/socket.h>

#include "fcgi/conn/answer.h"
#include "fcgi/conn/reading.h"
#include "fcgi/conn/refusal.h"
#include "tests/unit/support_memory.h"

enum { LINGER_MS = 1000 };

static struct frame *large_frame(void)
{
    static char body[LARGE];
    return frame_new(200, TYPE_TEXT, NULL, body, sizeof body);
}

/* A request that has got a large answer, of which its peer has heard nothing yet. */
static struct conn *answer_much(struct peer *peer)
{
    struct conn *conn = peer_connect_and_ask(peer);
    conn_answer(conn, large_frame());
    assert_int_equal(conns.unsent.count, 1);
    return conn;
}

/* Hears until there is no more. */
static void hear_all(struct peer *peer)
{
    while (peer_hear(peer) > 0)
        go_round();
}

/* ---- after the answer ---- */

static void a_kept_connection_waits_for_its_next_request(void **state)
{
    struct peer peer;
    struct conn *conn = peer_connect_and_ask(&peer);
    for (unsigned i = 1; i <= 3; i++) {
        conn_answer(conn, frame_error(400, NULL, "no"));
        assert_int_equal(asked.left, i);
        assert_true(peer_hear(&peer) > 0);
        assert_false(peer.closed);
        assert_true(conn->idle);
        assert_int_equal(rooms_made, i);
        assert_ptr_equal(peer_ask(&peer, "GET", true), conn);
    }
    peer_leave(&peer);
    assert_int_equal(conns.count, 0);
}

static void any_other_connection_ends_with_its_answer(void **state)
{
    struct peer peer = peer_connect(conn_accept_fastcgi);
    conn_answer(peer_ask(&peer, "GET", false), frame_error(400, NULL, "no"));
    assert_true(peer_hear(&peer) > 0);
    assert_true(peer.closed);
    assert_int_equal(conns.count, 0);
    peer_leave(&peer);
}

static void a_request_that_comes_during_a_drain_is_the_last_of_its_connection(void **state)
{
    struct peer peer = peer_connect(conn_accept_fastcgi);
    conns.draining = true;
    conn_answer(peer_ask(&peer, "GET", true), frame_error(400, NULL, "no"));
    peer_hear(&peer);
    assert_true(peer.closed);
    peer_leave(&peer);
}

static void the_answer_to_a_head_has_no_body(void **state)
{
    struct peer peer = peer_connect(conn_accept_fastcgi);
    conn_answer(peer_ask(&peer, "HEAD", true), frame_error(400, NULL, "no"));
    assert_true(peer_has_heard(&peer, "Status: 400"));
    assert_false(peer_has_heard(&peer, "error"));
    conn_answer(peer_ask(&peer, "GET", true), frame_error(400, NULL, "no"));
    assert_true(peer_has_heard(&peer, "error"));
    peer_leave(&peer);
}

static void messages_that_are_answered_are_counted(void **state)
{
    struct peer peer;
    struct conn *conn = peer_connect_and_ask(&peer);
    struct frame *frame = frame_error(400, NULL, "no");
    frame->messages = 7;
    conn_answer(conn, frame);
    assert_int_equal(conns.deliveries, 7);
    peer_leave(&peer);
}

/* ---- a socket that is full ---- */

static void what_a_full_socket_does_not_take_is_sent_later(void **state)
{
    struct peer peer;
    struct conn *conn = answer_much(&peer);
    assert_true(conns.unsent.bytes > LARGE);
    hear_all(&peer);
    assert_true(peer.heard.len > LARGE);
    assert_int_equal(conns.unsent.count, 0);
    assert_int_equal(conns.unsent.bytes, 0);
    assert_true(conn->idle);
    assert_int_equal(loop.timers.count, 0);
    peer_leave(&peer);
}

static void a_peer_that_leaves_in_the_middle_of_its_answer_is_forgotten(void **state)
{
    struct peer peer;
    (void)answer_much(&peer);
    peer_leave(&peer);
    assert_int_equal(conns.count, 0);
    assert_int_equal(conns.unsent.count, 0);
}

static void a_peer_that_closes_its_side_in_the_middle_of_its_answer_gets_no_more(void **state)
{
    struct peer peer;
    (void)answer_much(&peer);
    assert_int_equal(shutdown(peer.fd, SHUT_WR), 0);
    hear_all(&peer);
    assert_true(peer.closed);
    assert_true(peer.heard.len < LARGE);
    assert_int_equal(conns.count, 0);
    peer_leave(&peer);
}

static void a_peer_that_takes_much_has_its_time_again(void **state)
{
    struct peer peer;
    (void)answer_much(&peer);
    for (int i = 0; i < 3; i++) {
        assert_true(peer_hear(&peer) > 0);
        go_round(); /* it is given more */
        pass(TIMEOUT_MS - 1000);
        assert_int_equal(conns.count, 1);
    }
    assert_true(peer.heard.len < LARGE);
    peer_leave(&peer);
}

static void a_peer_that_takes_nothing_runs_out_of_time(void **state)
{
    struct peer peer;
    (void)answer_much(&peer);
    pass(TIMEOUT_MS - 1000);
    assert_int_equal(conns.count, 1);
    pass(1000);
    assert_int_equal(conns.count, 0);
    assert_int_equal(conns.unsent.count, 0);
    peer_leave(&peer);
}

/* A socket is reported writable only once much of it is read. */
static void a_peer_that_takes_little_has_its_time_again(void **state)
{
    char bytes[65536];
    struct peer peer;
    (void)answer_much(&peer);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(recv(peer.fd, bytes, i == 0 ? sizeof bytes : 1, 0),
                         i == 0 ? sizeof bytes : 1);
        pass(TIMEOUT_MS - 1000);
        assert_int_equal(conns.count, 1);
    }
    pass(TIMEOUT_MS);
    pass(TIMEOUT_MS);
    assert_int_equal(conns.count, 0);
    peer_leave(&peer);
}

/* ---- lingering ---- */

/* A WebSocket whose handshake was refused. */
static struct peer refuse_handshake(void)
{
    struct peer peer = peer_connect(conn_accept_websocket);
    peer_say(&peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27);
    assert_true(peer_has_heard(&peer, "HTTP/1.1 4"));
    assert_int_equal(conns.count, 1);
    return peer;
}

static void what_comes_while_a_connection_lingers_is_dropped(void **state)
{
    struct peer peer = refuse_handshake();
    peer_say(&peer, "the body that nobody asked for", 30);
    assert_int_equal(conns.count, 1);
    assert_int_equal(peer_hear(&peer), 0);
    peer_leave(&peer);
    assert_int_equal(conns.count, 0);
}

static void a_connection_lingers_only_for_so_long(void **state)
{
    struct peer peer = refuse_handshake();
    pass(LINGER_MS);
    assert_int_equal(conns.count, 0);
    peer_leave(&peer);
}

static void during_a_drain_a_lingering_connection_ends_with_what_comes(void **state)
{
    struct peer peer = refuse_handshake();
    conns.draining = true;
    peer_say(&peer, "x", 1);
    assert_int_equal(conns.count, 0);
    peer_leave(&peer);
}

/* ---- refusals ---- */

static void the_log_s_reasons_have_a_status_each(void **state)
{
    static const struct {
        enum log_status status;
        const char *line;
        bool again; /* the client may ask again soon */
    } reasons[] = {
        {LOG_FULL, "Status: 507", false},     {LOG_FAILED, "Status: 500", false},
        {LOG_QUEUE, "Status: 503", true},     {LOG_LOCKED, "Status: 503", true},
        {LOG_NO_MEMORY, "Status: 503", true}, {LOG_CONFLICT, "Status: 409", false},
        {LOG_CHANNELS, "Status: 507", false}, {LOG_KEYS, "Status: 507", false},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        struct peer peer;
        conn_refuse_for_log(peer_connect_and_ask(&peer), reasons[i].status);
        assert_true(peer_has_heard(&peer, reasons[i].line));
        assert_true(peer_has_heard(&peer, log_status_text(reasons[i].status)));
        assert_int_equal(peer_has_heard(&peer, "Retry-After: "), reasons[i].again);
        size_t heard = peer.heard.len;
        conn_answer(peer_ask(&peer, "GET", true), refusal_frame(reasons[i].status));
        assert_int_equal(peer_hear(&peer), heard); /* for several, the same */
        peer_leave(&peer);
    }
}

static void a_refusal_for_an_element_says_which(void **state)
{
    struct peer peer;
    conn_answer(peer_connect_and_ask(&peer), refusal_frame_at(LOG_CONFLICT, 12));
    assert_true(peer_has_heard(&peer, "Status: 409"));
    assert_true(peer_has_heard(&peer, "{\"error\":\"element 12: "));
    assert_true(peer_has_heard(&peer, log_status_text(LOG_CONFLICT)));
    assert_true(peer_has_heard(&peer, "\",\"element\":12}\n"));
    peer_leave(&peer);
}

static void who_is_refused_for_now_is_told_when_to_come_back(void **state)
{
    struct peer peer;
    struct conn *conn = peer_connect_and_ask(&peer);
    conn_refuse_for_now(conn, "not now");
    assert_true(peer_has_heard(&peer, "Status: 503"));
    assert_true(peer_has_heard(&peer, "Retry-After: "));
    assert_true(peer_has_heard(&peer, "{\"error\":\"not now\"}"));
    assert_true(conn->idle);
    peer_leave(&peer);
}

/* ---- memory ---- */

static void without_memory_for_an_answer_the_connection_ends(void **state)
{
    struct peer peer;
    conn_answer(peer_connect_and_ask(&peer), NULL);
    assert_int_equal(conns.count, 0);
    assert_int_equal(asked.left, 1);
    peer_leave(&peer);
}

/* Of a GET, a HEAD and a refused handshake. */
static void whatever_allocation_fails_an_answer_is_whole_or_its_connection_ends(void **state)
{
    for (int kind = 0; kind < 3; kind++) {
        unsigned nth = 0;
        bool failed;
        do {
            struct peer peer = peer_connect(kind < 2 ? conn_accept_fastcgi : conn_accept_websocket);
            struct conn *conn = kind < 2 ? peer_ask(&peer, kind == 0 ? "GET" : "HEAD", true)
                                         : TAILQ_FIRST(&conns.idle);
            memory_fail(++nth);
            if (kind < 2)
                conn_answer(conn, large_frame());
            else
                conn_refuse(conn, 400, NULL, "no");
            failed = memory_has_failed();
            hear_all(&peer);
            assert_true(peer.closed || kind > 0 || peer.heard.len > LARGE);
            assert_true(peer.closed || peer.heard.len > 0);
            assert_int_equal(peer.closed, failed);
            peer_leave(&peer);
            assert_int_equal(conns.count, 0);
            assert_int_equal(conns.unsent.count, 0);
        } while (failed);
        assert_true(nth > 1);
    }
}

#define WITH_CONNS(claim) cmocka_unit_test_setup_teardown(claim, conns_setup, conns_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CONNS(a_kept_connection_waits_for_its_next_request),
        WITH_CONNS(any_other_connection_ends_with_its_answer),
        WITH_CONNS(a_request_that_comes_during_a_drain_is_the_last_of_its_connection),
        WITH_CONNS(the_answer_to_a_head_has_no_body),
        WITH_CONNS(messages_that_are_answered_are_counted),
        WITH_CONNS(what_a_full_socket_does_not_take_is_sent_later),
        WITH_CONNS(a_peer_that_leaves_in_the_middle_of_its_answer_is_forgotten),
        WITH_CONNS(a_peer_that_closes_its_side_in_the_middle_of_its_answer_gets_no_more),
        WITH_CONNS(a_peer_that_takes_much_has_its_time_again),
        WITH_CONNS(a_peer_that_takes_nothing_runs_out_of_time),
        WITH_CONNS(a_peer_that_takes_little_has_its_time_again),
        WITH_CONNS(what_comes_while_a_connection_lingers_is_dropped),
        WITH_CONNS(a_connection_lingers_only_for_so_long),
        WITH_CONNS(during_a_drain_a_lingering_connection_ends_with_what_comes),
        WITH_CONNS(the_log_s_reasons_have_a_status_each),
        WITH_CONNS(a_refusal_for_an_element_says_which),
        WITH_CONNS(who_is_refused_for_now_is_told_when_to_come_back),
        WITH_CONNS(without_memory_for_an_answer_the_connection_ends),
        WITH_CONNS(whatever_allocation_fails_an_answer_is_whole_or_its_connection_ends),
    };
    return cmocka_run_group_tests_name("answer", tests, NULL, NULL);
}

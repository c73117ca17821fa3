/* Connections: what they wait for, how they end, and how one makes room for another. */
#include "tests/unit/support_conn.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fcgi/conn/conn.h"
#include "fcgi/conn/reading.h"
#include "fcgi/io/diag.h"
#include "tests/unit/support_memory.h"

/* It does nothing with what happens. */
static const struct wait indifferent = {.name = "indifferent"};

/* ---- waiting ---- */

static void a_wait_is_left_once_when_another_begins(void **state)
{
    struct peer peer;
    struct conn *conn = peer_connect_and_ask(&peer);
    assert_true(conn_waits(conn, &attentive));
    assert_int_equal(asked.left, 0);
    conn_wait(conn, &conns.busy, &indifferent, NULL, CONN_FOREVER);
    assert_true(conn_waits(conn, &indifferent));
    assert_int_equal(asked.left, 1);
    conn_end(conn);
    assert_int_equal(asked.left, 1);
    peer_leave(&peer);
}

static void a_wait_is_left_once_when_the_connection_ends(void **state)
{
    struct peer peer;
    struct conn *conn = peer_connect_and_ask(&peer);
    conn_end(conn);
    conn_end(conn); /* it has ended: nothing more happens */
    assert_int_equal(asked.left, 1);
    assert_int_equal(conns.count, 0);
    assert_int_equal(rooms_made, 1);
    peer_leave(&peer);
}

static void a_wait_is_left_once_when_the_connection_is_idle_again(void **state)
{
    struct peer peer;
    struct conn *conn = peer_connect_and_ask(&peer);
    conn_expire_in(conn, TIMEOUT_MS);
    conn_wait_idle(conn);
    assert_int_equal(asked.left, 1);
    assert_int_equal(rooms_made, 1);
    assert_true(conn_waits(conn, conns.first));
    pass(TIMEOUT_MS);
    assert_int_equal(conns.count, 1); /* no time is set any more */
    peer_leave(&peer);
}

static void a_wait_is_not_left_when_its_connection_moves_to_another_list(void **state)
{
    struct conn_list list = LIST_HEAD_INITIALIZER(list);
    struct peer peer;
    struct conn *conn = peer_connect_and_ask(&peer);
    conn_move(conn, &list);
    assert_int_equal(asked.left, 0);
    conns_end_all(&conns);
    assert_int_equal(conns.count, 1);
    conns_end_list(&list);
    assert_int_equal(conns.count, 0);
    assert_int_equal(asked.left, 1);
    peer_leave(&peer);
}

static void what_the_peer_does_is_told_to_the_wait(void **state)
{
    struct peer peer;
    (void)peer_connect_and_ask(&peer);
    assert_int_equal(send(peer.fd, "x", 1, 0), 1);
    loop_round(&loop, 0);
    assert_int_equal(asked.ready, 1);
    assert_int_equal(asked.events, EPOLLIN);
    assert_int_equal(conns.count, 1); /* what follows from that is the wait's to decide */
    peer_leave(&peer);
    assert_true(asked.events & CONN_GONE);
    assert_int_equal(asked.left, 1);
}

static void a_wait_without_ready_ends_with_whatever_the_peer_does(void **state)
{
    for (int leaves = 0; leaves < 2; leaves++) {
        struct peer peer;
        struct conn *conn = peer_connect_and_ask(&peer);
        conn_wait(conn, &conns.busy, &indifferent, NULL, CONN_FOREVER);
        if (leaves)
            shutdown(peer.fd, SHUT_WR);
        else
            send(peer.fd, "x", 1, 0);
        go_round();
        assert_int_equal(conns.count, 0);
        peer_leave(&peer);
    }
}

static void the_end_of_its_time_is_told_to_the_wait_once(void **state)
{
    struct peer peer;
    struct conn *conn = peer_connect_and_ask(&peer);
    conn_expire_in(conn, TIMEOUT_MS);
    pass(TIMEOUT_MS / 2);
    assert_int_equal(asked.expired, 0);
    conn_expire_in(conn, TIMEOUT_MS); /* from now */
    pass(TIMEOUT_MS / 2);
    assert_int_equal(asked.expired, 0);
    pass(TIMEOUT_MS / 2);
    pass(TIMEOUT_MS);
    assert_int_equal(asked.expired, 1);
    peer_leave(&peer);
}

static void a_wait_without_expired_ends_with_its_time(void **state)
{
    struct peer peer;
    struct conn *conn = peer_connect_and_ask(&peer);
    conn_wait(conn, &conns.busy, &indifferent, NULL, TIMEOUT_MS);
    pass(TIMEOUT_MS);
    assert_int_equal(conns.count, 0);
    assert_int_equal(loop.timers.count, 0);
    peer_leave(&peer);
}

static void end_both(struct conn *conn, uint32_t events)
{
    (void)conn, (void)events;
    asked.ready++;
    conns_end_all(&conns);
}

/* It is in the same round of epoll. */
static void one_that_was_ended_by_another_is_not_called_any_more(void **state)
{
    static const struct wait jealous = {.name = "jealous", .ready = end_both};
    struct peer peers[2];
    for (int i = 0; i < 2; i++)
        conn_wait(peer_connect_and_ask(&peers[i]), &conns.busy, &jealous, NULL, CONN_FOREVER);
    for (int i = 0; i < 2; i++)
        assert_int_equal(send(peers[i].fd, "x", 1, 0), 1);
    go_round();
    assert_int_equal(asked.ready, 1);
    assert_int_equal(conns.count, 0);
    for (int i = 0; i < 2; i++)
        peer_leave(&peers[i]);
}

/* ---- what cannot be had ---- */

static void new_connection(struct conns *of, int fd)
{
    memory_fail(1);
    assert_null(conn_new(of, fd, false));
    assert_true(memory_has_failed());
}

static void without_memory_for_a_connection_its_socket_is_closed(void **state)
{
    struct peer peer = peer_connect(new_connection);
    peer_hear(&peer);
    assert_true(peer.closed);
    assert_int_equal(conns.count, 0);
    peer_leave(&peer);
}

static void a_connection_that_cannot_be_watched_ends(void **state)
{
    struct conn *conn = conn_new(&conns, open("/dev/null", O_RDWR | O_CLOEXEC), false);
    diag_level_set(DIAG_ERROR); /* it would be told */
    conn_watch(conn, WATCH_INPUT);
    diag_level_set(DIAG_INFO);
    assert_int_equal(conns.count, 0);
    assert_int_equal(rooms_made, 1);
}

/* ---- room ---- */

static void the_connection_that_was_idle_for_longest_makes_room(void **state)
{
    struct peer peers[CONNS_MAX];
    for (int i = 0; i < CONNS_MAX; i++) {
        assert_int_equal(conns_make_room(&conns), ROOM_NOW);
        peers[i] = peer_connect(conn_accept_fastcgi);
    }
    conn_wait_idle(peer_ask(&peers[0], "GET", true)); /* it is the last one now */
    assert_int_equal(conns_make_room(&conns), ROOM_NOW);
    assert_int_equal(conns.count, CONNS_MAX - 1);
    for (int i = 0; i < CONNS_MAX; i++) {
        peer_hear(&peers[i]);
        assert_int_equal(peers[i].closed, i == 1);
        peer_leave(&peers[i]);
    }
}

static void one_that_has_sent_its_next_request_is_not_ended_for_room(void **state)
{
    struct peer peers[CONNS_MAX];
    for (int i = 0; i < CONNS_MAX; i++)
        peers[i] = peer_connect(conn_accept_fastcgi);
    assert_int_equal(send(peers[0].fd, "\1", 1, 0), 1); /* the loop has not been told yet */
    assert_int_equal(conns_make_room(&conns), ROOM_SOON);
    assert_int_equal(conns.count, CONNS_MAX);
    for (int i = 0; i < CONNS_MAX; i++)
        peer_leave(&peers[i]);
}

static void without_idle_connections_there_is_no_room(void **state)
{
    struct peer peers[CONNS_MAX];
    for (int i = 0; i < CONNS_MAX; i++)
        (void)peer_connect_and_ask(&peers[i]);
    assert_int_equal(conns_make_room(&conns), ROOM_NONE);
    assert_int_equal(conns.count, CONNS_MAX);
    for (int i = 0; i < CONNS_MAX; i++)
        peer_leave(&peers[i]);
}

#define WITH_CONNS(claim) cmocka_unit_test_setup_teardown(claim, conns_setup, conns_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CONNS(a_wait_is_left_once_when_another_begins),
        WITH_CONNS(a_wait_is_left_once_when_the_connection_ends),
        WITH_CONNS(a_wait_is_left_once_when_the_connection_is_idle_again),
        WITH_CONNS(a_wait_is_not_left_when_its_connection_moves_to_another_list),
        WITH_CONNS(what_the_peer_does_is_told_to_the_wait),
        WITH_CONNS(a_wait_without_ready_ends_with_whatever_the_peer_does),
        WITH_CONNS(the_end_of_its_time_is_told_to_the_wait_once),
        WITH_CONNS(a_wait_without_expired_ends_with_its_time),
        WITH_CONNS(one_that_was_ended_by_another_is_not_called_any_more),
        WITH_CONNS(without_memory_for_a_connection_its_socket_is_closed),
        WITH_CONNS(a_connection_that_cannot_be_watched_ends),
        WITH_CONNS(the_connection_that_was_idle_for_longest_makes_room),
        WITH_CONNS(one_that_has_sent_its_next_request_is_not_ended_for_room),
        WITH_CONNS(without_idle_connections_there_is_no_room),
    };
    return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}

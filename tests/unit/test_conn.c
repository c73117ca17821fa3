/* Connections: what they wait for, how a request gets in and its answer out, and how they end. They
 * are socketpairs, and the time of the deadlines is the tests' own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fastcgi.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fcgi/conn/admission.h"
#include "fcgi/conn/answer.h"
#include "fcgi/conn/conn.h"
#include "fcgi/conn/door.h"
#include "fcgi/conn/reading.h"
#include "fcgi/conn/refusal.h"
#include "fcgi/wire/handshake.h"
#include "fcgi/wire/request.h"
#include "tests/unit/fcgi_bytes.h"
#include "tests/unit/support_memory.h"

enum { TIMEOUT_MS = 10000, MAX_MESSAGE = 1000, CONNS_MAX = 3, LARGE = 4 << 20 };

static struct loop loop;
static struct conns conns;
static struct decoder *decoder;
static struct handshaker *handshaker;
static uint64_t now_ms;
static unsigned rooms_made, requests;
static struct conn *asking; /* of the latest request */

static uint64_t clock_of_tests(void)
{
    return now_ms;
}

static void settle_nothing(struct loop *of)
{
    (void)of;
}

static void note_room(struct conns *of)
{
    (void)of;
    rooms_made++;
}

/* ---- what a request waits for, here ---- */

static unsigned waits_left, waits_expired;
static uint32_t last_events;

static void note_ready(struct conn *conn, uint32_t events)
{
    (void)conn;
    last_events = events;
}

static void note_expired(struct conn *conn)
{
    waits_expired++;
    conn_expire_in(conn, TIMEOUT_MS);
}

static void note_left(struct conn *conn, void *in)
{
    (void)conn;
    assert_ptr_equal(in, &waits_left);
    waits_left++;
}

static const struct wait attentive = {
    .name = "attentive", .ready = note_ready, .expired = note_expired, .left = note_left};
static const struct wait indifferent = {.name = "indifferent"};

static void take_request(void *service, struct conn *conn, const struct request *request)
{
    assert_ptr_equal(service, &requests);
    assert_non_null(request);
    requests++;
    asking = conn;
    conn_wait(conn, &conns.busy, &attentive, &waits_left, CONN_FOREVER);
}

static void take_websocket(void *service, struct conn *conn, const struct handshake *handshake,
                           const uint8_t *bytes, size_t len)
{
    (void)service, (void)handshake, (void)bytes, (void)len;
    conn_end(conn);
}

/* ---- the peer ---- */

static int connect_peer(void (*accept_one)(struct conns *conns, int fd))
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    accept_one(&conns, fds[1]);
    return fds[0];
}

static void go_round(void)
{
    while (loop_round(&loop, 0) > 0)
        ;
}

static void pass(uint64_t ms)
{
    now_ms += ms + 2 * TIMER_TICK_MS;
    loop_round(&loop, 0);
}

static void ask(int peer, bool keep)
{
    struct buf bytes = {0};
    put_request(&bytes, 1, "GET", "/comet/update", NULL, NULL);
    ((FCGI_BeginRequestRecord *)(void *)bytes.bytes)->body.flags = keep ? FCGI_KEEP_CONN : 0;
    assert_int_equal(send(peer, bytes.bytes, bytes.len, MSG_NOSIGNAL), bytes.len);
    buf_free(&bytes);
    go_round();
}

/* Reads all that is there. Returns how much it was; *closed says whether it was the end. */
static size_t hear(int peer, bool *closed)
{
    static char bytes[65536];
    size_t len = 0;
    ssize_t got;
    while ((got = recv(peer, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        len += (size_t)got;
    *closed = got == 0;
    return len;
}

static int set_up(void **state)
{
    now_ms = 1000;
    timer_clock_set(clock_of_tests);
    assert_int_equal(loop_init(&loop), 0);
    loop.settle = settle_nothing;
    memset(&conns, 0, sizeof conns);
    conns_init(&conns, &loop, 1 << 20);
    conns.count_max = CONNS_MAX;
    conns.first = &idle_wait;
    conns.request_timeout_ms = TIMEOUT_MS;
    conns.body_max = request_body_max(MAX_MESSAGE);
    conns.decoder = decoder;
    conns.handshaker = handshaker;
    conns.take_request = take_request;
    conns.take_websocket = take_websocket;
    conns.service = &requests;
    conns.room_made = note_room;
    rooms_made = requests = waits_left = waits_expired = 0;
    last_events = 0;
    asking = NULL;
    return 0;
}

/* Whatever a test did: in the end nothing is left. */
static int tear_down(void **state)
{
    conns_end_all(&conns);
    assert_int_equal(conns.count, 0);
    assert_int_equal(conns.unsent.count, 0);
    assert_int_equal(loop.timers.count, 0);
    buf_free(&conns.scratch);
    loop_free(&loop);
    return 0;
}

/* ---- waiting ---- */

static void a_wait_is_left_once_when_another_begins(void **state)
{
    int peer = connect_peer(conn_accept_fastcgi);
    ask(peer, true);
    assert_int_equal(requests, 1);
    assert_true(conn_waits(asking, &attentive));
    assert_int_equal(waits_left, 0);
    conn_wait(asking, &conns.busy, &indifferent, NULL, CONN_FOREVER);
    assert_int_equal(waits_left, 1);
    conn_end(asking);
    assert_int_equal(waits_left, 1);
    close(peer);
}

static void a_wait_is_left_when_the_connection_ends(void **state)
{
    int peer = connect_peer(conn_accept_fastcgi);
    ask(peer, true);
    conn_end(asking);
    conn_end(asking); /* it has ended: nothing more happens */
    assert_int_equal(waits_left, 1);
    assert_int_equal(conns.count, 0);
    assert_int_equal(rooms_made, 1);
    go_round();
    close(peer);
}

static void what_the_peer_does_is_for_the_wait(void **state)
{
    int peer = connect_peer(conn_accept_fastcgi);
    ask(peer, true);
    send(peer, "x", 1, 0);
    loop_round(&loop, 0);
    assert_int_equal(last_events, EPOLLIN);
    close(peer);
    loop_round(&loop, 0);
    assert_true(last_events & CONN_GONE);
    assert_int_equal(conns.count, 1);
}

static void a_wait_that_expects_nothing_ends_with_anything(void **state)
{
    int peer = connect_peer(conn_accept_fastcgi);
    ask(peer, true);
    conn_wait(asking, &conns.busy, &indifferent, NULL, CONN_FOREVER);
    send(peer, "x", 1, 0);
    go_round();
    assert_int_equal(conns.count, 0);
    close(peer);
}

static void the_time_of_a_wait_is_for_the_wait(void **state)
{
    int peer = connect_peer(conn_accept_fastcgi);
    ask(peer, true);
    conn_expire_in(asking, TIMEOUT_MS);
    pass(TIMEOUT_MS);
    assert_int_equal(waits_expired, 1);
    conn_wait(asking, &conns.busy, &indifferent, NULL, TIMEOUT_MS);
    pass(TIMEOUT_MS);
    assert_int_equal(waits_expired, 1);
    assert_int_equal(conns.count, 0); /* that one ends with its time */
    close(peer);
}

/* ---- requests ---- */

static void a_request_in_parts_is_taken_when_it_is_whole(void **state)
{
    struct buf bytes = {0};
    int peer = connect_peer(conn_accept_fastcgi);
    put_request(&bytes, 1, "POST", "/comet/create", "text/plain", "hello");
    for (size_t i = 0; i < bytes.len; i++) {
        assert_int_equal(requests, 0);
        assert_int_equal(send(peer, bytes.bytes + i, 1, 0), 1);
        go_round();
    }
    assert_int_equal(requests, 1);
    buf_free(&bytes);
    close(peer);
}

static void half_a_request_has_only_so_much_time(void **state)
{
    struct buf bytes = {0};
    int peer = connect_peer(conn_accept_fastcgi);
    put_request(&bytes, 1, "GET", "/comet/update", NULL, NULL);
    send(peer, bytes.bytes, bytes.len / 2, 0);
    go_round();
    pass(TIMEOUT_MS - 1000);
    assert_int_equal(conns.count, 1);
    pass(1000);
    assert_int_equal(conns.count, 0);
    buf_free(&bytes);
    close(peer);
}

static void bytes_that_are_no_request_end_the_connection(void **state)
{
    int peer = connect_peer(conn_accept_fastcgi);
    send(peer, "GET / HTTP/1.1\r\n\r\n", 18, 0);
    go_round();
    assert_int_equal(conns.count, 0);
    assert_int_equal(requests, 0);
    close(peer);
}

static void a_handshake_that_is_none_is_refused(void **state)
{
    bool closed;
    int peer = connect_peer(conn_accept_websocket);
    send(peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27, 0);
    go_round();
    assert_true(hear(peer, &closed) > 0);
    assert_false(closed); /* it lingers: the client closes first */
    assert_int_equal(conns.count, 1);
    close(peer);
    go_round();
    assert_int_equal(conns.count, 0);
}

/* ---- answers ---- */

static void a_kept_connection_waits_for_its_next_request(void **state)
{
    bool closed;
    int peer = connect_peer(conn_accept_fastcgi);
    for (unsigned i = 1; i <= 3; i++) {
        ask(peer, true);
        assert_int_equal(requests, i);
        conn_answer(asking, frame_error(400, NULL, "no"));
        assert_true(hear(peer, &closed) > 0);
        assert_false(closed);
        assert_true(asking->idle);
        assert_int_equal(rooms_made, i);
    }
    close(peer);
    go_round();
    assert_int_equal(conns.count, 0);
}

static void any_other_connection_ends_with_its_answer(void **state)
{
    bool closed;
    int peer = connect_peer(conn_accept_fastcgi);
    ask(peer, false);
    conn_answer(asking, frame_error(400, NULL, "no"));
    assert_true(hear(peer, &closed) > 0);
    assert_true(closed);
    assert_int_equal(conns.count, 0);
    close(peer);
}

static void without_memory_for_an_answer_the_connection_ends(void **state)
{
    int peer = connect_peer(conn_accept_fastcgi);
    ask(peer, true);
    conn_answer(asking, NULL);
    assert_int_equal(conns.count, 0);
    assert_int_equal(waits_left, 1);
    close(peer);
}

/* An answer that no socket takes at once. */
static struct frame *large_frame(void)
{
    static char body[LARGE];
    return frame_new(200, TYPE_TEXT, NULL, body, sizeof body);
}

static void what_a_full_socket_does_not_take_is_sent_later(void **state)
{
    bool closed;
    int peer = connect_peer(conn_accept_fastcgi);
    ask(peer, true);
    struct frame *frame = large_frame();
    size_t len = frame->len, heard = 0;
    conn_answer(asking, frame);
    assert_int_equal(conns.unsent.count, 1);
    for (size_t more = 1; more > 0; heard += more) {
        more = hear(peer, &closed);
        go_round();
    }
    assert_int_equal(heard, len);
    assert_int_equal(conns.unsent.count, 0);
    assert_true(asking->idle);
    close(peer);
}

static void a_reader_that_takes_nothing_runs_out_of_time(void **state)
{
    static char bytes[65536];
    int peer = connect_peer(conn_accept_fastcgi);
    ask(peer, true);
    conn_answer(asking, large_frame());
    recv(peer, bytes, sizeof bytes, 0); /* too little for the socket to be writable */
    pass(TIMEOUT_MS);
    assert_int_equal(conns.count, 1); /* but it reads */
    pass(TIMEOUT_MS);
    assert_int_equal(conns.count, 0);
    assert_int_equal(conns.unsent.count, 0);
    close(peer);
}

/* ---- memory ---- */

/* A request that comes in two parts, and an answer that goes out in several. Returns whether the
 * answer was heard to its end. */
static bool exchange(const struct buf *request)
{
    bool closed;
    size_t half = request->len / 2, heard = 0;
    int peer = connect_peer(conn_accept_fastcgi);
    send(peer, request->bytes, half, MSG_NOSIGNAL);
    go_round();
    send(peer, request->bytes + half, request->len - half, MSG_NOSIGNAL);
    go_round();
    if (asking)
        conn_answer(asking, large_frame());
    asking = NULL;
    for (size_t more = 1; more > 0; heard += more) {
        more = hear(peer, &closed);
        go_round();
    }
    close(peer);
    go_round();
    return heard > LARGE;
}

static void whatever_allocation_fails_a_connection_ends_and_nothing_is_left(void **state)
{
    struct buf request = {0};
    unsigned nth = 0, answered = 0;
    bool failed;
    put_request(&request, 1, "GET", "/comet/update", NULL, NULL);
    do {
        memory_fail(++nth);
        answered += exchange(&request);
        failed = memory_has_failed();
        assert_int_equal(conns.count, 0);
        assert_int_equal(conns.unsent.count, 0);
        assert_int_equal(loop.timers.count, 0);
    } while (failed);
    assert_true(nth > 6);
    assert_int_equal(answered, 1);
    buf_free(&request);
}

/* ---- room ---- */

static void the_connection_that_was_idle_for_longest_makes_room(void **state)
{
    bool closed;
    int peers[CONNS_MAX];
    for (int i = 0; i < CONNS_MAX; i++) {
        assert_int_equal(conns_make_room(&conns), ROOM_NOW);
        peers[i] = connect_peer(conn_accept_fastcgi);
    }
    assert_int_equal(conns_make_room(&conns), ROOM_NOW);
    assert_int_equal(conns.count, CONNS_MAX - 1);
    hear(peers[0], &closed);
    assert_true(closed);
    for (int i = 0; i < CONNS_MAX; i++)
        close(peers[i]);
    go_round();
}

static void one_that_has_sent_its_next_request_is_not_ended(void **state)
{
    int peers[CONNS_MAX];
    for (int i = 0; i < CONNS_MAX; i++)
        peers[i] = connect_peer(conn_accept_fastcgi);
    send(peers[0], "\1", 1, 0); /* the loop has not been told yet */
    assert_int_equal(conns_make_room(&conns), ROOM_SOON);
    assert_int_equal(conns.count, CONNS_MAX);
    for (int i = 0; i < CONNS_MAX; i++)
        ask(peers[i], true);
    assert_int_equal(conns_make_room(&conns), ROOM_NONE);
    for (int i = 0; i < CONNS_MAX; i++)
        close(peers[i]);
}

/* ---- who may wait ---- */

static void so_many_may_wait_and_the_rest_are_refused(void **state)
{
    bool closed;
    struct admission admission = {.waiting_max = 1, .told = true /* or it would be said */};
    int peer = connect_peer(conn_accept_fastcgi);
    ask(peer, true);
    assert_true(admission_check(&admission, asking));
    admission_enter(&admission);
    assert_false(admission_check(&admission, asking));
    assert_int_equal(admission.refused, 1);
    assert_true(hear(peer, &closed) > 0);
    assert_true(asking->idle);
    admission_leave(&admission);
    ask(peer, true);
    assert_true(admission_check(&admission, asking));
    close(peer);
}

static void nobody_may_wait_while_the_daemon_drains(void **state)
{
    struct admission admission = {.waiting_max = 1};
    int peer = connect_peer(conn_accept_fastcgi);
    ask(peer, true);
    conns.draining = true;
    assert_false(admission_check(&admission, asking));
    assert_int_equal(admission.refused, 0);
    close(peer);
}

/* ---- doors ---- */

static int listen_somewhere(struct sockaddr_un *address)
{
    socklen_t len = sizeof *address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX; /* and no name: the kernel chooses an abstract one */
    assert_int_equal(bind(fd, (struct sockaddr *)address, sizeof(sa_family_t)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &len), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static int knock(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 6); /* "\0xxxxx" */
    assert_int_equal(connect(fd, (const struct sockaddr *)address, len), 0);
    return fd;
}

static struct door door;

static void resume_door(struct conns *of)
{
    (void)of;
    rooms_made++;
    door_resume(&door);
}

static void a_door_takes_as_many_as_have_room_and_goes_on_when_one_ends(void **state)
{
    struct sockaddr_un address;
    int peers[CONNS_MAX + 1];
    door = (struct door){.conns = &conns,
                         .take = conn_accept_fastcgi,
                         .listener = {.fd = listen_somewhere(&address)}};
    conns.room_made = resume_door;
    assert_int_equal(door_open(&door), 0);
    for (int i = 0; i < CONNS_MAX; i++) {
        peers[i] = knock(&address);
        ask(peers[i], true); /* at once, so that it is never idle */
    }
    peers[CONNS_MAX] = knock(&address);
    go_round();
    assert_int_equal(conns.count, CONNS_MAX);
    assert_false(door.accepting);
    conn_end(asking);
    assert_true(door.accepting);
    go_round();
    assert_int_equal(conns.count, CONNS_MAX);
    door_close(&door);
    conns_end_all(&conns);
    for (int i = 0; i <= CONNS_MAX; i++)
        close(peers[i]);
}

/* The peer's request may come a moment later. */
static void a_door_ends_no_idle_connection_while_nobody_waits(void **state)
{
    bool closed;
    struct sockaddr_un address;
    int peers[CONNS_MAX + 1];
    door = (struct door){.conns = &conns,
                         .take = conn_accept_fastcgi,
                         .listener = {.fd = listen_somewhere(&address)}};
    conns.room_made = resume_door;
    assert_int_equal(door_open(&door), 0);
    for (int i = 0; i < CONNS_MAX; i++)
        peers[i] = knock(&address);
    go_round();
    assert_int_equal(conns.count, CONNS_MAX);
    peers[CONNS_MAX] = knock(&address);
    go_round();
    assert_int_equal(conns.count, CONNS_MAX);
    hear(peers[0], &closed);
    assert_true(closed);
    door_close(&door);
    conns_end_all(&conns);
    for (int i = 0; i <= CONNS_MAX; i++)
        close(peers[i]);
}

#define WITH_CONNS(claim) cmocka_unit_test_setup_teardown(claim, set_up, tear_down)

int main(void)
{
    decoder = decoder_new(request_body_max(MAX_MESSAGE));
    handshaker = handshaker_new(NULL, NULL);
    const struct CMUnitTest tests[] = {
        WITH_CONNS(a_wait_is_left_once_when_another_begins),
        WITH_CONNS(a_wait_is_left_when_the_connection_ends),
        WITH_CONNS(what_the_peer_does_is_for_the_wait),
        WITH_CONNS(a_wait_that_expects_nothing_ends_with_anything),
        WITH_CONNS(the_time_of_a_wait_is_for_the_wait),
        WITH_CONNS(a_request_in_parts_is_taken_when_it_is_whole),
        WITH_CONNS(half_a_request_has_only_so_much_time),
        WITH_CONNS(bytes_that_are_no_request_end_the_connection),
        WITH_CONNS(a_handshake_that_is_none_is_refused),
        WITH_CONNS(a_kept_connection_waits_for_its_next_request),
        WITH_CONNS(any_other_connection_ends_with_its_answer),
        WITH_CONNS(without_memory_for_an_answer_the_connection_ends),
        WITH_CONNS(what_a_full_socket_does_not_take_is_sent_later),
        WITH_CONNS(a_reader_that_takes_nothing_runs_out_of_time),
        WITH_CONNS(whatever_allocation_fails_a_connection_ends_and_nothing_is_left),
        WITH_CONNS(the_connection_that_was_idle_for_longest_makes_room),
        WITH_CONNS(one_that_has_sent_its_next_request_is_not_ended),
        WITH_CONNS(so_many_may_wait_and_the_rest_are_refused),
        WITH_CONNS(nobody_may_wait_while_the_daemon_drains),
        WITH_CONNS(a_door_takes_as_many_as_have_room_and_goes_on_when_one_ends),
        WITH_CONNS(a_door_ends_no_idle_connection_while_nobody_waits),
    };
    int failed = cmocka_run_group_tests_name("conn", tests, NULL, NULL);
    decoder_free(decoder);
    handshaker_free(handshaker);
    return failed;
}

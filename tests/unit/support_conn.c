#include "support_conn.h"

#include <fastcgi.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fcgi/conn/reading.h"
#include "fcgi/wire/handshake.h"
#include "fcgi/wire/request.h"
#include "tests/unit/fcgi_bytes.h"

struct loop loop;
struct conns conns;
struct asked asked;
unsigned rooms_made;

static uint64_t now_ms;

static uint64_t clock_of_tests(void)
{
    return now_ms;
}

static void settle_nothing(struct loop *of)
{
    (void)of;
}

static void count_room(struct conns *of)
{
    (void)of;
    rooms_made++;
}

/* ---- requests ---- */

static void count_ready(struct conn *conn, uint32_t events)
{
    asked.ready++;
    asked.events = events;
    if (events & CONN_GONE)
        conn_end(conn);
}

static void count_expired(struct conn *conn)
{
    (void)conn;
    asked.expired++;
}

static void count_left(struct conn *conn, void *in)
{
    assert_false(conn_waits(conn, &attentive));
    assert_ptr_equal(in, &attentive);
    asked.left++;
}

const struct wait attentive = {
    .name = "attentive", .ready = count_ready, .expired = count_expired, .left = count_left};

static void attend(struct conn *conn)
{
    asked.conn = conn;
    conn_wait(conn, &conns.busy, &attentive, (void *)(uintptr_t)&attentive, CONN_FOREVER);
}

static void take_request(void *service, struct conn *conn, const struct request *request)
{
    assert_ptr_equal(service, &asked);
    asked.requests++;
    asked.head = request->head;
    attend(conn);
}

static void take_websocket(void *service, struct conn *conn, const struct handshake *handshake,
                           const uint8_t *bytes, size_t len)
{
    (void)handshake;
    assert_ptr_equal(service, &asked);
    asked.websockets++;
    buf_reset(&asked.websocket);
    buf_add(&asked.websocket, bytes, len);
    attend(conn);
}

/* ---- set-up ---- */

int conns_setup(void **state)
{
    (void)state;
    now_ms = 1000;
    timer_clock_set(clock_of_tests);
    assert_int_equal(loop_init(&loop), 0);
    loop.settle = settle_nothing;
    memset(&conns, 0, sizeof conns);
    conns_init(&conns, &loop, 16 << 20);
    conns.count_max = CONNS_MAX;
    conns.first = &idle_wait;
    conns.request_timeout_ms = TIMEOUT_MS;
    conns.body_max = request_body_max(MAX_MESSAGE);
    conns.decoder = decoder_new(conns.body_max);
    conns.handshaker = handshaker_new(NULL, NULL);
    conns.take_request = take_request;
    conns.take_websocket = take_websocket;
    conns.service = &asked;
    conns.room_made = count_room;
    asked = (struct asked){.conn = NULL};
    rooms_made = 0;
    return conns.decoder && conns.handshaker ? 0 : -1;
}

int conns_teardown(void **state)
{
    (void)state;
    conns_end_all(&conns);
    assert_int_equal(conns.count, 0);
    assert_int_equal(conns.unsent.count, 0);
    assert_int_equal(conns.unsent.bytes, 0);
    assert_int_equal(loop.timers.count, 0);
    decoder_free(conns.decoder);
    handshaker_free(conns.handshaker);
    buf_free(&conns.scratch);
    buf_free(&asked.websocket);
    loop_free(&loop);
    return 0;
}

/* ---- time ---- */

void go_round(void)
{
    while (loop_round(&loop, 0) > 0)
        ;
}

void pass(uint64_t ms)
{
    now_ms += ms + 2 * TIMER_TICK_MS; /* deadlines are late by up to a tick */
    loop_round(&loop, 0);
    go_round(); /* for what follows from that */
}

/* ---- peers ---- */

struct peer peer_connect(void (*accept)(struct conns *conns, int fd))
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    accept(&conns, fds[1]);
    return (struct peer){.fd = fds[0]};
}

void peer_say(struct peer *peer, const void *bytes, size_t len)
{
    assert_int_equal(send(peer->fd, bytes, len, MSG_NOSIGNAL), len);
    go_round();
}

struct conn *peer_ask(struct peer *peer, const char *method, bool keep)
{
    struct buf bytes = {0};
    put_request(&bytes, 1, method, "/comet/update", NULL, NULL);
    ((FCGI_BeginRequestRecord *)(void *)bytes.bytes)->body.flags = keep ? FCGI_KEEP_CONN : 0;
    asked.conn = NULL;
    peer_say(peer, bytes.bytes, bytes.len);
    buf_free(&bytes);
    assert_non_null(asked.conn);
    return peer->conn = asked.conn;
}

struct conn *peer_connect_and_ask(struct peer *peer)
{
    *peer = peer_connect(conn_accept_fastcgi);
    return peer_ask(peer, "GET", true);
}

size_t peer_hear(struct peer *peer)
{
    static char bytes[65536];
    size_t before = peer->heard.len;
    ssize_t got;
    while ((got = recv(peer->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        buf_add(&peer->heard, bytes, (size_t)got);
    peer->closed = got == 0;
    return peer->heard.len - before;
}

bool peer_has_heard(struct peer *peer, const char *text)
{
    peer_hear(peer);
    return peer->heard.len > 0 &&
           memmem(peer->heard.bytes, peer->heard.len, text, strlen(text)) != NULL;
}

void peer_leave(struct peer *peer)
{
    close(peer->fd);
    buf_free(&peer->heard);
    go_round();
}

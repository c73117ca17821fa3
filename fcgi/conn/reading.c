#include "fcgi/conn/reading.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fcgi/conn/refusal.h"
#include "fcgi/io/diag.h"
#include "fcgi/wire/gate.h"
#include "fcgi/wire/handshake.h"
#include "fcgi/wire/request.h"

/* A request that did not come at once: its bytes so far, and how far the gate has looked. */
struct inbound {
    struct gate gate;
    size_t len, cap;
    uint8_t *bytes;
};

static void inbound_free(struct inbound *inbound)
{
    if (inbound)
        free(inbound->bytes);
    free(inbound);
}

static void leave_reading(struct conn *conn, void *in)
{
    (void)conn;
    inbound_free(in);
}

static void read_request(struct conn *conn, uint32_t events);

static void expire_request(struct conn *conn)
{
    diag(DIAG_DEBUG, "closed a connection with half a request");
    conn_end(conn);
}

const struct wait idle_wait = {.name = "idle", .ready = read_request, .expired = expire_request};

/* A part of a request has arrived: a struct inbound. */
static const struct wait reading_wait = {
    .name = "reading", .ready = read_request, .expired = expire_request, .left = leave_reading};

/* ---- a request that comes in parts ---- */

/* What has been kept of the request; NULL: nothing. */
static struct inbound *inbound_of(const struct conn *conn)
{
    return conn_waits(conn, &reading_wait) ? conn->in : NULL;
}

/* Keeps the part of a request that has arrived, bytes[0, len), with room for more behind it.
 * Returns false when out of memory. */
static bool keep_inbound(struct conn *conn, const struct gate *gate, const uint8_t *bytes,
                         size_t len)
{
    struct inbound *inbound = inbound_of(conn);
    bool first = inbound == NULL;
    if (first && !(inbound = calloc(1, sizeof *inbound)))
        return false;
    if (first) /* the request's time begins with its first bytes, not with each */
        conn_wait(conn, &conn->conns->busy, &reading_wait, inbound,
                  conn->conns->request_timeout_ms);
    inbound->gate = *gate;
    size_t need = len + INBOX_SIZE;
    if (inbound->cap < need) {
        size_t cap = need + need / 2;
        uint8_t *grown = realloc(inbound->bytes, cap);
        if (!grown)
            return false;
        if (first)
            memcpy(grown, bytes, len);
        inbound->bytes = grown;
        inbound->cap = cap;
    }
    inbound->len = len;
    return true;
}

/* The request is whole: takes what was kept of it from the connection. inbound_free it once the
 * request is released. */
static struct inbound *end_reading(struct conn *conn)
{
    struct inbound *inbound = inbound_of(conn);
    conn->in = NULL;
    return inbound;
}

/* ---- decoding, and handing over ---- */

/* Decodes a FastCGI request and hands it over. */
static void take_whole_request(struct conn *conn, const struct gate *gate, const uint8_t *bytes)
{
    struct conns *conns = conn->conns;
    struct inbound *inbound = end_reading(conn);
    conn->request_id = gate->id;
    conn->keep = gate->keep && !conns->draining;
    conn->head = false;
    const struct request *request = request_decode(conns->decoder, gate, bytes);
    if (request) {
        conn->head = request->head;
        conns->take_request(conns->service, conn, request);
        request_release(conns->decoder);
    } else if (errno == ENOMEM) {
        conn_refuse_for_log(conn, LOG_NO_MEMORY);
    } else {
        diag(DIAG_WARN, "a request that looked whole could not be decoded");
        conn_end(conn);
    }
    inbound_free(inbound);
}

/* Hands over the handshake that bytes[0, len) begin with, or refuses it. */
static void take_whole_handshake(struct conn *conn, const struct handshake *handshake, bool done,
                                 const uint8_t *bytes, size_t len)
{
    struct conns *conns = conn->conns;
    struct inbound *inbound = end_reading(conn);
    conn->head = handshake->head;
    if (done)
        conns->take_websocket(conns->service, conn, handshake, bytes + handshake->consumed,
                              len - handshake->consumed);
    else
        conn_refuse(conn, handshake->status, handshake->headers, handshake->why);
    inbound_free(inbound);
}

/* Looks at what has arrived of a WebSocket's handshake; the first `seen` bytes have been looked at
 * before. Returns whether the connection waits for more of it. */
static bool scan_handshake(struct conn *conn, const struct gate *gate, const uint8_t *bytes,
                           size_t seen, size_t len)
{
    struct handshake handshake;
    enum handshake_verdict verdict =
        handshake_scan(conn->conns->handshaker, bytes, seen, len, &handshake);
    if (verdict == HANDSHAKE_MORE && keep_inbound(conn, gate, bytes, len))
        return true;
    if (verdict == HANDSHAKE_MORE)
        conn_end(conn);
    else
        take_whole_handshake(conn, &handshake, verdict == HANDSHAKE_DONE, bytes, len);
    return false;
}

/* Looks at what has arrived of a FastCGI request. Returns whether the connection waits for more of
 * it. */
static bool scan_request(struct conn *conn, struct gate *gate, uint8_t *bytes, size_t len)
{
    enum gate_verdict verdict = gate_scan(gate, bytes, &len);
    if (verdict == GATE_WHOLE && gate->scanned == len) {
        take_whole_request(conn, gate, bytes);
        return false;
    }
    if (verdict == GATE_MORE && keep_inbound(conn, gate, bytes, len))
        return true;
    diag(DIAG_DEBUG, "closed a connection: %s",
         verdict == GATE_REFUSED ? gate->why
         : verdict == GATE_WHOLE ? "something follows the request"
                                 : "out of memory");
    conn_end(conn);
    return false;
}

/* Reads what is there. If the peer has closed, reading finds that, after what it sent before. */
static void read_request(struct conn *conn, uint32_t events)
{
    (void)events;
    struct conns *conns = conn->conns;
    struct gate fresh;
    gate_start(&fresh, conns->body_max);
    for (bool more = true; more;) {
        struct inbound *inbound = inbound_of(conn);
        uint8_t *bytes = inbound ? inbound->bytes : conns->inbox;
        size_t have = inbound ? inbound->len : 0;
        size_t room = inbound ? inbound->cap - have : INBOX_SIZE;
        ssize_t got = recv(conn->fd, bytes + have, room, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return;
        if (got <= 0) {
            conn_end(conn);
            return;
        }
        struct gate *gate = inbound ? &inbound->gate : &fresh;
        size_t len = have + (size_t)got;
        more = conn->websocket ? scan_handshake(conn, gate, bytes, have, len)
                               : scan_request(conn, gate, bytes, len);
    }
}

/* ---- coming in ---- */

/* The request is nearly always there already: a short one is answered before epoll knows of its
 * connection. */
static void conn_accept(struct conns *conns, int fd, bool websocket)
{
    struct conn *conn = conn_new(conns, fd, websocket);
    if (!conn)
        return;
    read_request(conn, 0);
    if (conn->idle && !conn->keep)
        conn_expire_in(conn, conns->request_timeout_ms);
    if (conn->wait && conn->watch == WATCH_NONE)
        conn_watch(conn, WATCH_INPUT);
}

void conn_accept_fastcgi(struct conns *conns, int fd)
{
    conn_accept(conns, fd, false);
}

void conn_accept_websocket(struct conns *conns, int fd)
{
    conn_accept(conns, fd, true);
}

#include "fcgi/conn/conn.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fcgi/io/diag.h"
#include "fcgi/wire/gate.h"
#include "fcgi/readers/group.h"
#include "fcgi/wire/handshake.h"
#include "fcgi/readers/hold.h"
#include "fcgi/relay/relay.h"
#include "fcgi/readers/publish.h"
#include "fcgi/readers/render.h"
#include "fcgi/endpoints/routes.h"
#include "fcgi/server.h"
#include "fcgi/readers/stream.h"
#include "fcgi/readers/talk.h"
#include "fcgi/conn/unsent.h"

/* A request that did not come at once: its bytes so far, and how far the gate has looked. */
struct inbound {
    struct gate gate;
    size_t len, cap;
    uint8_t *bytes;
};

/* The promise of conn.h, invariant 5 of the design. */
_Static_assert(sizeof(struct conn) <= 128, "a held request costs about a hundred bytes");

enum { GONE = EPOLLHUP | EPOLLERR | EPOLLRDHUP };

static void inbound_free(struct inbound *inbound)
{
    if (inbound)
        free(inbound->bytes);
    free(inbound);
}

static struct inbound *inbound_of(const struct conn *conn)
{
    return conn->state == CONN_READING ? conn->u.inbound : NULL;
}

static void set_timeout(struct conn *conn)
{
    timer_set(&conn->server->loop.timers, &conn->timer,
              (uint64_t)conn->server->options->request_timeout_s * 1000);
}

static void leave_list(struct conn *conn)
{
    if (conn->state == CONN_IDLE)
        TAILQ_REMOVE(&conn->server->idle, conn, idle_link);
    else
        LIST_REMOVE(conn, link);
}

/* Enters a state in which the connection is in list. */
static void enter(struct conn *conn, enum conn_state state, struct conn_list *list)
{
    leave_list(conn);
    LIST_INSERT_HEAD(list, conn, link);
    conn->state = (uint8_t)state;
}

static void enter_idle(struct conn *conn)
{
    leave_list(conn);
    TAILQ_INSERT_HEAD(&conn->server->idle, conn, idle_link);
    conn->state = CONN_IDLE;
}

/* Keeps what the socket has not taken of an answer, and takes over the reference. Returns false
 * when out of memory. */
static bool keep_rest(struct conn *conn, struct frame *frame, uint32_t sent)
{
    struct rest *rest = malloc(sizeof *rest);
    if (!rest)
        return false;
    *rest = (struct rest){.frame = frame, .sent = sent};
    unsent_note(&conn->server->unsent, rest, conn);
    conn->u.rest = rest;
    return true;
}

static void drop_rest(struct conn *conn)
{
    if (conn->u.rest)
        unsent_drop(&conn->server->unsent, conn->u.rest);
    free(conn->u.rest);
    conn->u.rest = NULL;
}

void conn_end(struct conn *conn)
{
    struct server *server = conn->server;
    if (conn->state == CONN_ENDED)
        return;
    if (conn->state == CONN_READING) {
        inbound_free(conn->u.inbound);
    } else if (conn->state == CONN_CREATING) {
        publish_forget(conn->u.append);
    } else if (conn->state == CONN_SENDING) {
        drop_rest(conn);
    }
    leave_list(conn);
    if (conn->state == CONN_DEFERRED)
        hold_deferred_left(server, conn->u.deferred);
    else if (conn->state == CONN_HELD)
        hold_left(server, conn->u.group);
    else if (conn->state == CONN_RELAYED)
        relay_left(server, conn->u.poll);
    else if (conn->state == CONN_STREAM)
        stream_left(server, conn->u.stream);
    conn->state = CONN_ENDED;
    timer_clear(&server->loop.timers, &conn->timer);
    loop_forget(&server->loop, -1, &conn->source);
    close(conn->fd); /* what was sent reaches the web server even so, before the end */
    loop_free_later(&server->loop, conn);
    server_conn_ended(server);
}

static enum turn turn_of(enum watch watch)
{
    return watch == WATCH_LATER ? TURN_LATER : TURN_NOW;
}

static void watch(struct conn *conn, enum watch what)
{
    static const uint32_t events[] = {
        [WATCH_PAUSE] = EPOLLRDHUP,
        [WATCH_INPUT] = EPOLLRDHUP | EPOLLIN,
        [WATCH_OUTPUT] = EPOLLRDHUP | EPOLLOUT,
        [WATCH_LATER] = EPOLLRDHUP | EPOLLOUT,
    };
    struct loop *loop = &conn->server->loop;
    enum watch was = conn->watch;
    if (was == what)
        return;
    conn->watch = (uint8_t)what & 7;
    int rc =
        was == WATCH_NONE
            ? loop_watch(loop, conn->fd, turn_of(what), events[what], &conn->source)
            : loop_change(loop, conn->fd, turn_of(was), turn_of(what), events[what], &conn->source);
    if (rc == 0)
        return;
    diag(DIAG_WARN, "cannot watch a connection: %s", strerror(errno));
    conn_end(conn);
}

/* Waits for the client to close first. A web server that is cut off while the client still sends
 * resets the client's connection, and our last words with it. */
static void linger(struct conn *conn)
{
    enum { LINGER_MS = 1000 };
    enter(conn, CONN_LINGERING, &conn->server->busy);
    timer_set(&conn->server->loop.timers, &conn->timer, LINGER_MS);
    watch(conn, WATCH_INPUT);
}

/* The answer is out: the connection waits for its next request, or has done its work. */
static void finish(struct conn *conn)
{
    if (conn->lingers) {
        linger(conn);
        return;
    }
    if (!conn->keep) {
        conn_end(conn);
        return;
    }
    timer_clear(&conn->server->loop.timers, &conn->timer);
    enter_idle(conn);
    server_conn_idle(conn->server);
    if (conn->watch != WATCH_NONE)
        watch(conn, WATCH_INPUT);
}

/* Leaves whatever the request waited in, for the busy list. */
static void stop_waiting(struct conn *conn)
{
    enum conn_state was = conn->state;
    struct deferred *deferred = conn->u.deferred;
    struct group *group = conn->u.group;
    struct poll *poll = conn->u.poll;
    struct stream *stream = conn->u.stream;
    enter(conn, CONN_SENDING, &conn->server->busy);
    conn->u.rest = NULL;
    if (was == CONN_DEFERRED)
        hold_deferred_left(conn->server, deferred);
    else if (was == CONN_HELD)
        hold_left(conn->server, group);
    else if (was == CONN_RELAYED)
        relay_left(conn->server, poll);
    else if (was == CONN_STREAM)
        stream_left(conn->server, stream);
}

/* Whether the peer has read since the last look. A socket tells that it is writable only once three
 * quarters of what it holds are read, and a slow reader needs longer for that than its time-out. */
static bool peer_reads(struct conn *conn)
{
    struct rest *rest = conn->u.rest;
    int before = rest->queued;
    return ioctl(conn->fd, SIOCOUTQ, &rest->queued) == 0 && rest->queued < before;
}

/* The socket is full: the rest goes out when it is writable again. */
static void wait_to_send(struct conn *conn)
{
    (void)peer_reads(conn);
    set_timeout(conn); /* for the next bytes, not for all: it may move slowly */
    watch(conn, WATCH_OUTPUT);
}

static void send_on(struct conn *conn)
{
    struct rest *rest = conn->u.rest;
    int sent = rest_send(rest, conn->fd);
    if (sent < 0) {
        conn_end(conn);
    } else if (sent == 0) {
        unsent_note(&conn->server->unsent, rest, conn);
        wait_to_send(conn);
    } else {
        drop_rest(conn);
        finish(conn);
    }
}

void conn_answer(struct conn *conn, struct frame *frame)
{
    stop_waiting(conn);
    if (frame && conn->head && !conn->websocket)
        frame = frame_bodiless(frame);
    if (frame)
        conn->server->deliveries += frame->messages;
    uint32_t bytes = 0;
    int sent = frame ? frame_send(&frame, &bytes, conn->fd, conn->request_id) : -1;
    if (sent == 0 && keep_rest(conn, frame, bytes)) {
        wait_to_send(conn);
        return;
    }
    frame_drop(frame);
    if (sent > 0)
        finish(conn);
    else
        conn_end(conn);
}

void conn_refuse(struct conn *conn, int status, const char *header, const char *text)
{
    struct buf *out = &conn->server->scratch;
    if (!conn->websocket) {
        conn_answer(conn, frame_error(status, header, text));
        return;
    }
    buf_reset(out);
    handshake_put_error(out, status, header, text, conn->head);
    conn->lingers = true; /* there may be a body that nobody has read */
    conn_answer(conn, buf_ok(out) ? frame_raw(out->bytes, out->len) : NULL);
}

void conn_refuse_for(struct conn *conn, enum log_status status)
{
    const char *header;
    int code = refusal_of(status, &header);
    conn_refuse(conn, code, header, log_status_text(status));
}

void conn_await(struct conn *conn, struct append *append)
{
    enter(conn, CONN_CREATING, &conn->server->busy);
    conn->u.append = append;
}

void conn_defer(struct conn *conn, struct deferred *deferred)
{
    timer_clear(&conn->server->loop.timers, &conn->timer);
    enter(conn, CONN_DEFERRED, &conn->server->busy);
    conn->u.deferred = deferred;
    watch(conn, WATCH_LATER);
}

void conn_park(struct conn *conn, struct group *group, uint64_t ms)
{
    enter(conn, CONN_HELD, &group->conns);
    conn->u.group = group;
    timer_set(&conn->server->loop.timers, &conn->timer, ms);
    if (conn->watch == WATCH_LATER)
        watch(conn, WATCH_INPUT);
}

void conn_relay(struct conn *conn, struct poll *poll, struct conn_list *list, uint64_t ms)
{
    enter(conn, CONN_RELAYED, list);
    conn->u.poll = poll;
    timer_set(&conn->server->loop.timers, &conn->timer, ms);
}

void conn_stream(struct conn *conn, struct stream *stream, uint64_t ms)
{
    enter(conn, CONN_STREAM, &conn->server->behind);
    conn->u.stream = stream;
    timer_set(&conn->server->loop.timers, &conn->timer, ms);
}

void conn_stream_on(struct conn *conn, struct conn_list *list, enum watch what)
{
    enter(conn, CONN_STREAM, list);
    watch(conn, what);
}

static void on_timeout(struct timer *timer)
{
    struct conn *conn = OWNER(struct conn, timer, timer);
    if (conn->state == CONN_HELD) {
        hold_expired(conn);
        return;
    }
    if (conn->state == CONN_RELAYED) {
        relay_expired(conn);
        return;
    }
    if (conn->state == CONN_STREAM) {
        stream_due(conn);
        return;
    }
    if (conn->state == CONN_LINGERING) {
        conn_end(conn);
        return;
    }
    if (conn->state == CONN_SENDING && conn->u.rest && peer_reads(conn)) {
        unsent_note(&conn->server->unsent, conn->u.rest, conn);
        set_timeout(conn);
        return;
    }
    diag(DIAG_DEBUG, conn->state == CONN_SENDING ? "closed a connection that takes no answer"
                                                 : "closed a connection with half a request");
    conn_end(conn);
}

/* A request is whole: takes what has been kept of it from the connection. Free it in the end. */
static struct inbound *end_reading(struct conn *conn)
{
    struct inbound *inbound = inbound_of(conn);
    conn->u.inbound = NULL;
    timer_clear(&conn->server->loop.timers, &conn->timer);
    return inbound;
}

/* Decodes a request and hands it to its endpoint, which answers, parks or awaits. */
static void dispatch(struct conn *conn, const struct gate *gate, const uint8_t *bytes)
{
    struct server *server = conn->server;
    struct inbound *inbound = end_reading(conn);
    conn->request_id = gate->id;
    conn->keep = gate->keep && !server->draining;
    conn->head = false;
    const struct request *request = request_decode(server->decoder, gate, bytes);
    if (request) {
        conn->head = request->head;
        route(conn, request);
        request_release(server->decoder);
    } else if (errno == ENOMEM) {
        conn_refuse_for(conn, LOG_NO_MEMORY);
    } else {
        diag(DIAG_WARN, "a request that looked whole could not be decoded");
        conn_end(conn);
    }
    inbound_free(inbound);
}

/* The request's time begins with its first bytes, not with each. */
static struct inbound *begin_reading(struct conn *conn)
{
    enter(conn, CONN_READING, &conn->server->busy);
    conn->u.inbound = calloc(1, sizeof *conn->u.inbound);
    set_timeout(conn);
    return conn->u.inbound;
}

/* Keeps the part of a request that has arrived, bytes[0, len), with room for more behind it.
 * Returns false when out of memory. */
static bool keep_inbound(struct conn *conn, const struct gate *gate, const uint8_t *bytes,
                         size_t len)
{
    struct inbound *inbound = inbound_of(conn);
    bool first = inbound == NULL;
    if (first && !(inbound = begin_reading(conn)))
        return false;
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

/* Looks at what has arrived of a WebSocket's handshake, of which `seen` bytes are old. Returns
 * whether the connection waits for more of it. */
static bool take_handshake(struct conn *conn, const struct gate *gate, const uint8_t *bytes,
                           size_t seen, size_t len)
{
    struct handshake handshake;
    enum handshake_verdict verdict =
        handshake_scan(conn->server->handshaker, bytes, seen, len, &handshake);
    if (verdict == HANDSHAKE_MORE && keep_inbound(conn, gate, bytes, len))
        return true;
    if (verdict == HANDSHAKE_MORE) {
        conn_end(conn);
        return false;
    }
    struct inbound *inbound = end_reading(conn);
    conn->head = handshake.head;
    if (verdict == HANDSHAKE_DONE)
        websocket_open(conn, &handshake, bytes + handshake.consumed, len - handshake.consumed);
    else
        conn_refuse(conn, handshake.status, handshake.headers, handshake.why);
    inbound_free(inbound);
    return false;
}

/* Looks at what has arrived of a request. Returns whether the connection waits for more of it. */
static bool take(struct conn *conn, struct gate *gate, uint8_t *bytes, size_t len)
{
    enum gate_verdict verdict = gate_scan(gate, bytes, &len);
    if (verdict == GATE_WHOLE && gate->scanned == len) {
        dispatch(conn, gate, bytes);
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

static void read_request(struct conn *conn)
{
    struct server *server = conn->server;
    struct gate fresh;
    gate_start(&fresh, request_body_max(server->options->max_message));
    for (bool more = true; more;) {
        struct inbound *inbound = inbound_of(conn);
        uint8_t *bytes = inbound ? inbound->bytes : server->inbox;
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
        more = conn->websocket ? take_handshake(conn, gate, bytes, have, len)
                               : take(conn, gate, bytes, len);
    }
}

static void drop_input(struct conn *conn)
{
    struct server *server = conn->server;
    ssize_t got = recv(conn->fd, server->inbox, sizeof server->inbox, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0 || server->draining) /* then what comes is the client's own farewell */
        conn_end(conn);
}

/* While a request waits nothing may arrive but the end: no web server multiplexes requests or
 * sends ABORT_REQUEST, and what a stranger sends is not worth keeping. */
static void on_ready(struct source *source, uint32_t events)
{
    struct conn *conn = (struct conn *)source;
    if (conn->state == CONN_IDLE || conn->state == CONN_READING)
        read_request(conn);
    else if (conn->state == CONN_SENDING && !(events & GONE))
        send_on(conn);
    else if (conn->state == CONN_DEFERRED && !(events & GONE))
        hold_turn(conn);
    else if (conn->state == CONN_STREAM && events == EPOLLOUT)
        stream_writable(conn);
    else if (conn->state == CONN_STREAM && events == EPOLLIN && conn->websocket)
        talk_readable(conn);
    else if (conn->state == CONN_STREAM && conn->websocket)
        talk_last_words(conn);
    else if (conn->state == CONN_LINGERING && !(events & GONE))
        drop_input(conn);
    else
        conn_end(conn);
}

void conn_accept(struct server *server, int fd, bool websocket)
{
    struct conn *conn = calloc(1, sizeof *conn);
    if (!conn) {
        close(fd);
        return;
    }
    conn->source.ready = on_ready;
    conn->timer.fire = on_timeout;
    conn->server = server;
    conn->fd = fd;
    conn->websocket = websocket;
    conn->state = CONN_IDLE;
    TAILQ_INSERT_HEAD(&server->idle, conn, idle_link);
    server->conns++;
    /* The request is nearly always there already: a short one is answered before epoll has ever
     * heard of its connection. */
    read_request(conn);
    if (conn->state == CONN_IDLE && !conn->keep)
        set_timeout(conn);
    if (conn->state != CONN_ENDED && conn->watch == WATCH_NONE)
        watch(conn, WATCH_INPUT);
}

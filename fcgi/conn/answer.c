#include "fcgi/conn/answer.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "fcgi/io/diag.h"

/* ---- after the answer ---- */

static void drop_late_input(struct conn *conn, uint32_t events)
{
    struct conns *conns = conn->conns;
    if (events & CONN_GONE) {
        conn_end(conn);
        return;
    }
    ssize_t got = recv(conn->fd, conns->inbox, sizeof conns->inbox, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    /* in a drain, the client answers our close frame with its own, and then sends nothing more */
    if (got <= 0 || conns->draining)
        conn_end(conn);
}

/* The answer is out; whatever still comes is dropped. */
static const struct wait lingering_wait = {.name = "lingering", .ready = drop_late_input};

/* Waits for the client to close first. A web server that is cut off while the client still sends
 * resets the client's connection, and the answer is lost. */
static void linger(struct conn *conn)
{
    enum { LINGER_MS = 1000 };
    conn_wait(conn, &conn->conns->busy, &lingering_wait, NULL, LINGER_MS);
    conn_watch(conn, WATCH_INPUT);
}

/* The answer is out: the connection waits for its next request, or has done its work. */
static void finish_answer(struct conn *conn)
{
    if (conn->lingers)
        linger(conn);
    else if (conn->keep)
        conn_wait_idle(conn);
    else
        conn_end(conn);
}

/* ---- sending ---- */

/* Whether the peer has read since the last look. A socket reports that it is writable only once
 * three quarters of what it holds are read, and a slow reader needs longer for that than its
 * time-out. */
static bool peer_reads(struct conn *conn)
{
    struct rest *rest = conn->in;
    int before = rest->queued;
    return ioctl(conn->fd, SIOCOUTQ, &rest->queued) == 0 && rest->queued < before;
}

/* The socket is full: the rest goes out when it is writable again. */
static void wait_to_send(struct conn *conn)
{
    (void)peer_reads(conn);
    /* the time is for the next bytes, not for all: a peer may be slow */
    conn_expire_in(conn, conn->conns->request_timeout_ms);
    conn_watch(conn, WATCH_OUTPUT);
}

static void send_rest(struct conn *conn, uint32_t events)
{
    struct rest *rest = conn->in;
    int sent = events & CONN_GONE ? -1 : rest_send(rest, conn->fd);
    if (sent < 0) {
        conn_end(conn);
    } else if (sent == 0) {
        unsent_note(&conn->conns->unsent, rest, conn);
        wait_to_send(conn);
    } else {
        finish_answer(conn);
    }
}

static void expire_rest(struct conn *conn)
{
    if (peer_reads(conn)) {
        unsent_note(&conn->conns->unsent, conn->in, conn);
        conn_expire_in(conn, conn->conns->request_timeout_ms);
        return;
    }
    diag(DIAG_DEBUG, "closed a connection that takes no answer");
    conn_end(conn);
}

static void drop_rest(struct conn *conn, void *in)
{
    if (in)
        unsent_drop(&conn->conns->unsent, in);
    free(in);
}

/* The answer is on its way; in a struct rest is what the socket has not taken. */
static const struct wait sending_wait = {
    .name = "sending", .ready = send_rest, .expired = expire_rest, .left = drop_rest};

/* Keeps what the socket has not taken of an answer, and takes over the reference. Returns false
 * when out of memory. */
static bool keep_rest(struct conn *conn, struct frame *frame, uint32_t sent)
{
    struct rest *rest = malloc(sizeof *rest);
    if (!rest)
        return false;
    *rest = rest_of(frame);
    rest->sent = sent;
    unsent_note(&conn->conns->unsent, rest, conn);
    conn->in = rest;
    return true;
}

void conn_answer(struct conn *conn, struct frame *frame)
{
    conn_wait(conn, &conn->conns->busy, &sending_wait, NULL, CONN_FOREVER);
    if (frame && conn->head && !conn->websocket)
        frame = frame_bodiless(frame);
    if (frame)
        conn->conns->deliveries += frame->messages;
    uint32_t bytes = 0;
    int sent = frame ? frame_send(&frame, &bytes, conn->fd, conn->request_id) : -1;
    if (sent == 0 && keep_rest(conn, frame, bytes)) {
        wait_to_send(conn);
        return;
    }
    frame_drop(frame);
    if (sent > 0)
        finish_answer(conn);
    else
        conn_end(conn);
}

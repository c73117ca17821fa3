#include "fcgi/conn/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fcgi/io/diag.h"

/* The design's invariant 5: a held request costs about a hundred bytes. */
_Static_assert(sizeof(struct conn) <= 88, "every held request costs so many bytes");

/* ---- waiting ---- */

static void leave_list(struct conn *conn)
{
    if (conn->idle)
        TAILQ_REMOVE(&conn->conns->idle, conn, idle_link);
    else
        LIST_REMOVE(conn, link);
    conn->idle = false;
}

/* Puts another wait in place of the present one, which then releases what it had. */
static void change_wait(struct conn *conn, const struct wait *wait, void *in)
{
    const struct wait *was = conn->wait;
    void *was_in = conn->in;
    conn->wait = wait;
    conn->in = in;
    if (was->left)
        was->left(conn, was_in);
}

void conn_expire_in(struct conn *conn, uint64_t ms)
{
    struct timers *timers = &conn->conns->loop->timers;
    if (ms == CONN_FOREVER)
        timer_clear(timers, &conn->timer);
    else
        timer_set(timers, &conn->timer, ms);
}

void conn_move(struct conn *conn, struct conn_list *list)
{
    leave_list(conn);
    LIST_INSERT_HEAD(list, conn, link);
}

void conn_wait(struct conn *conn, struct conn_list *list, const struct wait *wait, void *in,
               uint64_t ms)
{
    conn_move(conn, list);
    conn_expire_in(conn, ms);
    change_wait(conn, wait, in);
}

static void enter_idle(struct conn *conn)
{
    TAILQ_INSERT_HEAD(&conn->conns->idle, conn, idle_link);
    conn->idle = true;
}

void conn_wait_idle(struct conn *conn)
{
    leave_list(conn);
    enter_idle(conn);
    conn_expire_in(conn, CONN_FOREVER);
    change_wait(conn, conn->conns->first, NULL);
    conn->conns->room_made(conn->conns);
    if (conn->watch != WATCH_NONE)
        conn_watch(conn, WATCH_INPUT);
}

static void on_conn_ready(struct source *source, uint32_t events)
{
    struct conn *conn = (struct conn *)source;
    if (conn->wait->ready)
        conn->wait->ready(conn, events);
    else
        conn_end(conn);
}

static void on_conn_timer(struct timer *timer)
{
    struct conn *conn = OWNER(struct conn, timer, timer);
    if (conn->wait->expired)
        conn->wait->expired(conn);
    else
        conn_end(conn);
}

static enum turn turn_of(enum watch watch)
{
    return watch == WATCH_LATER ? TURN_LATER : TURN_NOW;
}

void conn_watch(struct conn *conn, enum watch what)
{
    static const uint32_t events[] = {
        [WATCH_CLOSE] = EPOLLRDHUP,
        [WATCH_INPUT] = EPOLLRDHUP | EPOLLIN,
        [WATCH_OUTPUT] = EPOLLRDHUP | EPOLLOUT,
        [WATCH_LATER] = EPOLLRDHUP | EPOLLOUT,
    };
    struct loop *loop = conn->conns->loop;
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

/* ---- life ---- */

struct conn *conn_new(struct conns *conns, int fd, bool websocket)
{
    struct conn *conn = calloc(1, sizeof *conn);
    if (!conn) {
        close(fd);
        return NULL;
    }
    conn->source.ready = on_conn_ready;
    conn->timer.fire = on_conn_timer;
    conn->conns = conns;
    conn->wait = conns->first;
    conn->fd = fd;
    conn->websocket = websocket;
    enter_idle(conn);
    conns->count++;
    return conn;
}

void conn_end(struct conn *conn)
{
    struct conns *conns = conn->conns;
    if (!conn->wait)
        return;
    leave_list(conn);
    change_wait(conn, NULL, NULL);
    conn_expire_in(conn, CONN_FOREVER);
    loop_forget(conns->loop, -1, &conn->source);
    close(conn->fd); /* the web server still gets what was sent before */
    loop_free_later(conns->loop, conn);
    conns->count--;
    conns->room_made(conns);
}

/* ---- all of them ---- */

void conns_init(struct conns *conns, struct loop *loop, size_t unsent_max)
{
    conns->loop = loop;
    TAILQ_INIT(&conns->idle);
    LIST_INIT(&conns->busy);
    unsent_init(&conns->unsent, unsent_max);
}

void conns_end_list(struct conn_list *list)
{
    while (!LIST_EMPTY(list))
        conn_end(LIST_FIRST(list));
}

void conns_end_all(struct conns *conns)
{
    while (!TAILQ_EMPTY(&conns->idle))
        conn_end(TAILQ_FIRST(&conns->idle));
    conns_end_list(&conns->busy);
}

static bool has_input(const struct conn *conn)
{
    char byte;
    return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

enum conns_room conns_make_room(struct conns *conns)
{
    struct conn *oldest = TAILQ_LAST(&conns->idle, idle_list);
    if (!conns_are_full(conns))
        return ROOM_NOW;
    if (!oldest)
        return ROOM_NONE;
    if (has_input(oldest))
        return ROOM_SOON;
    conn_end(oldest);
    return ROOM_NOW;
}

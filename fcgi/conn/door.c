#include "fcgi/conn/door.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "fcgi/io/diag.h"
#include "fcgi/server.h"

enum {
    ACCEPTS = 64,        /* connections accepted before others get their turn */
    RETRY_MS = 100,      /* when there is no descriptor, or none that can be had at once */
    BACKLOG_MOST = 4096, /* connections of the backlog that door_close still takes */
};

static void watch(struct door *door, bool accepting)
{
    door->accepting = accepting;
    loop_change(&door->server->loop, door->listener.fd, TURN_NOW, TURN_NOW, accepting ? EPOLLIN : 0,
                &door->source);
}

void door_resume(struct door *door)
{
    if (!door->accepting && door->listener.fd >= 0)
        watch(door, true);
}

static void stop(struct door *door)
{
    if (door->accepting)
        watch(door, false);
}

static bool has_input(const struct conn *conn)
{
    char byte;
    return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Ends the connection that has been idle for longest. Web servers expect that of a kept
 * connection, but not once they have sent the next request; then it is tried again soon. Returns
 * false if there is no room. */
static bool make_room(struct door *door)
{
    struct server *server = door->server;
    struct conn *oldest = TAILQ_LAST(&server->idle, idle_list);
    if (!oldest)
        return false;
    if (has_input(oldest)) {
        timer_set(&server->loop.timers, &door->retry, RETRY_MS);
        return false;
    }
    conn_end(oldest);
    return true;
}

/* Accepts one connection. Returns whether there may be more to accept now. */
static bool accept_one(struct door *door)
{
    struct server *server = door->server;
    if (server->conns >= server->conns_max && !make_room(door)) {
        stop(door); /* until a connection ends, or is idle */
        return false;
    }
    int fd = accept4(door->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        door->starved = false;
        conn_accept(server, fd, door->websocket);
        return true;
    }
    if (errno == EINTR || errno == ECONNABORTED)
        return true;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return false;
    if (!door->starved)
        diag(DIAG_WARN, "cannot accept a connection: %s; trying on", strerror(errno));
    door->starved = true;
    stop(door);
    timer_set(&server->loop.timers, &door->retry, RETRY_MS);
    return false;
}

static void on_listener(struct source *source, uint32_t events)
{
    (void)events;
    for (int i = 0; i < ACCEPTS && accept_one((struct door *)source); i++)
        ;
}

static void on_retry(struct timer *timer)
{
    door_resume(OWNER(struct door, timer, retry));
}

int door_open(struct door *door)
{
    if (door->listener.fd < 0)
        return 0;
    door->source.ready = on_listener;
    door->retry.fire = on_retry;
    door->accepting = true;
    return loop_watch(&door->server->loop, door->listener.fd, TURN_NOW, EPOLLIN, &door->source);
}

/* What is in the backlog came before the end; but those who keep coming must not put it off. */
void door_close(struct door *door)
{
    if (door->listener.fd < 0)
        return;
    for (int i = 0; i < BACKLOG_MOST && accept_one(door); i++)
        ;
    timer_clear(&door->server->loop.timers, &door->retry);
    loop_forget(&door->server->loop, door->listener.fd, &door->source);
    listener_close(&door->listener);
}

#include "fcgi/conn/door.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "fcgi/io/diag.h"

enum {
    ACCEPTS = 64,        /* connections accepted before others get their turn */
    RETRY_MS = 100,      /* when there is no descriptor, or soon will be room */
    BACKLOG_MOST = 4096, /* connections of the backlog that door_close still takes */
};

static void watch_door(struct door *door, bool accepting)
{
    door->accepting = accepting;
    loop_change(door->conns->loop, door->listener.fd, TURN_NOW, TURN_NOW, accepting ? EPOLLIN : 0,
                &door->source);
}

void door_resume(struct door *door)
{
    if (!door->accepting && door->listener.fd >= 0)
        watch_door(door, true);
}

static void pause_door(struct door *door)
{
    if (door->accepting)
        watch_door(door, false);
}

static void retry_soon(struct door *door)
{
    timer_set(&door->conns->loop->timers, &door->retry, RETRY_MS);
}

/* Whether there is room for a connection. If not, the door is paused until one ends or is idle. */
static bool door_has_room(struct door *door)
{
    enum conns_room room = conns_make_room(door->conns);
    if (room == ROOM_NOW)
        return true;
    if (room == ROOM_SOON)
        retry_soon(door);
    pause_door(door);
    return false;
}

/* Accepts one connection. Returns whether there may be more to accept now. */
static bool accept_one(struct door *door)
{
    if (!door_has_room(door))
        return false;
    int fd = accept4(door->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        door->starved = false;
        door->take(door->conns, fd);
        return true;
    }
    if (errno == EINTR || errno == ECONNABORTED)
        return true;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return false;
    if (!door->starved)
        diag(DIAG_WARN, "cannot accept a connection: %s; trying on", strerror(errno));
    door->starved = true;
    pause_door(door);
    retry_soon(door);
    return false;
}

/* epoll says that one connection waits. Whether more do is found by accepting; but not when there
 * is no room left, since then an idle connection would be ended, perhaps for nobody. */
static void on_listener(struct source *source, uint32_t events)
{
    (void)events;
    struct door *door = (struct door *)source;
    bool more = accept_one(door);
    for (int i = 1; i < ACCEPTS && more && !conns_are_full(door->conns); i++)
        more = accept_one(door);
}

static void on_door_retry(struct timer *timer)
{
    door_resume(OWNER(struct door, timer, retry));
}

int door_open(struct door *door)
{
    if (door->listener.fd < 0)
        return 0;
    door->source.ready = on_listener;
    door->retry.fire = on_door_retry;
    door->accepting = true;
    return loop_watch(door->conns->loop, door->listener.fd, TURN_NOW, EPOLLIN, &door->source);
}

/* What is in the backlog came before the drain began. Its number is limited, so that clients that
 * keep coming cannot put off the end. */
void door_close(struct door *door)
{
    if (door->listener.fd < 0)
        return;
    for (int i = 0; i < BACKLOG_MOST && accept_one(door); i++)
        ;
    timer_clear(&door->conns->loop->timers, &door->retry);
    loop_forget(door->conns->loop, door->listener.fd, &door->source);
    listener_close(&door->listener);
}

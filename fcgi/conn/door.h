/* door.h - a listening socket: accepts connections as long as there is room, and hands them over.
 *
 * Loop's thread only. Nothing here blocks.
 */
#ifndef ENCKE_FCGI_DOOR_H
#define ENCKE_FCGI_DOOR_H

#include <stdbool.h>

#include "fcgi/conn/conn.h"
#include "fcgi/io/listener.h"
#include "fcgi/io/loop.h"
#include "fcgi/io/timer.h"

struct door {
    struct source source;
    struct timer retry;
    struct listener listener; /* fd -1: this door stays closed */
    struct conns *conns;      /* these have room, or not */
    /* Takes over a connected, non-blocking socket. */
    void (*take)(struct conns *conns, int fd);
    bool accepting; /* the listener is watched */
    bool starved;   /* the last accept failed, and the operator has been told */
};

/* Begins to accept from the door's listener. Returns 0, or -1 with errno set. */
int door_open(struct door *door);

/* There is room for another connection: accepts again, if it had stopped for want of room. */
void door_resume(struct door *door);

/* Accepts the connections that are in the backlog now, as far as there is room, and closes the
 * listener. Does nothing to a door that stayed closed. */
void door_close(struct door *door);

#endif

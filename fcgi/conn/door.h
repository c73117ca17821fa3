/* door.h - where the web server comes in: accepts connections, as long as there is room.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_DOOR_H
#define ENCKE_FCGI_DOOR_H

#include <stdbool.h>

#include "fcgi/io/listener.h"
#include "fcgi/io/loop.h"
#include "fcgi/io/timer.h"

struct server;

struct door {
    struct source source;
    struct timer retry;
    struct server *server;
    struct listener listener; /* fd -1: nobody is to come in here */
    bool websocket;           /* for HTTP with WebSockets, not for FastCGI */
    bool accepting;           /* the listener is watched */
    bool starved;             /* the last accept failed, and the operator has been told */
};

/* Begins to accept from the door's listener. Returns 0, or -1 with errno set. */
int door_open(struct door *door);

/* A connection has ended or is idle: there is room for another. */
void door_resume(struct door *door);

/* Takes in those who wait in the backlog, and no more. */
void door_close(struct door *door);

#endif

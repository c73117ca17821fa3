/* listener.h - the unix sockets to which the web server connects: one for FastCGI, and one for
 * WebSockets if the operator wants it.
 *
 * The daemon makes a socket, or inherits it: from systemd (LISTEN_FDS), or, for FastCGI, as
 * descriptor 0 (lighttpd's bin-path, spawn-fcgi; FastCGI 1.0, 2.2). Of systemd's sockets the one
 * with FileDescriptorName=websocket is for WebSockets; if none has that name, the second is.
 *
 * Main thread, at the start and the end only; may block.
 */
#ifndef ENCKE_FCGI_LISTENER_H
#define ENCKE_FCGI_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct listener {
    int fd;           /* listening, non-blocking, closed on exec; -1: closed, or not wanted */
    const char *path; /* of a socket that the daemon made: listener_close removes it; else NULL */
};

/* Opens the socket for FastCGI: an inherited one if there is one, else a new one at path with mode.
 * Replaces a socket file to which nobody listens; leaves one to which somebody does, and any file
 * that is not a socket. path is borrowed as long as the listener lives, and may be NULL if a socket
 * is inherited. Returns 0, or -1 with one line in why. */
int listener_open(struct listener *listener, const char *path, mode_t mode, char *why,
                  size_t why_size);

/* The same for WebSockets. But if no socket is inherited and path is NULL, none is wanted: then fd
 * is -1, and 0 is returned. */
int listener_open_websocket(struct listener *listener, const char *path, mode_t mode, char *why,
                            size_t why_size);

/* Closes the socket, and with it the connections that were not accepted yet. Does nothing if fd is
 * -1. */
void listener_close(struct listener *listener);

#endif

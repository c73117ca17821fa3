/* listener.h - the unix sockets on which the web server finds the daemon: one for FastCGI, and, if
 * it is wanted, one for WebSockets.
 *
 * Either is the daemon's own, or one that it was started with: systemd's (LISTEN_FDS), or, for
 * FastCGI, descriptor 0 (lighttpd's bin-path, spawn-fcgi; FastCGI 1.0, 2.2). Of systemd's sockets
 * the one with FileDescriptorName=websocket is for WebSockets; if none is named so, the second is.
 * Set-up only; may block.
 */
#ifndef ENCKE_FCGI_LISTENER_H
#define ENCKE_FCGI_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct listener {
    int fd;           /* listening, non-blocking, closed on exec; -1: closed, or not wanted */
    const char *path; /* of the daemon's own socket, which listener_close removes; else NULL */
};

/* The socket for FastCGI: takes an inherited one if there is one, else makes path with mode. A
 * stale socket file is replaced; one that somebody listens on, or a file that is no socket, is not.
 * Returns 0, or -1 with one line in why. path is borrowed for the listener's life; NULL is allowed
 * if a socket is inherited. */
int listener_open(struct listener *listener, const char *path, mode_t mode, char *why,
                  size_t why_size);

/* The same for WebSockets; but if none is inherited and path is NULL, none is wanted: fd is -1, and
 * that is a success. */
int listener_open_websocket(struct listener *listener, const char *path, mode_t mode, char *why,
                            size_t why_size);

/* Closes it; connections in its backlog that were not accepted are cut off. Harmless with an fd of
 * -1. */
void listener_close(struct listener *listener);

#endif

/* conflicts.h - options that contradict each other, or have no meaning together, are an error. The
 * error says what to do. But if a given option contradicts a default, the default is changed.
 *
 * Main thread, at the start. No I/O but the line that tells what is wrong.
 */
#ifndef ENCKE_FCGI_CONFLICTS_H
#define ENCKE_FCGI_CONFLICTS_H

#include <stdbool.h>
#include <stddef.h>

#include "fcgi/options.h"

/* Checks all options together, and changes defaults where it must. Returns 0, or -1 after it has
 * printed what is wrong. */
int conflicts_settle(struct options *options);

/* Checks the options for sockets, once the sockets are open. own: the daemon has made one itself,
 * to which --socket-mode applies. websocket: there is one for WebSockets. Returns 0, or -1 with one
 * line in why. */
int conflicts_with_sockets(const struct options *options, bool own, bool websocket, char *why,
                           size_t why_size);

#endif

/* conflicts.h - options that contradict each other, or mean nothing together, are an error that
 * says what to do. Only where a default is in the way of what was given, it gives way.
 */
#ifndef ENCKE_FCGI_CONFLICTS_H
#define ENCKE_FCGI_CONFLICTS_H

#include <stdbool.h>
#include <stddef.h>

#include "fcgi/options.h"

/* Judges all options together, once all are known; lets defaults follow. Returns 0, or -1 after
 * saying on stderr what contradicts. */
int conflicts_settle(struct options *options);

/* What only who has the sockets can judge: whether an option is for sockets of the daemon's own
 * though none is (own), or for WebSockets though no socket takes them. Returns 0, or -1 with why.
 */
int conflicts_with_sockets(const struct options *options, bool own, bool websocket, char *why,
                           size_t why_size);

#endif

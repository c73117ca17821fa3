/* server.h - the running daemon: it owns everything, and moves it through its life: start, accept,
 * carry news from the log to the readers, drain, stop.
 *
 * One struct, owned by main, used by the loop's thread alone. Nothing else knows it: each part gets
 * only what it uses.
 */
#ifndef ENCKE_FCGI_SERVER_H
#define ENCKE_FCGI_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/conn/admission.h"
#include "fcgi/conn/conn.h"
#include "fcgi/conn/door.h"
#include "fcgi/endpoints/endpoint.h"
#include "fcgi/io/loop.h"
#include "fcgi/options.h"
#include "fcgi/readers/publish.h"
#include "fcgi/readers/readers.h"
#include "fcgi/relay/feed.h"
#include "fcgi/relay/relay.h"
#include "fcgi/relay/upstream.h"
#include "store/log.h"

struct server {
    const struct options *options;
    struct loop loop;
    struct log *log;
    struct conns conns;
    struct door fastcgi, websocket; /* the second one may stay closed: not wanted */
    struct admission admission;
    struct readers readers;
    struct publisher publisher;
    struct upstreams upstreams;
    struct relay *relay; /* NULL without upstreams, as is feeds */
    struct feeds *feeds;
    unsigned polls_max; /* different requests to upstreams under way at once */
    struct service service;

    struct source log_source, log_files_source, reads_source, signal_source;
    int signal_fd;
    struct timer drain_timer, tidy_timer, sweep_timer, look_timer;
    uint64_t drain_until_ms;
    size_t most_kept; /* bytes for readers at once, since memory was given back */
    int exit_code;
};

/* Opens everything: the log, the socket, libfcgi. Signals are blocked already (signals.h). Blocks
 * on the disk. Returns 0, or -1 after saying why on stderr; either way server_close. */
int server_open(struct server *server, const struct options *options);

/* Serves until a signal has drained it or the log failed. Returns the process's exit code. */
int server_run(struct server *server);

/* Ends every connection and closes what server_open opened. Blocks on the disk. Returns the
 * process's exit code: EXIT_FAILURE if the log could not be closed cleanly. */
int server_close(struct server *server);

#endif

/* server.h - the running daemon: everything that a connection or an endpoint can reach.
 *
 * One struct, owned by main, used by the loop's thread alone. server.c moves it through its life:
 * start, accept, carry news from the log to whoever waits, drain, stop.
 */
#ifndef ENCKE_FCGI_SERVER_H
#define ENCKE_FCGI_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/io/buf.h"
#include "fcgi/conn/conn.h"
#include "fcgi/conn/door.h"
#include "fcgi/relay/feed.h"
#include "fcgi/readers/group.h"
#include "fcgi/wire/handshake.h"
#include "fcgi/io/loop.h"
#include "fcgi/options.h"
#include "fcgi/readers/pages.h"
#include "fcgi/relay/relay.h"
#include "fcgi/wire/request.h"
#include "fcgi/readers/publish.h"
#include "fcgi/readers/round.h"
#include "fcgi/readers/stream.h"
#include "fcgi/readers/strip.h"
#include "fcgi/conn/unsent.h"
#include "fcgi/relay/upstream.h"
#include "store/log.h"

enum { INBOX_SIZE = 64 * 1024 }; /* bytes taken from a socket at once */

struct server {
    const struct options *options;
    struct loop loop;
    struct log *log;
    struct publisher publisher;
    struct decoder *decoder;
    struct handshaker *handshaker;
    struct door fastcgi, websocket; /* the second one's listener may be closed: not wanted */
    struct groups groups;           /* all who wait for news */
    struct pages pages;             /* for streams */
    struct strips strips;           /* for long polls */
    struct round round;             /* for all whom the news of this moment concern */
    struct unsent unsent;           /* what sockets have not taken */
    struct upstreams upstreams;
    struct relay *relay; /* NULL without upstreams, as is feeds */
    struct feeds *feeds;

    struct idle_list idle;   /* connections kept open by the web server, most recently used first */
    struct conn_list busy;   /* reading, waiting for a commit or its turn, sending, lingering */
    struct conn_list behind; /* streams that catch up, or take nothing */
    unsigned conns;          /* all connections, those in groups included */
    unsigned conns_max;      /* what the descriptors allow */

    unsigned held;                  /* requests held, relayed ones included */
    unsigned streams[STREAM_KINDS]; /* streams */
    unsigned streams_behind;        /* of these */
    unsigned polls_max;             /* different requests to upstreams under way at once */
    unsigned waiting_max;           /* how many of both there may be */
    uint64_t refused;               /* for being too many, since the start */
    bool full;                      /* and the operator has been told */
    uint64_t cut_off;               /* for not taking what they asked for, since the start */
    bool crowded;                   /* and the operator has been told */

    uint64_t started_ms;
    uint64_t deliveries; /* messages handed to readers */
    uint64_t loop_round; /* in which was given to polls: */
    size_t loop_round_bytes;
    bool draining; /* answer at once, hold nothing */
    uint64_t drain_until_ms;
    int exit_code;

    struct source log_source, log_files_source, signal_source;
    struct timer drain_timer, tidy_timer, sweep_timer, look_timer;
    size_t most_kept; /* bytes for readers at once, since memory was given back */
    int signal_fd;
    struct buf scratch; /* where bodies are written before they are framed */
    uint8_t inbox[INBOX_SIZE];
};

/* Opens everything: the log, the socket, libfcgi. Signals are blocked already (signals.h). Blocks
 * on the disk. Returns 0, or -1 after saying why on stderr; either way server_close. */
int server_open(struct server *server, const struct options *options);

/* Serves until a signal has drained it or the log failed. Returns the process's exit code. */
int server_run(struct server *server);

/* Ends every connection and closes what server_open opened. Blocks on the disk. Returns the
 * process's exit code: EXIT_FAILURE if the log could not be closed cleanly. */
int server_close(struct server *server);

/* Whether one more request may wait or stream; else answers it. */
bool server_admit(struct conn *conn);

/* Answers that the request cannot be held now, and tells the operator, not each time. */
void server_refuse(struct conn *conn, const char *why);

/* Whether this round of news has given so much that the next readers had better take it from the
 * log, each when its turn comes. */
bool server_news_can_wait(const struct server *server);

/* One that waited or streamed has left. */
void server_left(struct server *server);

/* A connection waits for its next request: it may be ended if another is to come in. */
void server_conn_idle(struct server *server);

/* A connection has ended: its descriptor can serve another. */
void server_conn_ended(struct server *server);

#endif

/* options.h - what the daemon was asked to do, from ENCKE_ environment variables and the command
 * line, which wins. One table holds every option with its default, its range and its help.
 *
 * A variable of that prefix that names no option is an error, as is what contradicts (conflicts.h).
 */
#ifndef ENCKE_FCGI_OPTIONS_H
#define ENCKE_FCGI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/io/diag.h"

enum { GIVEN_MAX = 64 };

/* The values of an option that may be given several times, in their order. */
struct given {
    size_t count;
    const char *texts[GIVEN_MAX]; /* as with paths below, or in copy */
    char *copy;                   /* of the environment's variable; NULL: not from there */
};

struct options {
    const char *socket; /* paths live as long as argv and the environment; NULL: not given */
    const char *db;
    int64_t socket_mode;
    const char *mount;            /* the path above the endpoints; NULL: any */
    const char *origin;           /* that may publish, parted by commas, or "any"; NULL: none but
                                     the same host's */
    int64_t hold_s;               /* how long a request is held, less a jitter */
    int64_t hold_max_s;           /* the longest hold that a client may ask for */
    int64_t stream_s;             /* how long a stream goes on, less a jitter */
    int64_t heartbeat_s;          /* the longest that a stream says nothing */
    int64_t max_holds;            /* requests held and streams open at once */
    int64_t max_message;          /* bytes of a message's data */
    int64_t max_channels;         /* channels of one request */
    int64_t keep_messages;        /* a channel; 0: no limit, as with the next two */
    int64_t keep_age_s;           /* seconds */
    int64_t keep_bytes;           /* the whole log */
    int64_t memory_bytes;         /* recent messages in memory */
    int64_t queue_bytes;          /* creates waiting for their commit */
    int64_t unsent_bytes;         /* what readers have not taken */
    int64_t request_timeout_s;    /* for a request to arrive whole, and for a full socket to move */
    const char *websocket_socket; /* as socket; NULL: no WebSockets, unless one is inherited */
    bool websocket_create;        /* what clients send is published */
    int64_t websocket_rate;       /* frames a second that a client may send in the long run */
    struct given upstream;        /* as upstream.h reads them: [NAME=]URL and so on */
    struct given upstream_params;
    struct given upstream_channel;
    struct given upstream_cursor;
    const char *upstream_ca;    /* path; NULL: the system's */
    const char *upstream_proxy; /* URL; NULL: none */
    int64_t upstream_timeout_s; /* for one request to an upstream, whole */
    int64_t upstream_answer;    /* bytes of the largest answer that is passed on */
    int64_t upstream_requests;  /* different requests to upstreams under way at once */
    enum diag_level log_level;
    uint64_t given; /* a bit for each that was, by command line or environment: options_given */
};

enum options_verdict { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_BAD };

/* Fills options. OPTIONS_DONE: --help or --version has been answered on stdout; OPTIONS_BAD: what
 * is wrong has been said on stderr. Not thread-safe (getopt). */
enum options_verdict options_parse(struct options *options, int argc, char **argv);

/* Whether the option of that name (as in --help) was given, so that what it has is no default. */
bool options_given(const struct options *options, const char *name);

/* Says what is wrong with the options, on stderr in one line like all that the daemon says. Returns
 * -1. */
int options_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Frees what options_parse allocated, whatever it returned. */
void options_free(struct options *options);

#endif

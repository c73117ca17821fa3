/* options.h - the daemon's options: their values, and the one table that describes them all.
 *
 * The table is the only place where an option is written down: options_parse.h reads the values
 * that it names, and options_help.h prints it as --help and as a part of the manual page.
 */
#ifndef ENCKE_FCGI_OPTIONS_H
#define ENCKE_FCGI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/io/diag.h"
#include "fcgi/io/given.h"

struct options {
    const char *socket; /* paths live as long as argv and the environment; NULL: not given */
    const char *db;
    int64_t socket_mode;
    const char *mount;            /* the path above the endpoints; NULL: any */
    const char *origin;           /* other origins that may publish, separated by commas, or "any";
                                     NULL: none */
    int64_t hold_s;               /* how long a request is held, less a random part */
    int64_t hold_max_s;           /* the longest hold that a client may ask for */
    int64_t stream_s;             /* how long a stream goes on, less a random part */
    int64_t heartbeat_s;          /* the longest time for which a stream sends nothing */
    int64_t max_holds;            /* held requests and open streams at once */
    int64_t max_message;          /* bytes of a message's data */
    int64_t max_channels;         /* channels of one request */
    int64_t keep_messages;        /* in each channel; 0: no limit, as in the next two */
    int64_t keep_age_s;           /* seconds */
    int64_t keep_bytes;           /* the whole log */
    int64_t max_channels_kept;    /* channels that have messages */
    int64_t once_s;               /* how long a key is remembered */
    int64_t once_keys;            /* that are remembered */
    int64_t memory_bytes;         /* recent messages in memory */
    int64_t queue_bytes;          /* of messages that wait for their commit */
    int64_t unsent_bytes;         /* that readers have not taken */
    int64_t request_timeout_s;    /* for a request to arrive, and for a full socket to take bytes */
    const char *websocket_socket; /* NULL: no WebSockets, unless a socket is inherited */
    bool websocket_create;        /* texts that clients send are published */
    int64_t websocket_rate;       /* frames a second that a client may send on average */
    struct given upstream;        /* as upstream.h reads them: [NAME=]URL and so on */
    struct given upstream_params;
    struct given upstream_channel;
    struct given upstream_cursor;
    const char *upstream_ca;    /* path; NULL: the system's */
    const char *upstream_proxy; /* URL; NULL: none */
    int64_t upstream_timeout_s; /* for one whole request to an upstream */
    int64_t upstream_answer;    /* bytes of the largest answer that is passed on */
    int64_t upstream_requests;  /* different requests to upstreams at once */
    enum diag_level log_level;
    uint64_t given; /* a bit for each option that was given: see options_given */
};

/* What the values of an option look like, and the type of its field. */
enum option_kind {
    OPTION_TEXT,     /* const char * */
    OPTION_REPEATED, /* struct given */
    OPTION_PREFIX,   /* const char *: a path with a slash at both ends */
    OPTION_ORIGINS,  /* const char *: a list of web sites, or "any" */
    OPTION_NUMBER,   /* int64_t, as are the next three */
    OPTION_OCTAL,
    OPTION_SIZE,   /* bytes; K, M and G are understood */
    OPTION_AGE,    /* seconds; s, m, h and d are understood */
    OPTION_YES_NO, /* bool */
    OPTION_LEVEL   /* enum diag_level */
};

struct option_row {
    const char *name; /* without the dashes */
    const char *argument;
    enum option_kind kind;
    size_t offset;        /* of its field in struct options */
    const char *standard; /* the default, as a person would write it; NULL: none */
    int64_t least, most;  /* of numbers, sizes and times */
    const char *help;     /* for --help and the manual: not a sentence, without a full stop */
    const char *more;     /* for the manual: whole sentences; NULL: help says all */
};

enum { OPTION_COUNT = 35 };
extern const struct option_row option_rows[OPTION_COUNT];

/* Whether the option of that name was given, on the command line or in the environment. */
bool options_given(const struct options *options, const char *name);

/* Prints what is wrong with the options, as one line of diag's. Returns -1. */
int options_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

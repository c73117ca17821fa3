/* fetch.h - requests to distant servers, made by libcurl.
 *
 * A fetch is one GET to a target: it is started, and then either cancelled or done. Nothing here
 * blocks: a name is looked up by lookup.h, once for all fetches that wait for the same target, and
 * libcurl gets its addresses.
 *
 * The distant server is not trusted: the time that an answer may take and its size are limited,
 * redirects are not followed, and a header that could break ours is refused.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_FETCH_H
#define ENCKE_FCGI_FETCH_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fcgi/io/buf.h"
#include "fcgi/io/loop.h"
#include "fcgi/relay/curl_loop.h"
#include "fcgi/relay/lookup.h"

enum {
    FETCH_CONNECT_S = 10,      /* for the look-up, TCP and TLS together */
    FETCH_IDLE_S = 5,          /* a connection kept for longer is not used again: servers end them,
                                  and some send something first that looks like an answer */
    FETCH_HEADERS_MAX = 65536, /* bytes of all header lines */
    FETCH_REASON_MAX = 64,     /* bytes of a status line's reason; the rest is cut off */
    FETCH_TYPE_MAX = 255,      /* bytes of a Content-Type */
    FETCH_BODIES_MAX =
        64 << 20, /* bytes of all a target's answers, or of one that may be larger; … */
    FETCH_BODY_SMALL = 65536 /* … but so many of each are taken in any case */
};

/* What the operator said of requests. All is borrowed. */
struct fetch_options {
    const char *ca;     /* see trust.h */
    const char *proxy;  /* URL; NULL: none */
    int64_t timeout_s;  /* for one request, whole */
    int64_t answer_max; /* bytes of the largest answer that is passed on */
};

struct fetcher {
    struct curl_loop curl_loop;
    struct fetch_options options;
    struct curl_slist *headers; /* of every request */
};

/* Where connections go: a distant server, or the proxy in front of it. */
struct target {
    struct fetcher *fetcher;
    struct lookup lookup;
    LIST_HEAD(, fetch) waiting; /* for the look-up */
    size_t bodies_len;          /* bytes of all bodies */
};

enum fetch_end {
    FETCH_ANSWERED,    /* status, reason, type and body are there */
    FETCH_UNREACHABLE, /* no look-up, no connection, or no TLS */
    FETCH_TIMED_OUT,   /* connected, but not answered in time */
    FETCH_BROKEN,      /* cut short, reset, malformed */
    FETCH_REFUSED      /* the answer is one that is not taken */
};

struct fetch {
    CURL *easy; /* NULL: not under way */
    /* Called once by the loop when the fetch is over, never from within fetch_start. It is no
     * longer under way then, and may be started again or freed. */
    void (*done)(struct fetch *fetch, enum fetch_end end);
    struct target *target;
    LIST_ENTRY(fetch) link; /* in the target's list, while it is waiting */
    struct curl_slist *resolve;
    uint64_t began_ms;
    bool waiting;
    bool connected;  /* the request has been sent, or is about to */
    bool whole_head; /* the final status line and headers are in: what follows are trailers */
    int status;
    size_t head_len;
    char reason[FETCH_REASON_MAX + 1];
    char type[FETCH_TYPE_MAX + 1]; /* "": there was none */
    struct buf body; /* like the rest, until the fetch is started again or cancelled */
    const char *why; /* when it was not answered: a few words */
    char error[CURL_ERROR_SIZE];
};

/* Returns 0, or -1 with errno set; either way fetcher_close. */
int fetcher_open(struct fetcher *fetcher, struct loop *loop, const struct fetch_options *options,
                 unsigned connections_max);

/* All fetches have been cancelled or are done. All zero bytes is allowed. */
void fetcher_close(struct fetcher *fetcher);

/* Prepares for the server of url; fetches of a target are all for that one. Returns 0, or -1 with
 * errno set; either way target_close, once no fetch of it is under way. */
int target_open(struct target *target, struct fetcher *fetcher, const char *url);
void target_close(struct target *target);

/* Starts a GET of url, which is copied. fetch->done must be set, all else may be zero; what the
 * last time left in it is forgotten. Returns false when out of memory. */
bool fetch_start(struct target *target, struct fetch *fetch, const char *url);

/* Ends a fetch that is under way, without calling done, and frees what it holds; one that is not
 * under way only frees. */
void fetch_cancel(struct fetch *fetch);

#endif

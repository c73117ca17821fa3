/* upstream.h - upstreams are the distant comet servers to which `subscribe` is relayed: the options
 * that name them, and the queries with which they are asked.
 *
 * The operator fixes scheme, host, port and path. Clients can only add fields to the query, and
 * none that the operator's own query has. All that they add is encoded anew.
 *
 * No I/O. Loop's thread only.
 */
#ifndef ENCKE_FCGI_UPSTREAM_H
#define ENCKE_FCGI_UPSTREAM_H

#include <curl/curl.h>
#include <stddef.h>

#include "fcgi/io/buf.h"
#include "fcgi/io/given.h"
#include "fcgi/wire/form.h"
#include "fcgi/wire/request.h"

enum {
    UPSTREAM_QUERY_MAX = 8192, /* bytes of a query, encoded */
    UPSTREAM_NAME_MAX = 64     /* bytes */
};

struct upstream {
    char *name;
    CURLU *url;         /* without its query */
    char *shown;        /* the same without user and password: for people */
    char *query;        /* the operator's, as given; "" for none */
    char *query_copy;   /* what `fixed` points into */
    struct form *fixed; /* the operator's fields */
    char *params;       /* fields that clients may add, separated by commas; NULL: all */
    char *channel;      /* that its feed appends to; NULL: it has none */
    char *cursor_param; /* the field by which the feed asks for what is newer than its cursor … */
    char *cursor_field; /* … which this field of the last answer told */
};

/* The --upstream options, as they were given. */
struct upstream_options {
    const struct given *upstream, *params, *channel, *cursor;
    const char *ca, *proxy; /* NULL: none */
};

struct upstreams {
    struct upstream *items;
    size_t count;
};

/* Reads the --upstream options. Returns 0, or -1 with one line in why that says what is wrong;
 * either way upstreams_free. */
int upstreams_open(struct upstreams *upstreams, const struct upstream_options *options, char *why,
                   size_t why_size);
void upstreams_free(struct upstreams *upstreams);

/* The upstream of that name, or if name is absent the one named "default". NULL: there is none. */
const struct upstream *upstreams_find(const struct upstreams *upstreams, struct text name);

/* Writes the query for a client's request: the operator's fields, and those of the client's that
 * may pass, encoded anew. `upstream` never passes, and `timeout` only if it is listed. Returns
 * NULL, or what is wrong with the client's fields: one JSON-safe sentence, static. */
const char *upstream_query(const struct upstream *upstream, const struct request *request,
                           struct buf *query);

/* The same for the feed, which goes on from cursor (NULL: from nowhere). */
void upstream_query_from(const struct upstream *upstream, const char *cursor, struct buf *query);

/* The URL that asks upstream with a query that the two above have written. NULL when out of
 * memory; otherwise curl_free it. */
char *upstream_url(const struct upstream *upstream, const char *query);

#endif

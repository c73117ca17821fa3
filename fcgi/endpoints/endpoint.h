/* endpoint.h - the endpoints, and what all of them use.
 *
 * An endpoint is one function below, in endpoint_<what it does>.c, and a row of the table in
 * routes.c. It answers the request, or lets the connection wait for something, or ends it.
 *
 * Loop's thread only. Nothing here blocks.
 */
#ifndef ENCKE_FCGI_ENDPOINT_H
#define ENCKE_FCGI_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/conn/conn.h"
#include "fcgi/readers/publish.h"
#include "fcgi/readers/readers.h"
#include "fcgi/readers/talk.h"
#include "fcgi/readers/wanted.h"
#include "fcgi/relay/feed.h"
#include "fcgi/relay/relay.h"
#include "fcgi/relay/upstream.h"
#include "fcgi/wire/handshake.h"
#include "fcgi/wire/request.h"

/* All that endpoints use. Everything is borrowed. */
struct service {
    struct conns *conns;
    struct publisher *publisher;
    struct readers *readers;
    const struct upstreams *upstreams;
    struct relay *relay; /* NULL without upstreams, as is feeds */
    struct feeds *feeds;
    struct talk_rules talk_rules;
    uint64_t started_ms; /* by the clock of timer.h */
    bool websocket;      /* there is a door for WebSockets */
    /* what the operator said: see options.h */
    const char *mount, *origin;
    size_t max_channels;
    int64_t hold_s, hold_max_s, stream_s;
};

typedef void endpoint(struct service *service, struct conn *conn, const struct request *request);

endpoint endpoint_create;
endpoint endpoint_batch;
endpoint endpoint_update;
endpoint endpoint_subscribe;
endpoint endpoint_longpolling;
endpoint endpoint_streaming;
endpoint endpoint_iframe;
endpoint endpoint_events;
endpoint endpoint_websocket;
endpoint endpoint_status;

/* A WebSocket's handshake is done; bytes[0, len) are frames that came right after it. Opens its
 * stream, or refuses it. `context` is a struct service: see conns->take_websocket. */
void endpoint_handshake(void *context, struct conn *conn, const struct handshake *handshake,
                        const uint8_t *bytes, size_t len);

/* If a subscribe is for an upstream: answers it, or holds it until the upstream answers, and
 * returns true. Else returns false. */
bool endpoint_relayed(struct service *service, struct conn *conn, const struct request *request);

/* Reads into *wanted what a reader asks for, on those terms. Returns false if something is wrong
 * with it, and then has answered 400. */
bool endpoint_understand(const struct service *service, struct conn *conn,
                         const struct request *request, const struct terms *terms,
                         struct wanted *wanted);

#endif

/* talk.h - what the client of a WebSocket says on its stream, and what it is answered: the partner
 * (partner.h) of a WebSocket's stream.
 *
 * A text is published and answered with its cursor; or, with as=echo, it is sent back. One text is
 * worked on at a time, and while its answer has not gone out nothing more is read: a client that
 * does not read cannot make the daemon keep anything for it.
 *
 * A client of which nothing was heard for two heartbeats, and to which nothing could be said, is
 * taken for dead. One that goes away right behind what it said has that published. When the daemon
 * stops, the stream ends (RFC 6455, 7.4.1: 1001) once what is under way has been answered.
 *
 * Loop's thread only. Nothing here blocks.
 */
#ifndef ENCKE_FCGI_TALK_H
#define ENCKE_FCGI_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/conn/conn.h"
#include "fcgi/readers/partner.h"
#include "fcgi/readers/publish.h"
#include "fcgi/readers/wanted.h"
#include "fcgi/wire/request.h"

/* What clients may say. */
struct talk_rules {
    struct publisher *publisher; /* of their texts */
    bool may_create;             /* texts are published at all */
    unsigned frames_per_s;       /* of one client, in the long run */
};

/* The partner for the stream that is wanted; stream_open takes it over, or else free it by its ops.
 * Returns NULL with *complaint: what is wrong with the request's fields, or NULL when out of
 * memory. */
struct partner *talk_new(const struct talk_rules *rules, const struct request *request,
                         const struct wanted *wanted, const char **complaint);

/* Takes bytes that have come on a stream with such a partner. The connection may have ended when
 * this returns. */
void talk_hear(struct conn *conn, const uint8_t *bytes, size_t len);

#endif

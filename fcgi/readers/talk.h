/* talk.h - what the client of a WebSocket says on its stream, and what it is answered.
 *
 * A text is published and answered with its cursor; or, with as=echo, it is sent back. One text is
 * worked on at a time, and while its answer has not gone out nothing more is read: a client that
 * does not read cannot make the daemon keep anything for it.
 *
 * What the server says by itself is stream.c's. Loop's thread only.
 */
#ifndef ENCKE_FCGI_TALK_H
#define ENCKE_FCGI_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/conn/conn.h"
#include "fcgi/wire/request.h"
#include "fcgi/readers/wanted.h"

struct talk;

/* For the stream of that wish. Returns NULL with *complaint: what is wrong with the request's
 * fields, or NULL when out of memory. */
struct talk *talk_new(const struct options *options, const struct request *request,
                      const struct wanted *wanted, const char **complaint);

/* A text under way is stored all the same. NULL is allowed. */
void talk_free(struct talk *talk);

/* What a live stream with this talk waits for. */
enum watch talk_watch(const struct talk *talk);

/* There is something to read. The connection may have ended when this returns, here and below. */
void talk_readable(struct conn *conn);

/* The client is gone, perhaps right behind what it said: that is published, and answered to nobody.
 * Ends the connection. */
void talk_last_words(struct conn *conn);

/* Takes bytes that have come. */
void talk_hear(struct conn *conn, const uint8_t *bytes, size_t len);

/* The socket takes bytes again, and no frame is cut through: gives the answers that waited for
 * that. Returns false if the socket is full again, or the connection has ended. */
bool talk_go_on(struct conn *conn);

/* A heartbeat is due. Returns whether so many have passed since anything was heard, or anything
 * could be said, that the client is taken for dead. */
bool talk_is_dead(struct talk *talk);

/* Ends the WebSocket as the daemon is about to stop (RFC 6455, 7.4.1: 1001), when what is under way
 * has been answered. */
void talk_end(struct conn *conn);

#endif

/* routes.h - which endpoint a request is for. What stands behind the mount in the path is its name;
 * without a mount the last segment is, so that the daemon can be mounted anywhere. The table is in
 * routes.c; an endpoint is one function below, in endpoint_<what it does>.c.
 */
#ifndef ENCKE_FCGI_ROUTES_H
#define ENCKE_FCGI_ROUTES_H

#include "fcgi/conn/conn.h"
#include "fcgi/wire/handshake.h"
#include "fcgi/wire/request.h"
#include "fcgi/readers/wanted.h"

/* Hands the request to its endpoint, or answers 400, 403, 404, 405, 413 or 415. When it returns,
 * conn has been answered, waits in a hold or for a commit, streams, or has ended; request may be
 * released.
 */
void route(struct conn *conn, const struct request *request);

void endpoint_create(struct conn *conn, const struct request *request);
void endpoint_update(struct conn *conn, const struct request *request);
void endpoint_subscribe(struct conn *conn, const struct request *request);
void endpoint_longpolling(struct conn *conn, const struct request *request);
void endpoint_streaming(struct conn *conn, const struct request *request);
void endpoint_iframe(struct conn *conn, const struct request *request);
void endpoint_events(struct conn *conn, const struct request *request);
void endpoint_websocket(struct conn *conn, const struct request *request);
void endpoint_status(struct conn *conn, const struct request *request);

/* Reads what a reader asks for, on those terms; answers 400 if something is wrong with it. Returns
 * whether nothing is. */
bool understand(struct conn *conn, const struct request *request, const struct terms *terms,
                struct wanted *wanted);

/* Answers a subscribe that is for an upstream, or holds it for that; false if it is for none. */
bool subscribe_relayed(struct conn *conn, const struct request *request);

/* A WebSocket's handshake is done; bytes[0, len) are frames that came right behind it. Opens its
 * stream, or refuses it. */
void websocket_open(struct conn *conn, const struct handshake *handshake, const uint8_t *bytes,
                    size_t len);

#endif

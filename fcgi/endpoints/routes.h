/* routes.h - which endpoint a request is for. What stands behind the mount in the path is its name;
 * without a mount the last segment is, so that the daemon can be mounted anywhere. The table is in
 * routes.c, the endpoints are in endpoint.h.
 */
#ifndef ENCKE_FCGI_ROUTES_H
#define ENCKE_FCGI_ROUTES_H

#include "fcgi/conn/conn.h"
#include "fcgi/wire/request.h"

/* Hands the request to its endpoint, or answers 400, 403, 404, 405, 413 or 415. `context` is a
 * struct service (endpoint.h): see conns->take_request. When it returns, conn has been answered, or
 * waits for something, or has ended; request may be released. */
void route_request(void *context, struct conn *conn, const struct request *request);

#endif

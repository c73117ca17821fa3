/* routes.h - which endpoint a request is for. The endpoint's name is the part of the path after the
 * mount. Without a mount it is the last segment of the path, so the web server can put the
 * endpoints anywhere. The table is in routes.c, the endpoints are in endpoint.h.
 *
 * Loop's thread only. Nothing here blocks.
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

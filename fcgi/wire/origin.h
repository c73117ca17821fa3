/* origin.h - whether a page may do what changes something: publish, or open a WebSocket.
 *
 * A browser lets any page send a form, and sends a visitor's cookies and passwords also with the
 * requests of other sites' pages. So pages of other sites are refused, unless the operator lists
 * them. The same rule holds for `create` and for the handshake of a WebSocket (RFC 6455, 10.2).
 * Programs other than browsers do not say where a request comes from, and are allowed.
 *
 * Pure.
 */
#ifndef ENCKE_FCGI_ORIGIN_H
#define ENCKE_FCGI_ORIGIN_H

#include <stdbool.h>

#include "fcgi/wire/request.h"

/* Whether a request may come from the origin that its headers name:
 *  - Sec-Fetch-Site (Fetch Metadata) decides if it is there. No page can set it, and only the
 *    browser knows which address it asked: Host may have changed on the way. "same-origin" is
 *    allowed, and "none", a visit that no page caused; "same-site" is a page of another host.
 *  - Without it, Origin (RFC 6454, 7), if it is there, must have the host and port of Host; the
 *    scheme may be either one. "null" is no host.
 *  - A request that these do not allow is allowed if its Origin is listed.
 * allowed: origins separated by commas, or "any"; NULL: none. */
bool origin_allowed(const struct request *request, const char *allowed);

/* Whether allowed is such a list with one element or more. An origin must be written as browsers
 * send it, "scheme://host[:port]" or "null", without the scheme's default port: written in another
 * way it would never match. There are no patterns. */
bool origin_list_valid(const char *allowed);

/* The text of the answer, a 403, if it is not allowed. JSON-safe. */
extern const char ORIGIN_REFUSED[];

#endif

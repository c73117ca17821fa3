/* origin.h - whether a page may do what changes something: publish, or open a WebSocket.
 *
 * A browser sends a visitor's cookies and passwords with what pages of other sites ask, too, and
 * lets any page send a form. So pages of other sites are refused, unless the operator lists them:
 * one rule, for `create` and for the handshake of a WebSocket (RFC 6455, 10.2). Programs that are
 * no browsers say nothing of where they come from, and pass.
 *
 * Pure.
 */
#ifndef ENCKE_FCGI_ORIGIN_H
#define ENCKE_FCGI_ORIGIN_H

#include <stdbool.h>

#include "fcgi/wire/request.h"

/* Whether a request may come from where its headers say that it does:
 *  - Sec-Fetch-Site (Fetch Metadata), which no page can set, is believed: the browser alone knows
 *    what address it asked, whatever became of Host on the way. "same-origin" and "none", which is
 *    a person's own doing, pass; "same-site" is a page of another host.
 *  - Without it, Origin (RFC 6454, 7) must be the host that was asked for, with either scheme and
 *    its port. "null" is none.
 *  - What is foreign by these passes if its Origin is listed.
 * allowed: origins parted by commas, or "any"; NULL: none. */
bool origin_allowed(const struct request *request, const char *allowed);

/* Whether allowed is such a list, of at least one. An origin in it is written as browsers send it,
 * "scheme://host[:port]" or "null", without a port that its scheme has anyway: one written
 * otherwise would never match, nor is there a pattern. */
bool origin_list_valid(const char *allowed);

/* What is answered, with 403, if it may not. JSON-safe. */
extern const char ORIGIN_REFUSED[];

#endif

#include "fcgi/wire/origin.h"

#include <string.h>
#include <strings.h>

#include "fcgi/io/text.h"
#include "fcgi/wire/http.h"

const char ORIGIN_REFUSED[] = "pages of other sites may not do this; encke's option --origin lists "
                              "the origins whose pages may";

/* The authority without its scheme's default port: "example.org:443" and "https://example.org" are
 * the same host. */
static struct text without_default_port(struct text authority, bool secure)
{
    const char *port = secure ? ":443" : ":80";
    size_t len = strlen(port);
    if (authority.len > len && memcmp(authority.bytes + authority.len - len, port, len) == 0)
        authority.len -= len;
    return authority;
}

/* Whether origin, "scheme://host[:port]", has the host and port of Host. */
static bool same_host(struct text origin, struct text host)
{
    bool secure = origin.len > 8 && strncasecmp(origin.bytes, "https://", 8) == 0;
    if (!secure && !(origin.len > 7 && strncasecmp(origin.bytes, "http://", 7) == 0))
        return false;
    size_t scheme = secure ? 8 : 7;
    struct text authority = {origin.bytes + scheme, origin.len - scheme};
    return host.bytes && text_equal_any_case(without_default_port(authority, secure),
                                             without_default_port(host, secure));
}

static bool origin_listed(struct text origin, const char *allowed)
{
    struct text list = text_of(allowed), one;
    while (text_list_next(&list, &one))
        if (text_is_any_case(one, "any") || (origin.len > 0 && text_equal_any_case(one, origin)))
            return true;
    return false;
}

bool origin_allowed(const struct request *request, const char *allowed)
{
    struct text origin = request->origin, site = request->fetch_site;
    bool own;
    if (site.len > 0)
        own = text_is_any_case(site, "same-origin") || text_is_any_case(site, "none");
    else
        own = !origin.bytes || same_host(origin, request->host);
    return own || origin_listed(origin, allowed);
}

/* Whether it is an origin as browsers send it, "scheme://host[:port]" or "null", or the word any.
 * An origin with a blank, a pattern, a path, a user or its scheme's default port would never match.
 */
static bool origin_valid(struct text origin)
{
    static const char outside[] = " \t*\\"; /* characters that no host and port have */
    struct text rest = origin, authority;
    if (text_is(origin, "any") || text_is(origin, "null"))
        return true;
    if (!http_split_target(&rest, &authority) || rest.len > 0 ||
        authority.bytes[authority.len - 1] == ':')
        return false;
    struct text scheme = {origin.bytes, origin.len - authority.len - strlen("://")};
    bool secure = text_is_any_case(scheme, "https");
    if ((secure || text_is_any_case(scheme, "http")) &&
        without_default_port(authority, secure).len < authority.len)
        return false;
    return strcspn(authority.bytes, outside) >= authority.len;
}

bool origin_list_valid(const char *allowed)
{
    struct text list = text_of(allowed), origin;
    bool any = false;
    while (text_list_next(&list, &origin)) {
        if (origin.len > 0 && !origin_valid(origin))
            return false;
        any |= origin.len > 0;
    }
    return any;
}

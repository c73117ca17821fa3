#include "fcgi/wire/origin.h"

#include <string.h>
#include <strings.h>

#include "fcgi/wire/list.h"

const char ORIGIN_REFUSED[] = "pages of other sites may not do this; encke's option --origin lists "
                              "the origins whose pages may";

/* The authority without the port that its scheme has anyway: "example.org:443" and
 * "https://example.org" are the same host. */
static struct text without_default_port(struct text authority, bool secure)
{
    const char *port = secure ? ":443" : ":80";
    size_t len = strlen(port);
    if (authority.len > len && memcmp(authority.bytes + authority.len - len, port, len) == 0)
        authority.len -= len;
    return authority;
}

/* Whether origin, "scheme://host[:port]", is a page of the host that was asked for. */
static bool same_host(struct text origin, struct text host)
{
    bool secure = origin.len > 8 && strncasecmp(origin.bytes, "https://", 8) == 0;
    if (!secure && !(origin.len > 7 && strncasecmp(origin.bytes, "http://", 7) == 0))
        return false;
    size_t scheme = secure ? 8 : 7;
    struct text authority = {origin.bytes + scheme, origin.len - scheme};
    return host.bytes &&
           text_same(without_default_port(authority, secure), without_default_port(host, secure));
}

static bool listed(struct text origin, const char *allowed)
{
    struct text list = {allowed, allowed ? strlen(allowed) : 0}, one;
    while (list_next(&list, &one))
        if (text_named(one, "any") || (origin.len > 0 && text_same(one, origin)))
            return true;
    return false;
}

bool origin_allowed(const struct request *request, const char *allowed)
{
    struct text origin = request->origin, site = request->fetch_site;
    bool own;
    if (site.len > 0)
        own = text_named(site, "same-origin") || text_named(site, "none");
    else
        own = !origin.bytes || same_host(origin, request->host);
    return own || listed(origin, allowed);
}

/* Whether it is an origin as browsers send it, "scheme://host[:port]" or "null", or the word any.
 * One written otherwise would never match: with a pattern, a path, a user, a scheme's own port. */
static bool one_valid(const char *text, size_t len)
{
    if ((len == 3 && memcmp(text, "any", len) == 0) || (len == 4 && memcmp(text, "null", len) == 0))
        return true;
    const char *mark = memmem(text, len, "://", 3);
    if (!mark || mark == text || mark + 3 == text + len || text[len - 1] == ':')
        return false;
    struct text scheme = {text, (size_t)(mark - text)};
    struct text authority = {mark + 3, len - scheme.len - 3};
    bool secure = text_named(scheme, "https");
    if ((secure || text_named(scheme, "http")) &&
        without_default_port(authority, secure).len < authority.len)
        return false;
    return strcspn(authority.bytes, "/*?#@\\") >= authority.len;
}

bool origin_list_valid(const char *text)
{
    bool any = false;
    for (size_t len; *text; text += len + (text[len] == ',')) {
        len = strcspn(text, ",");
        size_t before = strspn(text, " "), after = before + strcspn(text + before, " ,");
        if (after + strspn(text + after, " ") < len || /* a blank inside */
            (after > before && !one_valid(text + before, after - before)))
            return false;
        any |= after > before;
    }
    return any;
}

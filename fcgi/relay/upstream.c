#include "fcgi/relay/upstream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/io/diag.h"
#include "fcgi/readers/wanted.h"

static const char DEFAULT_NAME[] = "default";
static const char NO_MEMORY[] = "finds no memory";

/* ---- the options ---- */

static bool upstream_name_valid(const char *name, size_t len)
{
    return channel_name_valid((struct text){name, len}); /* one rule for all names */
}

/* Splits "[NAME=]REST". Returns REST, and the name with its length. */
static const char *split_name(const char *given, const char **name, size_t *name_len)
{
    const char *equals = strchr(given, '=');
    bool named = equals && upstream_name_valid(given, (size_t)(equals - given));
    *name = named ? given : DEFAULT_NAME;
    *name_len = named ? (size_t)(equals - given) : strlen(DEFAULT_NAME);
    return named ? equals + 1 : given;
}

static struct upstream *find_upstream(const struct upstreams *upstreams, const char *name,
                                      size_t len)
{
    for (size_t i = 0; i < upstreams->count; i++)
        if (text_is((struct text){name, len}, upstreams->items[i].name))
            return &upstreams->items[i];
    return NULL;
}

const struct upstream *upstreams_find(const struct upstreams *upstreams, struct text name)
{
    return name.bytes ? find_upstream(upstreams, name.bytes, name.len)
                      : find_upstream(upstreams, DEFAULT_NAME, strlen(DEFAULT_NAME));
}

/* A part of the URL, empty if it has none; NULL when out of memory. */
static char *url_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    CURLUcode code = curl_url_get(url, part, &text, 0);
    char *copy = code == CURLUE_OUT_OF_MEMORY ? NULL : strdup(code == CURLUE_OK ? text : "");
    curl_free(text);
    return copy;
}

/* What is wrong with the URL's text, or NULL with upstream->url set. */
static const char *parse_upstream_url(struct upstream *upstream, const char *text)
{
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f)
            return "has a blank, or a character that is not ASCII, in its URL";
    upstream->url = curl_url();
    if (!upstream->url)
        return NO_MEMORY;
    CURLUcode code = curl_url_set(upstream->url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME);
    if (code == CURLUE_BAD_PORT_NUMBER || code == CURLUE_BAD_HOSTNAME)
        return code == CURLUE_BAD_HOSTNAME ? "has no host that could be"
                                           : "has no port that could be";
    const char *mark = strstr(text, "://");
    if (code != CURLUE_OK || !mark)
        return "needs a URL such as https://comet.example.org/subscribe (and a name before it is "
               "letters, digits, and . _ -)";
    char *scheme = url_part(upstream->url, CURLUPART_SCHEME);
    bool known = scheme && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    free(scheme);
    if (known && mark[3] == '/')
        return "has no host";
    return known ? NULL : "is neither http nor https";
}

/* Takes the URL apart. Returns NULL, or what went wrong. */
static const char *keep_url_parts(struct upstream *upstream)
{
    upstream->query = url_part(upstream->url, CURLUPART_QUERY);
    upstream->query_copy = upstream->query ? strdup(upstream->query) : NULL;
    upstream->fixed = malloc(sizeof *upstream->fixed);
    if (!upstream->query_copy || !upstream->fixed)
        return NO_MEMORY;
    form_parse(upstream->fixed, upstream->query_copy, strlen(upstream->query_copy));
    if (upstream->fixed->overflow) /* those beyond would not be protected from clients */
        return "has too many fields in its query";
    curl_url_set(upstream->url, CURLUPART_QUERY, NULL, 0);
    curl_url_set(upstream->url, CURLUPART_FRAGMENT, NULL, 0);
    CURLU *bare = curl_url_dup(upstream->url);
    if (!bare)
        return NO_MEMORY;
    curl_url_set(bare, CURLUPART_USER, NULL, 0);
    curl_url_set(bare, CURLUPART_PASSWORD, NULL, 0);
    curl_url_set(bare, CURLUPART_OPTIONS, NULL, 0);
    upstream->shown = url_part(bare, CURLUPART_URL);
    curl_url_cleanup(bare);
    return upstream->shown ? NULL : NO_MEMORY;
}

/* What of an option's value may be printed: not what may be a secret, before an '@' or behind a
 * '?'. Which is which is not sure if the value is wrong. */
static void show_url(char *out, size_t size, const char *given)
{
    const char *name;
    size_t name_len;
    const char *value = split_name(given, &name, &name_len);
    const char *at = strrchr(value, '@'), *query = strchr(value, '?');
    const char *from = at ? at + 1 : value;
    if (at && query && query < at)
        from = query;
    size_t scheme = strspn(value, "abcdefghijklmnopqrstuvwxyz");
    const char *secret = at && strncmp(value + scheme, "://", 3) == 0 ? value + scheme + 3 : value;
    int len = (int)strcspn(from, "?");
    snprintf(out, size, "%.*s%s%.*s%s", (int)(secret - given), given, at ? "...@" : "", len, from,
             from[len] ? "?..." : "");
    diag_printable(out);
}

static int complain_of_upstream(char *why, size_t why_size, const char *option, const char *given,
                                const char *what)
{
    char shown[128];
    show_url(shown, sizeof shown, given);
    snprintf(why, why_size, "--%s %s %s", option, shown, what);
    return -1;
}

static int add_upstream(struct upstreams *upstreams, const char *given, char *why, size_t why_size)
{
    static const char option[] = "upstream";
    const char *name;
    size_t name_len;
    const char *url = split_name(given, &name, &name_len);
    if (find_upstream(upstreams, name, name_len))
        return complain_of_upstream(why, why_size, option, given,
                                    "is the second of its name: give each a name, as in NAME=URL");
    struct upstream *upstream = &upstreams->items[upstreams->count++];
    const char *fault = parse_upstream_url(upstream, url);
    if (fault)
        return complain_of_upstream(why, why_size, option, given, fault);
    upstream->name = strndup(name, name_len);
    upstream->cursor_param = strdup("id");
    upstream->cursor_field = strdup("id");
    fault = upstream->name && upstream->cursor_param && upstream->cursor_field
                ? keep_url_parts(upstream)
                : NO_MEMORY;
    return fault ? complain_of_upstream(why, why_size, option, given, fault) : 0;
}

static const char *set_params(struct upstream *upstream, const char *list)
{
    if (upstream->params)
        return "says twice what may be added";
    if (strpbrk(list, " \t"))
        return "has a blank: names are separated by commas alone";
    upstream->params = strdup(list);
    return upstream->params ? NULL : NO_MEMORY;
}

static const char *set_channel(struct upstream *upstream, const char *channel)
{
    if (!upstream_name_valid(channel, strlen(channel)))
        return CHANNEL_NAME_RULE;
    if (upstream->channel)
        return "gives one upstream two channels";
    upstream->channel = strdup(channel);
    return upstream->channel ? NULL : NO_MEMORY;
}

static const char *set_cursor(struct upstream *upstream, const char *pair)
{
    if (!upstream->channel)
        return "is for an upstream that feeds no --upstream-channel";
    const char *colon = strchr(pair, ':');
    if (!colon || colon == pair || !colon[1])
        return "is not PARAMETER:FIELD, as in id:id";
    free(upstream->cursor_param);
    free(upstream->cursor_field);
    upstream->cursor_param = strndup(pair, (size_t)(colon - pair));
    upstream->cursor_field = strdup(colon + 1);
    return upstream->cursor_param && upstream->cursor_field ? NULL : NO_MEMORY;
}

/* A feed finds its place in its channel's newest message, so it shares the channel with no other.
 */
static const char *channel_twice(const struct upstreams *upstreams)
{
    for (size_t i = 0; i < upstreams->count; i++)
        for (size_t j = 0; j < i; j++)
            if (upstreams->items[i].channel && upstreams->items[j].channel &&
                strcmp(upstreams->items[i].channel, upstreams->items[j].channel) == 0)
                return upstreams->items[i].channel;
    return NULL;
}

/* Applies one of the options that say more about an upstream. */
static int refine_upstreams(struct upstreams *upstreams, const struct given *given,
                            const char *option,
                            const char *(*set)(struct upstream *upstream, const char *value),
                            char *why, size_t why_size)
{
    for (size_t i = 0; i < given->count; i++) {
        const char *name;
        size_t name_len;
        const char *value = split_name(given->texts[i], &name, &name_len);
        struct upstream *upstream = find_upstream(upstreams, name, name_len);
        const char *fault = upstream ? set(upstream, value)
                                     : "names no upstream: write NAME=VALUE with the NAME of "
                                       "an --upstream";
        if (fault)
            return complain_of_upstream(why, why_size, option, given->texts[i], fault);
    }
    return 0;
}

/* What is wrong with the proxy's URL, or NULL. libcurl's own default port is none that anybody
 * would guess; and with other kinds of SOCKS it would look up names itself. */
static const char *proxy_fault(const char *text)
{
    static const char *const schemes[] = {"http", "https", "socks5h"};
    CURLU *url = curl_url();
    char *scheme = NULL, *port = NULL;
    bool known = false;
    if (url && curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_PORT, &port, 0) == CURLUE_OK)
        for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
            known |= strcmp(scheme, schemes[i]) == 0;
    curl_free(scheme);
    curl_free(port);
    curl_url_cleanup(url);
    return known ? NULL : "is not http, https or socks5h with a port, as in http://proxy:3128";
}

/* libcurl reads the file only when it connects: a mistake is to be told at once. */
static int check_ca(const char *path, char *why, size_t why_size)
{
    char line[256];
    bool found = false;
    errno = 0;
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof line, file))
        found = strncmp(line, "-----BEGIN ", 11) == 0;
    if (!found)
        snprintf(why, why_size, "--upstream-ca %s: %s", path,
                 errno ? strerror(errno) : "there is no certificate in it (PEM)");
    if (file)
        fclose(file);
    return found ? 0 : -1;
}

/* Checks what all upstreams share. */
static int check_ca_and_proxy(const struct upstream_options *options, char *why, size_t why_size)
{
    const char *ca = options->ca, *proxy = options->proxy;
    const char *fault = proxy ? proxy_fault(proxy) : NULL;
    if (fault)
        return complain_of_upstream(why, why_size, "upstream-proxy", proxy, fault);
    return ca ? check_ca(ca, why, why_size) : 0;
}

int upstreams_open(struct upstreams *upstreams, const struct upstream_options *options, char *why,
                   size_t why_size)
{
    *upstreams = (struct upstreams){0};
    if (options->upstream->count > 0)
        upstreams->items = calloc(options->upstream->count, sizeof *upstreams->items);
    if (!upstreams->items && options->upstream->count > 0)
        return complain_of_upstream(why, why_size, "upstream", "", NO_MEMORY);
    for (size_t i = 0; i < options->upstream->count; i++)
        if (add_upstream(upstreams, options->upstream->texts[i], why, why_size) != 0)
            return -1;
    if (check_ca_and_proxy(options, why, why_size) != 0 ||
        refine_upstreams(upstreams, options->params, "upstream-params", set_params, why,
                         why_size) != 0 ||
        refine_upstreams(upstreams, options->channel, "upstream-channel", set_channel, why,
                         why_size) != 0)
        return -1;
    if (refine_upstreams(upstreams, options->cursor, "upstream-cursor", set_cursor, why,
                         why_size) != 0)
        return -1;
    const char *twice = channel_twice(upstreams);
    return twice ? complain_of_upstream(why, why_size, "upstream-channel", twice,
                                        "is fed by two upstreams")
                 : 0;
}

void upstreams_free(struct upstreams *upstreams)
{
    for (size_t i = 0; i < upstreams->count; i++) {
        struct upstream *upstream = &upstreams->items[i];
        curl_url_cleanup(upstream->url);
        free(upstream->name);
        free(upstream->shown);
        free(upstream->query);
        free(upstream->query_copy);
        free(upstream->fixed);
        free(upstream->params);
        free(upstream->channel);
        free(upstream->cursor_param);
        free(upstream->cursor_field);
    }
    free(upstreams->items);
    *upstreams = (struct upstreams){0};
}

/* ---- queries ---- */

/* Percent-encodes what a query's field cannot hold as it is (RFC 3986, 3.4): all but unreserved
 * characters, and those of its punctuation that no form gives a meaning (some part fields at a
 * semicolon). */
static void put_encoded(struct buf *out, struct text text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "-._~!*'(),:@/?$";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.bytes[i];
        if (memchr(plain, byte, sizeof plain - 1))
            buf_add(out, &text.bytes[i], 1);
        else
            buf_printf(out, "%%%02X", byte);
    }
}

static void put_query_field(struct buf *out, struct text name, struct text value)
{
    if (out->len > 0)
        buf_add(out, "&", 1);
    put_encoded(out, name);
    buf_add(out, "=", 1);
    put_encoded(out, value);
}

/* Whether the name is in a list whose elements are separated by commas. */
static bool is_param_listed(const char *list, struct text name)
{
    struct text rest = text_of(list), one;
    while (text_list_next(&rest, &one))
        if (text_equal(one, name))
            return true;
    return false;
}

static bool is_param_fixed(const struct upstream *upstream, struct text name)
{
    for (size_t i = 0; i < upstream->fixed->count; i++)
        if (text_equal(upstream->fixed->fields[i].name, name))
            return true;
    return false;
}

/* timeout is what the client tells the relay: clients with different patience ask the same. */
static bool may_param_pass(const struct upstream *upstream, struct text name)
{
    if (text_is(name, "upstream") || is_param_fixed(upstream, name))
        return false;
    return upstream->params ? is_param_listed(upstream->params, name) : !text_is(name, "timeout");
}

static const char *put_client_fields(const struct upstream *upstream, const struct form *form,
                                     struct buf *query)
{
    if (form->overflow)
        return "too many fields";
    for (size_t i = 0; i < form->count; i++) {
        struct text name = form->fields[i].name, value = form->fields[i].value;
        if (!may_param_pass(upstream, name))
            continue;
        if (memchr(name.bytes, '\0', name.len) || memchr(value.bytes, '\0', value.len))
            return "a field contains a NUL byte";
        put_query_field(query, name, value);
        if (query->len > UPSTREAM_QUERY_MAX)
            return "the query is too long to be passed on";
    }
    return NULL;
}

const char *upstream_query(const struct upstream *upstream, const struct request *request,
                           struct buf *query)
{
    buf_reset(query);
    buf_puts(query, upstream->query);
    const char *complaint = put_client_fields(upstream, &request->query, query);
    if (!complaint)
        complaint = put_client_fields(upstream, &request->form, query);
    buf_add(query, "", 1);
    return complaint;
}

void upstream_query_from(const struct upstream *upstream, const char *cursor, struct buf *query)
{
    struct text param = text_of(upstream->cursor_param);
    buf_reset(query);
    if (cursor && is_param_fixed(upstream, param)) {
        /* the operator said where to begin; from now on the cursor says it */
        for (size_t i = 0; i < upstream->fixed->count; i++) {
            const struct field *field = &upstream->fixed->fields[i];
            if (!text_is(field->name, upstream->cursor_param))
                put_query_field(query, field->name, field->value);
        }
    } else {
        buf_puts(query, upstream->query);
    }
    if (cursor)
        put_query_field(query, param, text_of(cursor));
    buf_add(query, "", 1);
}

char *upstream_url(const struct upstream *upstream, const char *query)
{
    CURLU *url = curl_url_dup(upstream->url);
    char *text = NULL;
    if (url && (!*query || curl_url_set(url, CURLUPART_QUERY, query, 0) == CURLUE_OK))
        curl_url_get(url, CURLUPART_URL, &text, 0);
    curl_url_cleanup(url);
    return text;
}

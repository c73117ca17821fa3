/* Any fields that a client sends to the relay: the upstream is asked for those that may pass, by
 * an address that is the operator's. */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/relay/upstream.h"
#include "tests/fuzz/fuzz.h"

static struct upstreams upstreams;

/* One that takes all, one that takes two fields, one with fields of the operator's. */
static void open_them(void)
{
    static const struct given given = {3,
                                       {"http://example.org/subscribe",
                                        "few=https://example.org:8443/a/b",
                                        "own=http://user:secret@example.org/s?key=k%26ey&seen=0"},
                                       NULL};
    static const struct given params = {1, {"few=seen,host"}, NULL};
    static const struct given channel = {1, {"own=news"}, NULL};
    static const struct given none = {0};
    const struct upstream_options options = {
        .upstream = &given, .params = &params, .channel = &channel, .cursor = &none};
    char why[512];
    CLAIM(upstreams_open(&upstreams, &options, why, sizeof why) == 0, "%s", why);
}

static void check_url(const struct upstream *upstream, const char *query)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PATH,
                                      CURLUPART_USER,   CURLUPART_PORT, CURLUPART_FRAGMENT};
    char *text = upstream_url(upstream, query);
    CLAIM(text, "no address for the query %s", query);
    for (const char *at = text; *at; at++)
        CLAIM(*at > ' ' && *at <= '~', "byte %d in %s", *at, text);
    CURLU *url = curl_url();
    CLAIM(curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK, "no address: %s", text);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char *own = NULL, *asked = NULL;
        curl_url_get(upstream->url, parts[i], &own, 0);
        curl_url_get(url, parts[i], &asked, 0);
        CLAIM((!own && !asked) || (own && asked && strcmp(own, asked) == 0), "%s asks another: %s",
              text, asked ? asked : "");
        curl_free(own);
        curl_free(asked);
    }
    curl_url_cleanup(url);
    curl_free(text);
}

/* Whether the field may pass to the upstream: said once more, in other words. */
static bool passes(const struct upstream *upstream, struct text name)
{
    if (text_is(name, "upstream"))
        return false;
    if (upstream == &upstreams.items[1])
        return text_is(name, "seen") || text_is(name, "host");
    if (upstream == &upstreams.items[2] && (text_is(name, "key") || text_is(name, "seen")))
        return false;
    return !text_is(name, "timeout");
}

static size_t expect_fields(const struct upstream *upstream, const struct form *given,
                            const struct form *asked, size_t at)
{
    for (size_t i = 0; i < given->count; i++) {
        const struct field *field = &given->fields[i];
        if (!passes(upstream, field->name))
            continue;
        CLAIM(at < asked->count, "a field was lost");
        const struct field *got = &asked->fields[at++];
        CLAIM(got->name.len == field->name.len && got->value.len == field->value.len &&
                  memcmp(got->name.bytes, field->name.bytes, got->name.len) == 0 &&
                  memcmp(got->value.bytes, field->value.bytes, got->value.len) == 0,
              "field %zu became another", i);
    }
    return at;
}

static void check(const struct upstream *upstream, const struct request *request)
{
    static struct form asked;
    struct buf query = {0};
    const char *complaint = upstream_query(upstream, request, &query);
    if (!complaint) {
        CLAIM(memchr(query.bytes, '\0', query.len) == query.bytes + query.len - 1,
              "the query does not end with its only NUL");
        check_url(upstream, query.bytes);
        form_parse(&asked, query.bytes, query.len - 1);
        size_t at = upstream == &upstreams.items[2] ? 2 : 0; /* the operator's are the first */
        at = expect_fields(upstream, &request->query, &asked, at);
        at = expect_fields(upstream, &request->form, &asked, at);
        CLAIM(at == asked.count, "%zu fields more than were given", asked.count - at);
    }
    buf_free(&query);
}

static void check_cursor(const struct upstream *upstream, const uint8_t *bytes, size_t len)
{
    static struct form asked;
    if (memchr(bytes, '\0', len) || len > 1024)
        return;
    char *cursor = fuzz_copy(bytes, len);
    struct buf query = {0};
    upstream_query_from(upstream, cursor, &query);
    check_url(upstream, query.bytes);
    form_parse(&asked, query.bytes, query.len - 1);
    struct text got = form_get(&asked, "id");
    CLAIM(got.bytes && got.len == len && memcmp(got.bytes, cursor, len) == 0, "another cursor");
    buf_free(&query);
    free(cursor);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct request request;
    if (!upstreams.items)
        open_them();
    const uint8_t *split = len > 0 ? memchr(bytes, '\n', len) : NULL;
    size_t query_len = split ? (size_t)(split - bytes) : len;
    size_t form_len = split ? len - query_len - 1 : 0;
    char *query = fuzz_copy(bytes, query_len);
    char *form = fuzz_copy(split ? split + 1 : bytes, form_len);
    form_parse(&request.query, query, query_len);
    form_parse(&request.form, form, form_len);
    for (size_t i = 0; i < upstreams.count; i++)
        check(&upstreams.items[i], &request);
    if (len > 0)
        check_cursor(&upstreams.items[len % 3], bytes, len);
    free(query);
    free(form);
    return 0;
}

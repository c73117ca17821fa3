/* Upstreams: what the operator may write, and that no client's field changes whom is asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fcgi/options.h"
#include "fcgi/relay/upstream.h"

static struct upstreams upstreams;
static struct options options;
static struct request request;
static struct buf query;
static char why[512];

static int set_up(void **state)
{
    upstreams = (struct upstreams){0};
    options = (struct options){0};
    return 0;
}

static int tear_down(void **state)
{
    upstreams_free(&upstreams);
    buf_free(&query);
    return 0;
}

/* ---- the configuration ---- */

static void give(struct given *given, const char *text)
{
    given->texts[given->count++] = text;
}

static int open_upstreams(void)
{
    const struct upstream_options given = {.upstream = &options.upstream,
                                           .params = &options.upstream_params,
                                           .channel = &options.upstream_channel,
                                           .cursor = &options.upstream_cursor,
                                           .ca = options.upstream_ca,
                                           .proxy = options.upstream_proxy};
    return upstreams_open(&upstreams, &given, why, sizeof why);
}

static void open_them(void)
{
    upstreams_free(&upstreams);
    if (open_upstreams() != 0)
        fail_msg("refused: %s", why);
}

static const struct upstream *named(const char *name)
{
    return upstreams_find(&upstreams, (struct text){name, name ? strlen(name) : 0});
}

/* One upstream, of this URL. */
static const struct upstream *open_one(const char *url)
{
    options = (struct options){0};
    give(&options.upstream, url);
    open_them();
    assert_int_equal(upstreams.count, 1);
    return &upstreams.items[0];
}

static void none_is_fine(void **state)
{
    open_them();
    assert_int_equal(upstreams.count, 0);
    assert_null(named(NULL));
    assert_null(named("default"));
}

static void an_upstream_is_a_url_with_a_name_or_the_default(void **state)
{
    static const struct {
        const char *given, *name, *shown, *query;
    } cases[] = {
        {"http://a.example", "default", "http://a.example/", ""},
        {"https://a.example/subscribe", "default", "https://a.example/subscribe", ""},
        {"HTTP://a.example:81/x/y/", "default", "http://a.example:81/x/y/", ""},
        {"one=http://a.example/x", "one", "http://a.example/x", ""},
        {"A.b_c-9=http://a.example/x", "A.b_c-9", "http://a.example/x", ""},
        {"http://a.example/x?token=7&b", "default", "http://a.example/x", "token=7&b"},
        {"one=http://a.example/x?a=b=c", "one", "http://a.example/x", "a=b=c"},
        {"http://a.example/?", "default", "http://a.example/", ""},
        {"http://a.example/x#part", "default", "http://a.example/x", ""},
        {"http://u:secret@a.example/x?y", "default", "http://a.example/x", "y"},
        {"http://user@[::1]:8080/", "default", "http://[::1]:8080/", ""},
        {"http://127.0.0.1:65535/a=b", "default", "http://127.0.0.1:65535/a=b", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct upstream *upstream = open_one(cases[i].given);
        assert_string_equal(upstream->name, cases[i].name);
        assert_string_equal(upstream->shown, cases[i].shown);
        assert_string_equal(upstream->query, cases[i].query);
        assert_null(upstream->params);
        assert_null(upstream->channel);
        assert_string_equal(upstream->cursor_param, "id");
        assert_string_equal(upstream->cursor_field, "id");
        assert_ptr_equal(named(cases[i].name), upstream);
    }
}

static void several_are_told_apart_by_name(void **state)
{
    give(&options.upstream, "one=http://a.example/1");
    give(&options.upstream, "http://a.example/2");
    give(&options.upstream, "One=http://a.example/3");
    open_them();
    assert_string_equal(named("one")->shown, "http://a.example/1");
    assert_string_equal(named(NULL)->shown, "http://a.example/2");
    assert_string_equal(named("default")->shown, "http://a.example/2");
    assert_string_equal(named("One")->shown, "http://a.example/3");
    assert_null(named("on"));
    assert_null(named("ones"));
    assert_null(named(""));
    assert_null(upstreams_find(&upstreams, (struct text){"one\0", 4}));
}

static void without_a_default_who_names_none_has_none(void **state)
{
    give(&options.upstream, "one=http://a.example/1");
    open_them();
    assert_null(named(NULL));
}

static void each_is_refined_by_its_name(void **state)
{
    give(&options.upstream, "one=http://a.example/1");
    give(&options.upstream, "http://a.example/2");
    give(&options.upstream, "three=http://a.example/3");
    give(&options.upstream_params, "a,b");
    give(&options.upstream_params, "one=");
    give(&options.upstream_channel, "three=news");
    give(&options.upstream_channel, "main");
    give(&options.upstream_cursor, "three=since:last.id");
    give(&options.upstream_cursor, "a:b:c");
    open_them();
    assert_string_equal(named("one")->params, "");
    assert_string_equal(named(NULL)->params, "a,b");
    assert_null(named("three")->params);
    assert_string_equal(named("three")->channel, "news");
    assert_string_equal(named(NULL)->channel, "main");
    assert_null(named("one")->channel);
    assert_string_equal(named("three")->cursor_param, "since");
    assert_string_equal(named("three")->cursor_field, "last.id");
    assert_string_equal(named(NULL)->cursor_param, "a");
    assert_string_equal(named(NULL)->cursor_field, "b:c");
    assert_string_equal(named("one")->cursor_param, "id");
}

static void what_is_wrong_is_refused_in_one_line(void **state)
{
    static const struct {
        const char *upstream, *params, *channel, *cursor, *said;
    } cases[] = {
        {"a.example", NULL, NULL, NULL, "needs a URL"},
        {"a.example/subscribe", NULL, NULL, NULL, "needs a URL"},
        {"//a.example/", NULL, NULL, NULL, "needs a URL"},
        {"/subscribe", NULL, NULL, NULL, "needs a URL"},
        {"http://", NULL, NULL, NULL, "needs a URL"},
        {"http:/a.example/", NULL, NULL, NULL, "needs a URL"},
        {"photos:http://a.example/", NULL, NULL, NULL, "needs a URL"},
        {"http://a.example:x/", NULL, NULL, NULL, "no port"},
        {"http://a.example:65536/", NULL, NULL, NULL, "no port"},
        {"http://a_b!.exa^mple/", NULL, NULL, NULL, "no host"},
        {"http://a.example:/x:y@", NULL, NULL, NULL, NULL}, /* an empty port is the default */
        {"http://a b/", NULL, NULL, NULL, "a blank"},
        {"http://a.example/x y", NULL, NULL, NULL, "a blank"},
        {"http://a.example/\r\nX: y", NULL, NULL, NULL, "a blank"},
        {"http://a.example/\x7f", NULL, NULL, NULL, "not ASCII"},
        {"http://\xc3\xa9.example/", NULL, NULL, NULL, "not ASCII"},
        {"ftp://a.example/", NULL, NULL, NULL, "neither http nor https"},
        {"file:///etc/passwd", NULL, NULL, NULL, "neither http nor https"},
        {"gopher://a.example/", NULL, NULL, NULL, "neither http nor https"},
        {"httpx://a.example/", NULL, NULL, NULL, "neither http nor https"},
        {"one=", NULL, NULL, NULL, "needs a URL"},
        {"o/ne=http://a.example/", NULL, NULL, NULL, "needs a URL"},
        {"=http://a.example/", NULL, NULL, NULL, "needs a URL"},
        {"one=two=http://a.example/", NULL, NULL, NULL, "needs a URL"},
        {"one=http://a.example/", "a,b", NULL, NULL, "names no upstream"},
        {"one=http://a.example/", "two=a,b", NULL, NULL, "names no upstream"},
        {"one=http://a.example/", "One=a,b", NULL, NULL, "names no upstream"},
        {"http://a.example/", "a, b", NULL, NULL, "has a blank"},
        {"http://a.example/", "a,\tb", NULL, NULL, "has a blank"},
        {"http://a.example/", NULL, "one=news", NULL, "names no upstream"},
        {"http://a.example/", NULL, "a/b", NULL, "--upstream-channel"},
        {"http://a.example/", NULL, "default=", NULL, "--upstream-channel"},
        {"http://a.example/", NULL, "news", "id", "PARAMETER:FIELD"},
        {"http://a.example/", NULL, "news", "id:", "PARAMETER:FIELD"},
        {"http://a.example/", NULL, "news", ":id", "PARAMETER:FIELD"},
        {"http://a.example/", NULL, "news", "default=", "PARAMETER:FIELD"},
        {"http://a.example/", NULL, NULL, "id:id", "feeds no --upstream-channel"},
        {"http://a.example/", NULL, NULL, "one=id:id", "names no upstream"},
        {NULL, "a", NULL, NULL, "names no upstream"},
        {NULL, NULL, "news", NULL, "names no upstream"},
        {NULL, NULL, NULL, "id:id", "names no upstream"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        options = (struct options){0};
        if (cases[i].upstream)
            give(&options.upstream, cases[i].upstream);
        if (cases[i].params)
            give(&options.upstream_params, cases[i].params);
        if (cases[i].channel)
            give(&options.upstream_channel, cases[i].channel);
        if (cases[i].cursor)
            give(&options.upstream_cursor, cases[i].cursor);
        *why = '\0';
        int rc = open_upstreams();
        upstreams_free(&upstreams);
        if ((rc == 0) != (cases[i].said == NULL))
            fail_msg("%s: %d %s", cases[i].upstream ? cases[i].upstream : "-", rc, why);
        if (rc != 0 && (!strstr(why, cases[i].said) || strpbrk(why, "\r\n")))
            fail_msg("%s: %s", cases[i].upstream ? cases[i].upstream : "-", why);
    }
}

/* Those that do not fit would not be protected from clients. */
static void too_many_fields_of_the_operator_s_are_refused(void **state)
{
    char url[32 + 2 * FORM_FIELDS_MAX] = "http://a.example/?";
    for (size_t i = 0; i < FORM_FIELDS_MAX; i++)
        strcat(url, "a&");
    open_one(url);
    upstreams_free(&upstreams);
    options = (struct options){0};
    strcat(url, "a");
    give(&options.upstream, url);
    assert_int_equal(open_upstreams(), -1);
    assert_non_null(strstr(why, "too many fields"));
}

static void two_of_one_name_are_refused(void **state)
{
    static const char *const pairs[][2] = {
        {"http://a.example/1", "http://a.example/2"},
        {"one=http://a.example/1", "one=http://a.example/2"},
        {"http://a.example/1", "default=http://a.example/2"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        options = (struct options){0};
        give(&options.upstream, pairs[i][0]);
        give(&options.upstream, pairs[i][1]);
        assert_int_equal(open_upstreams(), -1);
        assert_non_null(strstr(why, "second of its name"));
        upstreams_free(&upstreams);
    }
}

static void nothing_is_said_twice(void **state)
{
    static const struct {
        const char *params[2], *channels[2], *said;
    } cases[] = {
        {{"one=a", "one=b"}, {0}, "twice"},
        {{"one=", "one="}, {0}, "twice"},
        {{0}, {"one=a", "one=b"}, "two channels"},
        /* a feed finds its place in its channel's newest message */
        {{0}, {"one=a", "two=a"}, "by two upstreams"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        options = (struct options){0};
        give(&options.upstream, "one=http://a.example/1");
        give(&options.upstream, "two=http://a.example/2");
        for (size_t j = 0; j < 2; j++) {
            if (cases[i].params[j])
                give(&options.upstream_params, cases[i].params[j]);
            if (cases[i].channels[j])
                give(&options.upstream_channel, cases[i].channels[j]);
        }
        assert_int_equal(open_upstreams(), -1);
        if (!strstr(why, cases[i].said))
            fail_msg("%s", why);
        upstreams_free(&upstreams);
    }
}

static void a_proxy_has_a_scheme_and_a_port(void **state)
{
    static const struct {
        const char *proxy;
        bool good;
    } cases[] = {
        {"http://proxy:3128", true},
        {"https://user:secret@proxy:3129/", true},
        {"socks5h://[::1]:1080", true},
        {"http://proxy", false},
        {"proxy:3128", false},
        {"socks5://proxy:1080", false},
        {"socks4a://proxy:1080", false},
        {"ftp://proxy:21", false},
        {"http://user:secret@:3128", false},
        {"http://user:secret@proxy:port", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        options = (struct options){.upstream_proxy = cases[i].proxy};
        give(&options.upstream, "http://a.example/");
        bool good = open_upstreams() == 0;
        upstreams_free(&upstreams);
        if (good != cases[i].good || (!good && strstr(why, "secret")))
            fail_msg("%s: %s", cases[i].proxy, good ? "taken" : why);
    }
}

/* libcurl would say so only when it connects. */
static void certificates_must_be_some(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"", "no certificate"},
        {"root:x:0:0:root:/root:/bin/sh\n", "no certificate"},
        {"x -----BEGIN CERTIFICATE-----\n", "no certificate"},
        {"-----BEGIN CERTIFICATE-----\n", NULL},
        {"# Some CA\n\n-----BEGIN TRUSTED CERTIFICATE-----\r\n", NULL},
    };
    char path[] = "/tmp/encke-upstream-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    options.upstream_ca = path;
    give(&options.upstream, "https://a.example/");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t len = strlen(cases[i].text);
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, cases[i].text, len, 0), len);
        int rc = open_upstreams();
        upstreams_free(&upstreams);
        if ((rc == 0) != (cases[i].said == NULL) || (rc != 0 && !strstr(why, cases[i].said)))
            fail_msg("%s: %s", cases[i].text, rc == 0 ? "taken" : why);
    }
    close(fd);
    unlink(path);
}

static void certificates_must_be_readable(void **state)
{
    static const char *const paths[][2] = {
        {"/nowhere/ca.pem", "No such file"},
        {"/tmp", "directory"},
        {"/dev/null", "no certificate"},
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        options = (struct options){.upstream_ca = paths[i][0]};
        give(&options.upstream, "https://a.example/");
        assert_int_equal(open_upstreams(), -1);
        if (!strstr(why, paths[i][0]) || !strstr(why, paths[i][1]))
            fail_msg("%s", why);
        upstreams_free(&upstreams);
    }
}

static void names_have_64_bytes_at_most(void **state)
{
    char given[128];
    snprintf(given, sizeof given, "%064d=http://a.example/", 0);
    assert_int_equal(strlen(open_one(given)->name), UPSTREAM_NAME_MAX);
    upstreams_free(&upstreams);
    options = (struct options){0};
    snprintf(given, sizeof given, "%065d=http://a.example/", 0);
    give(&options.upstream, given);
    assert_int_equal(open_upstreams(), -1);
}

static void a_complaint_tells_no_secret(void **state)
{
    static const char *const urls[] = {
        "ftp://user:hunter2@a.example/",         "one=ftp://user:hunter2@a.example/",
        "ftp://a.example/?token=hunter2",        "http://user:hunter2@:80/",
        "http://a.example:port/?token=hunter2",  "http://user:hunter2 @a.example/",
        "one=user:hunter2@a.example/",           "http://user:hunter2@a.example:99999/",
        "http:user:hunter2@a.example/?hunter2 ", "http://user:hun/hunter2@a.example/",
        "http://user:hun?hunter2@a.example/",    "one=user:hunter2@a/?u=http://y",
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        options = (struct options){0};
        give(&options.upstream, urls[i]);
        assert_int_equal(open_upstreams(), -1);
        if (strstr(why, "hunter2"))
            fail_msg("%s", why);
        upstreams_free(&upstreams);
    }
}

/* Of many lines in a file, which is wrong? */
static void a_complaint_shows_what_it_is_about(void **state)
{
    static const char *const cases[][2] = {
        {"one=ftp://a.example:21/x", "one=ftp://a.example:21/x "},
        {"ftp://user:secret@a.example/x", "ftp://...@a.example/x "},
        {"ftp://a.example/x?token=secret", "ftp://a.example/x?... "},
        {"one=ftp://u:p@[::1]:21/x?t", "one=ftp://...@[::1]:21/x?... "},
        {"http://a.example:99999/x", "http://a.example:99999/x "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        options = (struct options){0};
        give(&options.upstream, cases[i][0]);
        assert_int_equal(open_upstreams(), -1);
        if (!strstr(why, cases[i][1]))
            fail_msg("%s", why);
        upstreams_free(&upstreams);
    }
}

/* ---- the query ---- */

/* Takes apart a copy that lives until the next one. */
static void fill(struct form *form, char *room, size_t room_size, const char *text)
{
    size_t len = strlen(text);
    assert_true(len < room_size);
    memcpy(room, text, len + 1);
    form_parse(form, room, len);
}

/* What upstream is asked when a client sends these; or what is wrong with them. */
static const char *ask(const struct upstream *upstream, const char *in_query, const char *in_form)
{
    static char rooms[2][1 << 16];
    fill(&request.query, rooms[0], sizeof rooms[0], in_query);
    fill(&request.form, rooms[1], sizeof rooms[1], in_form ? in_form : "");
    const char *complaint = upstream_query(upstream, &request, &query);
    assert_true(buf_ok(&query));
    return complaint ? complaint : query.bytes;
}

static void fields_pass_in_their_order(void **state)
{
    const struct upstream *upstream = open_one("http://a.example/x");
    assert_string_equal(ask(upstream, "", NULL), "");
    assert_string_equal(ask(upstream, "b=2&a=1&b=3", NULL), "b=2&a=1&b=3");
    assert_string_equal(ask(upstream, "a=1", "c=3&a=2"), "a=1&c=3&a=2");
    assert_string_equal(ask(upstream, "&&a&=b&&", NULL), "a=&=b");
    upstream = open_one("http://a.example/x?own=1&bare");
    assert_string_equal(ask(upstream, "", NULL), "own=1&bare");
    assert_string_equal(ask(upstream, "a=1", NULL), "own=1&bare&a=1");
}

static void fields_are_encoded_anew(void **state)
{
    static const char *const cases[][2] = {
        {"a=b+c", "a=b%20c"},
        {"%61=%62", "a=b"},
        {"a=%2B%26%3d%23%25", "a=%2B%26%3D%23%25"},
        {"a=%0d%0aX:%20y", "a=%0D%0AX:%20y"},
        {"a=b c\"<>\\^`{|}[]", "a=b%20c%22%3C%3E%5C%5E%60%7B%7C%7D%5B%5D"},
        {"a=-._~!*'(),:@/?$", "a=-._~!*'(),:@/?$"},
        {"a=\xc3\xa9%C3%A9%ff", "a=%C3%A9%C3%A9%FF"},
        {"a==b=c", "a=%3Db%3Dc"},
        {"a%3Db=c", "a%3Db=c"},
        {"a=%zz%4", "a=%25zz%254"},
        {"a=http://b.example/?c#d", "a=http://b.example/?c%23d"},
        {"@b.example:80/=1", "@b.example:80/=1"},
    };
    const struct upstream *upstream = open_one("http://a.example/x");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(ask(upstream, cases[i][0], NULL), cases[i][1]);
}

static void the_operator_s_fields_win(void **state)
{
    const struct upstream *upstream = open_one("http://a.example/x?token=7&a%20b=1&c=&d");
    static const char own[] = "token=7&a%20b=1&c=&d";
    assert_string_equal(ask(upstream, "token=8&token", "token=9"), own);
    assert_string_equal(ask(upstream, "t%6fken=8&a+b=2&c=3&d=4", NULL), own);
    assert_string_equal(ask(upstream, "Token=8&token2=9&oken=1", NULL),
                        "token=7&a%20b=1&c=&d&Token=8&token2=9&oken=1");
}

/* Some upstreams part fields at a semicolon too: one field must not become two of them. */
static void no_field_hides_another(void **state)
{
    const struct upstream *upstream = open_one("http://a.example/x?token=7");
    assert_string_equal(ask(upstream, "x;token=8", NULL), "token=7&x%3Btoken=8");
    assert_string_equal(ask(upstream, "x=1%3Btoken=8", NULL), "token=7&x=1%3Btoken%3D8");
}

static void only_what_is_listed_passes(void **state)
{
    options = (struct options){0};
    give(&options.upstream, "http://a.example/x?own=1");
    give(&options.upstream, "none=http://a.example/x");
    give(&options.upstream_params, "a,own,,c.c");
    give(&options.upstream_params, "none=");
    open_them();
    assert_string_equal(ask(named(NULL), "a=1&b=2&own=3&c%2ec=4&aa=5&A=6", "a=7&,=8"),
                        "own=1&a=1&c.c=4&a=7");
    assert_string_equal(ask(named("none"), "a=1&b", "c=2"), "");
}

static void the_choice_of_an_upstream_goes_no_further(void **state)
{
    const struct upstream *upstream = open_one("http://a.example/x");
    assert_string_equal(ask(upstream, "upstream=default&a=1&%75pstream", "upstream="), "a=1");
    options = (struct options){0};
    give(&options.upstream, "http://a.example/x?upstream=theirs");
    give(&options.upstream_params, "upstream,a");
    open_them();
    assert_string_equal(ask(named(NULL), "upstream=default&a=1", NULL), "upstream=theirs&a=1");
}

static void nuls_are_refused(void **state)
{
    const struct upstream *upstream = open_one("http://a.example/x?own=1");
    assert_non_null(strstr(ask(upstream, "a=%00", NULL), "NUL"));
    assert_non_null(strstr(ask(upstream, "a%00b=1", NULL), "NUL"));
    assert_non_null(strstr(ask(upstream, "a=1", "b=c%00"), "NUL"));
    assert_non_null(strstr(ask(upstream, "own%00=1", NULL), "NUL"));
    assert_non_null(strstr(ask(upstream, "upstream%00=1", NULL), "NUL"));
}

static void a_query_has_8_kib_at_most(void **state)
{
    static char text[3 * UPSTREAM_QUERY_MAX];
    const struct upstream *upstream = open_one("http://a.example/x?own=1");
    int room = UPSTREAM_QUERY_MAX - (int)strlen("own=1&a=");
    snprintf(text, sizeof text, "a=%0*d", room, 0);
    assert_int_equal(strlen(ask(upstream, text, NULL)), UPSTREAM_QUERY_MAX);
    snprintf(text, sizeof text, "a=%0*d", room + 1, 0);
    assert_non_null(strstr(ask(upstream, text, NULL), "too long"));
    snprintf(text, sizeof text, "a=%0*d", room - 2, 0); /* one that grows to three */
    text[3] = '+';
    assert_int_equal(strlen(ask(upstream, text, NULL)), UPSTREAM_QUERY_MAX);
    text[4] = '+';
    assert_non_null(strstr(ask(upstream, text, NULL), "too long"));
    snprintf(text, sizeof text, "b=%0*d", room, 0);
    assert_non_null(strstr(ask(upstream, "a=1", text), "too long"));
}

static void too_many_fields_are_refused(void **state)
{
    static char text[4 * FORM_FIELDS_MAX];
    const struct upstream *upstream = open_one("http://a.example/x");
    for (size_t i = 0; i < FORM_FIELDS_MAX; i++)
        memcpy(text + 2 * i, "a&", 3);
    assert_int_equal(strlen(ask(upstream, text, NULL)), 3 * FORM_FIELDS_MAX - 1);
    strcat(text, "a");
    assert_non_null(strstr(ask(upstream, text, NULL), "too many"));
}

static void the_feed_goes_on_from_its_cursor(void **state)
{
    static const struct {
        const char *url, *cursor, *query;
    } cases[] = {
        {"http://a.example/x", NULL, ""},
        {"http://a.example/x", "ab-1", "since=ab-1"},
        {"http://a.example/x?token=7", NULL, "token=7"},
        {"http://a.example/x?token=7", "", "token=7&since="},
        {"http://a.example/x?token=7", "a&b=c#d\r\n\xff", "token=7&since=a%26b%3Dc%23d%0D%0A%FF"},
        /* the operator says where to begin, the cursor how to go on */
        {"http://a.example/x?a=+%26&since=now&b=2", NULL, "a=+%26&since=now&b=2"},
        {"http://a.example/x?a=+%26&since=now&b=2", "9", "a=%20%26&b=2&since=9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        options = (struct options){0};
        give(&options.upstream, cases[i].url);
        give(&options.upstream_channel, "news");
        give(&options.upstream_cursor, "since:last");
        open_them();
        upstream_query_from(named(NULL), cases[i].cursor, &query);
        assert_true(buf_ok(&query));
        assert_string_equal(query.bytes, cases[i].query);
    }
}

static void who_asks_what_the_feed_asks_asks_the_same(void **state)
{
    const struct upstream *upstream = open_one("http://a.example/x?token=7");
    char feed[64];
    upstream_query_from(upstream, "ab-1", &query);
    snprintf(feed, sizeof feed, "%s", query.bytes);
    assert_string_equal(ask(upstream, "id=ab-1", NULL), feed);
}

/* ---- the URL ---- */

static void a_url_is_the_operator_s_with_the_query(void **state)
{
    static const char *const cases[][3] = {
        {"http://a.example/x", "", "http://a.example/x"},
        {"http://u:p@a.example:81/x/?own=1#part", "own=1&a=%26",
         "http://u:p@a.example:81/x/?own=1&a=%26"},
        {"https://a.example", "a=1", "https://a.example/?a=1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *url = upstream_url(open_one(cases[i][0]), cases[i][1]);
        assert_string_equal(url, cases[i][2]);
        curl_free(url);
    }
}

static void expect_part(CURLU *url, CURLUPart part, const char *expected)
{
    char *text = NULL;
    CURLUcode code = curl_url_get(url, part, &text, 0);
    if (expected)
        assert_string_equal(text, expected);
    else
        assert_int_not_equal(code, CURLUE_OK);
    curl_free(text);
}

/* Random fields out of the bytes that mean something in URLs and requests. */
static void random_fields(char *text, size_t size)
{
    static const char *const pieces[] = {
        "a",   "b",   "token", "upstream", "=",    "=",   "=",    "&",    "&",     "&",
        "?",   "#",   "/",     "//",       ":",    "@",   "..",   "%",    "%00",   "%0d%0a",
        "%26", "%3D", "%23",   "%2f",      "%3f",  "%40", "\r\n", "http", "https", "://",
        " ",   "+",   ";",     "\\",       "[",    "]",   "|",    "\xff", "é",     "evil.example",
        "%ff", "%7f", "\x01",  ":99",      "Host:"};
    size_t len = 0;
    text[0] = '\0';
    for (int n = rand() % 40; n > 0; n--) {
        const char *piece = pieces[(size_t)rand() % (sizeof pieces / sizeof *pieces)];
        if (len + strlen(piece) + 1 > size)
            return;
        len += (size_t)snprintf(text + len, size - len, "%s", piece);
    }
}

/* Whether the form's fields from `from` on are those of the request that may pass, in their order,
 * and nothing else. */
static void expect_passed(const struct form *sent, size_t from)
{
    const struct form *forms[] = {&request.query, &request.form};
    for (size_t f = 0; f < 2; f++) {
        for (size_t i = 0; i < forms[f]->count; i++) {
            const struct field *field = &forms[f]->fields[i];
            if (text_is(field->name, "token") || text_is(field->name, "upstream"))
                continue;
            assert_true(from < sent->count);
            const struct field *got = &sent->fields[from++];
            assert_int_equal(got->name.len, field->name.len);
            assert_memory_equal(got->name.bytes, field->name.bytes, field->name.len);
            assert_int_equal(got->value.len, field->value.len);
            assert_memory_equal(got->value.bytes, field->value.bytes, field->value.len);
        }
    }
    assert_int_equal(from, sent->count);
}

static void no_client_changes_whom_is_asked(void **state)
{
    static struct form sent;
    const struct upstream *upstream = open_one("https://u:p@a.example:8443/x/y?token=7");
    unsigned asked = 0;
    srand(4);
    for (int round = 0; round < 20000; round++) {
        char in_query[256], in_form[256];
        random_fields(in_query, sizeof in_query);
        random_fields(in_form, sizeof in_form);
        const char *answer = ask(upstream, in_query, in_form);
        if (answer != query.bytes) { /* a NUL */
            assert_non_null(strstr(answer, "NUL"));
            continue;
        }
        asked++;
        char *text = upstream_url(upstream, query.bytes);
        assert_non_null(text);
        for (const char *c = text; *c; c++)
            if (*c <= ' ' || *c >= 0x7f || *c == '#')
                fail_msg("%s", text);
        CURLU *url = curl_url();
        assert_int_equal(curl_url_set(url, CURLUPART_URL, text, 0), CURLUE_OK);
        expect_part(url, CURLUPART_SCHEME, "https");
        expect_part(url, CURLUPART_HOST, "a.example");
        expect_part(url, CURLUPART_PORT, "8443");
        expect_part(url, CURLUPART_PATH, "/x/y");
        expect_part(url, CURLUPART_USER, "u");
        expect_part(url, CURLUPART_PASSWORD, "p");
        expect_part(url, CURLUPART_FRAGMENT, NULL);
        curl_url_cleanup(url);

        char *mark = strchr(text, '?');
        assert_int_equal(mark - text, strlen("https://u:p@a.example:8443/x/y"));
        form_parse(&sent, mark + 1, strlen(mark + 1));
        assert_true(sent.count >= 1);
        assert_true(text_is(sent.fields[0].name, "token"));
        assert_true(text_is(sent.fields[0].value, "7"));
        expect_passed(&sent, 1);
        curl_free(text);
    }
    assert_true(asked > 5000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(none_is_fine),
        TEST(an_upstream_is_a_url_with_a_name_or_the_default),
        TEST(several_are_told_apart_by_name),
        TEST(without_a_default_who_names_none_has_none),
        TEST(each_is_refined_by_its_name),
        TEST(what_is_wrong_is_refused_in_one_line),
        TEST(too_many_fields_of_the_operator_s_are_refused),
        TEST(two_of_one_name_are_refused),
        TEST(nothing_is_said_twice),
        TEST(a_proxy_has_a_scheme_and_a_port),
        TEST(certificates_must_be_readable),
        TEST(certificates_must_be_some),
        TEST(names_have_64_bytes_at_most),
        TEST(a_complaint_tells_no_secret),
        TEST(a_complaint_shows_what_it_is_about),
        TEST(fields_pass_in_their_order),
        TEST(fields_are_encoded_anew),
        TEST(the_operator_s_fields_win),
        TEST(no_field_hides_another),
        TEST(only_what_is_listed_passes),
        TEST(the_choice_of_an_upstream_goes_no_further),
        TEST(nuls_are_refused),
        TEST(a_query_has_8_kib_at_most),
        TEST(too_many_fields_are_refused),
        TEST(the_feed_goes_on_from_its_cursor),
        TEST(who_asks_what_the_feed_asks_asks_the_same),
        TEST(a_url_is_the_operator_s_with_the_query),
        TEST(no_client_changes_whom_is_asked),
    };
    return cmocka_run_group_tests_name("upstream", tests, NULL, NULL);
}

/* The handshake: any bytes, in any portions, and only what RFC 6455 calls one opens a WebSocket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/wire/handshake.h"

static struct handshaker *handshaker;

static int set_up(void **state)
{
    handshaker = handshaker_new(NULL, NULL);
    return handshaker ? 0 : -1;
}

static int tear_down(void **state)
{
    handshaker_free(handshaker);
    return 0;
}

/* Scans a copy that ends where its memory ends, so that a read beyond it is noticed. */
static enum handshake_verdict scan_part(const char *bytes, size_t seen, size_t len,
                                        struct handshake *handshake)
{
    uint8_t *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, len);
    enum handshake_verdict verdict = handshake_scan(handshaker, exact, seen, len, handshake);
    free(exact);
    return verdict;
}

static enum handshake_verdict scan(const char *text, struct handshake *handshake)
{
    return scan_part(text, 0, strlen(text), handshake);
}

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define HOST "Host: server.example.com\r\n"
#define GET "GET /comet/websocket HTTP/1.1\r\n"
#define REST HOST UPGRADE KEY VERSION
#define WHOLE GET REST "\r\n"

static void expect_done(const char *text)
{
    struct handshake handshake;
    enum handshake_verdict verdict = scan(text, &handshake);
    if (verdict != HANDSHAKE_DONE)
        fail_msg("verdict %d, %d %s, for:\n%s", verdict, handshake.status,
                 handshake.why ? handshake.why : "", text);
}

static void expect_refused(const char *text, int status, const char *why)
{
    struct handshake handshake;
    enum handshake_verdict verdict = scan(text, &handshake);
    if (verdict != HANDSHAKE_REFUSED || handshake.status != status || !strstr(handshake.why, why))
        fail_msg("verdict %d, %d %s, for:\n%s", verdict, handshake.status,
                 handshake.why ? handshake.why : "", text);
}

static void the_example_of_the_rfc_is_answered_as_there(void **state)
{
    struct handshake handshake;
    struct buf out = {0};
    assert_int_equal(scan(WHOLE, &handshake), HANDSHAKE_DONE);
    assert_string_equal(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    handshake_put_accept(&out, &handshake);
    buf_add(&out, "", 1);
    assert_string_equal(out.bytes, "HTTP/1.1 101 Switching Protocols\r\n"
                                   "Upgrade: websocket\r\n"
                                   "Connection: Upgrade\r\n"
                                   "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    buf_free(&out);
}

static void the_first_subprotocol_that_is_offered_is_accepted(void **state)
{
    static const char *const cases[][2] = {
        {"Sec-WebSocket-Protocol: chat\r\n", "chat"},
        {"sec-websocket-protocol:  chat , superchat\r\n", "chat"},
        {"Sec-WebSocket-Protocol: ,, \r\nSec-WebSocket-Protocol: v1.x\r\n"
         "Sec-WebSocket-Protocol: b\r\n",
         "v1.x"},
        {"Sec-WebSocket-Protocol: \r\n", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct handshake handshake;
        struct buf out = {0};
        char text[512], line[64] = "";
        snprintf(text, sizeof text, GET "%s" REST "\r\n", cases[i][0]);
        assert_int_equal(scan(text, &handshake), HANDSHAKE_DONE);
        handshake_put_accept(&out, &handshake);
        buf_add(&out, "", 1);
        if (cases[i][1])
            snprintf(line, sizeof line, "\r\nSec-WebSocket-Protocol: %s\r\n\r\n", cases[i][1]);
        assert_int_equal(strstr(out.bytes, "Sec-WebSocket-Protocol") != NULL, *line != '\0');
        assert_non_null(strstr(out.bytes, line));
        buf_free(&out);
    }
    expect_refused(GET "Sec-WebSocket-Protocol: a b\r\n" REST "\r\n", 400, "list of names");
    expect_refused(GET "Sec-WebSocket-Protocol: a:b, c\r\n" REST "\r\n", 400, "list of names");
    char longest[1024];
    snprintf(longest, sizeof longest, GET "Sec-WebSocket-Protocol: %0*d\r\n" REST "\r\n", 255, 0);
    expect_done(longest);
    snprintf(longest, sizeof longest, GET "Sec-WebSocket-Protocol: %0*d\r\n" REST "\r\n", 256, 0);
    expect_refused(longest, 400, "255");
}

static void it_brings_a_request_like_any_endpoint_s(void **state)
{
    struct handshake handshake;
    assert_int_equal(scan("GET /a/websocket?channel=x&channel=a%20b&id=now "
                          "HTTP/1.1\r\nLast-Event-ID:  ab-1 \r\n" REST "\r\n",
                          &handshake),
                     HANDSHAKE_DONE);
    const struct request *request = handshake.request;
    assert_int_equal(request->method, METHOD_GET);
    assert_string_equal(request->path.bytes, "/a/websocket");
    assert_true(text_is(request_endpoint(request, NULL), "websocket"));
    assert_int_equal(request->query.count, 3);
    assert_string_equal(request->query.fields[1].value.bytes, "a b");
    assert_true(text_is(request_field(request, "id"), "now"));
    assert_string_equal(request->last_event_id.bytes, "ab-1");
    assert_int_equal(request->last_event_id.len, 4);
    assert_int_equal(request->form.count, 0);
    assert_int_equal(request->body.len, 0);

    assert_int_equal(scan(WHOLE, &handshake), HANDSHAKE_DONE); /* nothing is left of the last */
    assert_int_equal(handshake.request->query.count, 0);
    assert_null(handshake.request->last_event_id.bytes);
}

static void every_portion_leads_to_the_same_end(void **state)
{
    static const char text[] = "GET /websocket?id=now HTTP/1.1\r\n" REST "\r\n";
    size_t whole = sizeof text - 1;
    for (size_t step = 1; step <= whole; step++) {
        struct handshake handshake;
        size_t seen = 0;
        for (size_t len = step; len < whole; seen = len, len += step)
            assert_int_equal(scan_part(text, seen, len, &handshake), HANDSHAKE_MORE);
        assert_int_equal(scan_part(text, seen, whole, &handshake), HANDSHAKE_DONE);
        assert_int_equal(handshake.consumed, whole);
        assert_true(text_is(request_field(handshake.request, "id"), "now"));
    }
}

static void what_comes_behind_the_head_is_left_for_the_frames(void **state)
{
    struct handshake handshake;
    assert_int_equal(scan(WHOLE "\x81\x85 and more\r\n\r\n", &handshake), HANDSHAKE_DONE);
    assert_int_equal(handshake.consumed, sizeof WHOLE - 1);
    assert_int_equal(scan("\r\n" WHOLE WHOLE, &handshake), HANDSHAKE_DONE);
    assert_int_equal(handshake.consumed, 2 + sizeof WHOLE - 1);
    assert_int_equal(scan(WHOLE " ", &handshake), HANDSHAKE_DONE);
}

static void what_the_rfcs_allow_is_taken(void **state)
{
    expect_done(GET HOST "upgrade: WebSocket\r\nconnection: keep-alive, UPGRADE\r\n" KEY VERSION
                         "\r\n");
    expect_done(GET HOST "Upgrade: h2c , websocket\r\nConnection:,,upgrade\r\n" KEY VERSION "\r\n");
    expect_done(
        GET HOST
        "Upgrade: h2c\r\nUpgrade:websocket\r\nConnection: close\r\nConnection: Upgrade\r\n" KEY
            VERSION "\r\n");
    expect_done(GET "Host: a\nUpgrade: websocket\nConnection: upgrade\n" KEY VERSION "\n");
    expect_done("GET /websocket HTTP/1.1\r\nHost:\r\n" UPGRADE KEY VERSION "\r\n");
    expect_done(GET "Content-Length: 0\r\nContent-Type: text/plain\r\n" REST "\r\n");
    expect_done(GET "Sec-WebSocket-Protocol: chat, superchat\r\n"
                    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" REST
                    "\r\n");
    expect_done(GET "Cookie: a=b\r\nCookie: c=d\r\nEmpty:\r\n" REST "\r\n");
    expect_done("GET http://server.example.com/comet/websocket?x=/y HTTP/1.1\r\n" REST "\r\n");
}

static void what_lacks_or_spoils_a_header_is_told_which(void **state)
{
    static const struct {
        const char *text;
        int status;
        const char *why;
    } cases[] = {
        {GET HOST "Connection: Upgrade\r\n" KEY VERSION "\r\n", 426, "Upgrade: websocket"},
        {GET HOST "Upgrade: websockets\r\nConnection: Upgrade\r\n" KEY VERSION "\r\n", 426,
         "Upgrade: websocket"},
        {GET HOST "Upgrade:\r\nConnection: Upgrade\r\n" KEY VERSION "\r\n", 426,
         "Upgrade: websocket"},
        {GET HOST "\r\n", 426, "Upgrade: websocket"},
        {GET HOST "Upgrade: websocket\r\n" KEY VERSION "\r\n", 400, "Connection must"},
        {GET HOST "Upgrade: websocket\r\nConnection: keep-alive\r\n" KEY VERSION "\r\n", 400,
         "Connection must"},
        {GET HOST "Upgrade: websocket\r\nConnection: no-upgrade\r\n" KEY VERSION "\r\n", 400,
         "Connection must"},
        {GET HOST UPGRADE VERSION "\r\n", 400, "Key is missing"},
        {GET HOST UPGRADE VERSION "Sec-WebSocket-Key:\r\n\r\n", 400, "16 bytes"},
        {GET HOST UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n\r\n", 400,
         "16 bytes"},
        {GET HOST UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWU=\r\n\r\n", 400,
         "16 bytes"},
        {GET HOST UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q==\r\n\r\n", 400,
         "16 bytes"},
        {GET HOST UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSB  25jZQ==\r\n\r\n", 400,
         "16 bytes"},
        {GET HOST UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==, x\r\n\r\n", 400,
         "16 bytes"},
        {GET HOST UPGRADE KEY "\r\n", 400, "Version is missing"},
        {GET HOST UPGRADE KEY "Sec-WebSocket-Version: 8\r\n\r\n", 426, "must be 13"},
        {GET HOST UPGRADE KEY "Sec-WebSocket-Version: 13, 8\r\n\r\n", 426, "must be 13"},
        {GET HOST UPGRADE KEY "Sec-WebSocket-Version:\r\n\r\n", 426, "must be 13"},
        {GET UPGRADE KEY VERSION "\r\n", 400, "Host is missing"},
        {"GET /websocket HTTP/1.0\r\n" REST "\r\n", 400, "HTTP/1.1"},
        {"GET /websocket HTTP/2.0\r\n" REST "\r\n", 400, "HTTP/1.1"},
        {"GET /websocket\r\n\r\n", 400, "HTTP/1.1"},
        {"GET /websocket HTXP/1.1\r\n" REST "\r\n", 400, "HTTP/1.1"},
        {"GET /websocket  HTTP/1.1\r\n" REST "\r\n", 400, "HTTP/1.1"},
        {"POST /websocket HTTP/1.1\r\n" REST "\r\n", 405, "GET"},
        {"HEAD /websocket HTTP/1.1\r\n" REST "\r\n", 426, "Upgrade"},
        {"GET /comet/update HTTP/1.1\r\n" REST "\r\n", 404, "/websocket"},
        {"GET /comet/websocket/ HTTP/1.1\r\n" REST "\r\n", 404, "/websocket"},
        {"GET /comet/update#/websocket HTTP/1.1\r\n" REST "\r\n", 400, "#"},
        {"GET /comet/websocket#/update HTTP/1.1\r\n" REST "\r\n", 400, "#"},
        {"GET /comet/websocket?x#/y HTTP/1.1\r\n" REST "\r\n", 400, "#"},
        {"GET /comet/update?/websocket HTTP/1.1\r\n" REST "\r\n", 404, "/websocket"},
        {"GET http://websocket HTTP/1.1\r\n" REST "\r\n", 404, "/websocket"},
        {"GET http://h/update?/websocket HTTP/1.1\r\n" REST "\r\n", 404, "/websocket"},
        {"GET * HTTP/1.1\r\n" REST "\r\n", 400, ""},
        {"CONNECT websocket:80 HTTP/1.1\r\n" REST "\r\n", 400, ""},
        {GET "Content-Length: 5\r\n" REST "\r\nhello", 400, "no body"},
        {GET "Transfer-Encoding: chunked\r\n" REST "\r\n0\r\n\r\n", 400, "no body"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refused(cases[i].text, cases[i].status, cases[i].why);
}

/* What a web server in front and the daemon could read in two ways. */
static void what_is_not_http_is_refused(void **state)
{
    expect_refused(GET REST "Host: other\r\n\r\n", 400, "sent twice");
    expect_refused(GET REST KEY "\r\n", 400, "sent twice");
    expect_refused(GET REST VERSION "\r\n", 400, "sent twice");
    expect_refused(GET REST "Origin: http://a\r\nOrigin: http://b\r\n\r\n", 400, "sent twice");
    expect_refused(GET REST "Last-Event-ID: a\r\nlast-event-id: b\r\n\r\n", 400, "sent twice");
    expect_refused(GET REST "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400, "");
    expect_refused(GET REST "Content-Length: 0x0\r\n\r\n", 400, "");
    expect_refused(GET REST "Content-Length: -1\r\n\r\n", 400, "no body");
    expect_refused(GET REST "Content-Length:\r\n\r\n", 400, "no body");
    expect_refused(GET REST "Content-Length: 18446744073709551616\r\n\r\n", 400, "no body");
    expect_refused("GET http://user@h/websocket HTTP/1.1\r\n" REST "\r\n", 400, "nor a URI");
    expect_refused(GET REST "X: a\r\n folded\r\n\r\n", 400, "folded");
    expect_refused(GET REST "X: a\r\n\tfolded\r\n\r\n", 400, "folded");
    expect_refused(GET REST "X: a\r\n \r\n\r\n", 400, "folded");
    expect_refused(GET REST "X:\r\n folded\r\n\r\n", 400, "folded");
    expect_refused(GET REST "X : a\r\n\r\n", 400, "blank");
    expect_refused(GET " X: a\r\n" REST "\r\n", 400, "folded");
    expect_refused(GET REST "X\r\n\r\n", 400, "");
    expect_refused(GET REST ": a\r\n\r\n", 400, "");
    expect_refused(GET REST "X: a\rb\r\n\r\n", 400, "");
    expect_refused(GET REST "\r\xfe", 400, "CR");
    expect_refused("\r\r\n" WHOLE, 400, "CR");
    expect_refused("get /websocket HTTP/1.1\r\n" REST "\r\n", 400, "not HTTP");
    expect_refused("GET web socket HTTP/1.1\r\n" REST "\r\n", 400, "not HTTP");
    expect_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not HTTP");
}

static void nuls_are_refused_wherever_they_stand(void **state)
{
    for (size_t at = 0; at < sizeof WHOLE - 1; at++) {
        struct handshake handshake;
        char text[] = WHOLE;
        text[at] = '\0';
        if (scan_part(text, 0, sizeof text - 1, &handshake) != HANDSHAKE_REFUSED)
            fail_msg("a NUL at %zu", at);
        assert_int_equal(handshake.status, 400);
    }
}

static void other_protocols_are_refused_at_their_first_bytes(void **state)
{
    struct handshake handshake;
    assert_int_equal(scan_part("\x16\x03\x01\x02", 0, 4, &handshake), HANDSHAKE_REFUSED);
    assert_int_equal(scan_part("\x01\x01\x00\x01\x00\x08", 0, 6, &handshake), HANDSHAKE_REFUSED);
    assert_int_equal(scan_part("", 0, 0, &handshake), HANDSHAKE_MORE);
}

static void a_head_may_have_64_kib(void **state)
{
    struct handshake handshake;
    char text[3 * HANDSHAKE_MAX];
    for (int over = 0; over < 2; over++) {
        size_t fixed = strlen(GET "X: \r\n" REST "\r\n");
        int len = snprintf(text, sizeof text, "%sX: %0*d\r\n%s\r\n", GET,
                           (int)(HANDSHAKE_MAX - fixed + (size_t)over), 0, REST);
        assert_int_equal(len, HANDSHAKE_MAX + over);
        memset(text + len, 'f', HANDSHAKE_MAX); /* frames */
        assert_int_equal(scan_part(text, 0, HANDSHAKE_MAX - 1, &handshake), HANDSHAKE_MORE);
        for (size_t seen = 0; seen < HANDSHAKE_MAX; seen += HANDSHAKE_MAX - 1) {
            enum handshake_verdict verdict =
                scan_part(text, seen, (size_t)len + HANDSHAKE_MAX, &handshake);
            assert_int_equal(verdict, over ? HANDSHAKE_REFUSED : HANDSHAKE_DONE);
            assert_int_equal(over ? (size_t)handshake.status : handshake.consumed,
                             over ? 431 : HANDSHAKE_MAX);
        }
    }
}

static void an_endless_head_is_cut_off(void **state)
{
    struct handshake handshake;
    char text[HANDSHAKE_MAX + 8] = GET;
    for (size_t len = strlen(text); len < HANDSHAKE_MAX; len += 6)
        strcpy(text + len, "X: x\r\n");
    size_t seen = 0;
    for (size_t len = 1; len < HANDSHAKE_MAX; seen = len, len += 5)
        assert_int_equal(scan_part(text, seen, len, &handshake), HANDSHAKE_MORE);
    assert_int_equal(scan_part(text, seen, HANDSHAKE_MAX, &handshake), HANDSHAKE_REFUSED);
    assert_int_equal(handshake.status, 431);
}

static void one_empty_line_before_the_request_is_enough(void **state)
{
    expect_done("\r\n" WHOLE);
    expect_done("\r\n\r\n" WHOLE);
    expect_refused("\n\n\n\n\n" WHOLE, 400, "empty lines");
    expect_refused("\r\n\r\n\r\n", 400, "empty lines");
}

static void with_a_mount_only_what_stands_behind_it_is_the_websocket(void **state)
{
    static const struct {
        const char *uri;
        int status; /* 0: it opens */
    } cases[] = {{"/comet/websocket", 0},         {"/comet/websocket?id=/x/websocket", 0},
                 {"http://h/comet/websocket", 0}, {"/websocket", 404},
                 {"/comet/x/websocket", 404},     {"/comet//websocket", 404},
                 {"/comet/websocket/", 404},      {"//comet/websocket", 404},
                 {"/comet/./websocket", 404},     {"/comet/x/../websocket", 404},
                 {"/comet/%77ebsocket", 404},     {"/comet%2Fwebsocket", 404},
                 {"/Comet/websocket", 404},       {"/comet/websocket;x", 404},
                 {"http://h/x/websocket", 404},   {"/comet/?/comet/websocket", 404},
                 {"/x#/comet/websocket", 400},    {"/comet/websocket?x#", 400}};
    handshaker_free(handshaker);
    handshaker = handshaker_new(NULL, "/comet/");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" REST "\r\n", cases[i].uri);
        if (cases[i].status)
            expect_refused(text, cases[i].status, cases[i].status == 404 ? "at /comet/web" : "#");
        else
            expect_done(text);
    }
}

/* ---- origins ---- */

static bool admits(const char *origins, const char *host, const char *origin)
{
    char text[1024];
    struct handshake handshake;
    snprintf(text, sizeof text, GET "Host: %s\r\nOrigin: %s\r\n" UPGRADE KEY VERSION "\r\n", host,
             origin);
    handshaker_free(handshaker);
    handshaker = handshaker_new(origins, NULL);
    enum handshake_verdict verdict = scan(text, &handshake);
    if (verdict != HANDSHAKE_DONE) {
        assert_int_equal(verdict, HANDSHAKE_REFUSED);
        assert_int_equal(handshake.status, 403);
        assert_non_null(strstr(handshake.why, "--origin"));
    }
    return verdict == HANDSHAKE_DONE;
}

static void pages_of_the_same_host_may_connect(void **state)
{
    static const struct {
        const char *host, *origin;
        bool admitted;
    } cases[] = {
        {"example.org", "http://example.org", true},
        {"example.org", "https://example.org", true},
        {"Example.ORG", "https://example.org", true},
        {"example.org:8080", "http://example.org:8080", true},
        {"example.org:443", "https://example.org", true},
        {"example.org:80", "http://example.org", true},
        {"example.org", "https://example.org:443", true},
        {"[::1]:8080", "http://[::1]:8080", true},
        {"[::1]:80", "http://[::1]", true},
        {"example.org:443", "http://example.org", false},
        {"example.org:80", "https://example.org", false},
        {"example.org", "http://example.org:8080", false},
        {"example.org:8080", "http://example.org", false},
        {"example.org", "http://www.example.org", false},
        {"example.org", "http://example.org.evil.net", false},
        {"example.org", "http://evil.net/example.org", false},
        {"example.org", "http://evil-example.org", false},
        {"example.org", "http://example.or", false},
        {"example.org", "example.org", false},
        {"example.org", "ftp://example.org", false},
        {"example.org", "null", false},
        {"example.org", "", false},
        {"", "http://", false},
        {"", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (admits(NULL, cases[i].host, cases[i].origin) != cases[i].admitted)
            fail_msg("Host: %s, Origin: %s", cases[i].host, cases[i].origin);
}

static void other_origins_need_to_be_listed(void **state)
{
    const char *list = "https://a.example, http://b.example:8080,https://C.example ,";
    assert_true(admits(list, "example.org", "https://a.example"));
    assert_true(admits(list, "example.org", "http://b.example:8080"));
    assert_true(admits(list, "example.org", "https://c.example"));
    assert_true(admits(list, "example.org", "http://example.org"));
    assert_false(admits(list, "example.org", "http://a.example"));
    assert_false(admits(list, "example.org", "http://b.example"));
    assert_false(admits(list, "example.org", "https://a.example, http://b.example:8080"));
    assert_false(admits(list, "example.org", "null"));
    assert_false(admits(list, "example.org", ""));
    assert_false(admits(list, "example.org", "any"));
    assert_true(admits("any", "example.org", "http://elsewhere.example"));
    assert_true(admits("any", "example.org", "null"));
    assert_true(admits("null", "example.org", "null"));
    assert_false(admits("anyone", "example.org", "http://elsewhere.example"));
}

static void the_host_of_an_absolute_target_counts(void **state)
{
    expect_done("GET http://a.example:81/websocket HTTP/1.1\r\nOrigin: http://a.example:81\r\n" REST
                "\r\n");
    expect_refused(
        "GET http://a.example/websocket HTTP/1.1\r\nOrigin: http://server.example.com\r\n" REST
        "\r\n",
        403, "origin");
    expect_done("GET http://[::1]:81/websocket HTTP/1.1\r\nOrigin: http://[::1]:81\r\n" REST
                "\r\n");
}

/* ---- answers ---- */

static const char *header_of(const char *response, const char *name)
{
    static char value[256];
    char start[64];
    snprintf(start, sizeof start, "\r\n%s: ", name);
    const char *at = strstr(response, start);
    if (!at)
        return "";
    at += strlen(start);
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

/* Checks that it is a whole response of that status, and returns its error's text. */
static const char *error_of(struct buf *response, int status)
{
    static char error[256];
    buf_add(response, "", 1);
    assert_true(buf_ok(response));
    char start[16];
    snprintf(start, sizeof start, "HTTP/1.1 %d ", status);
    assert_memory_equal(response->bytes, start, strlen(start));
    const char *body = strstr(response->bytes, "\r\n\r\n") + 4;
    assert_int_equal(atoi(header_of(response->bytes, "Content-Length")), strlen(body));
    assert_string_equal(header_of(response->bytes, "Content-Type"), "application/json");
    assert_string_equal(header_of(response->bytes, "Cache-Control"), "no-store");
    json_t *json = json_loads(body, 0, NULL);
    snprintf(error, sizeof error, "%s", json_string_value(json_object_get(json, "error")));
    json_decref(json);
    return error;
}

static void refusals_are_whole_responses(void **state)
{
    struct handshake handshake;
    struct buf out = {0};
    scan(GET UPGRADE KEY VERSION "\r\n", &handshake);
    handshake_put_error(&out, handshake.status, handshake.headers, handshake.why, false);
    assert_string_equal(error_of(&out, 400), "Host is missing");
    assert_string_equal(header_of(out.bytes, "Connection"), "close");
    buf_reset(&out);

    scan("POST /websocket HTTP/1.1\r\n" REST "\r\n", &handshake);
    handshake_put_error(&out, handshake.status, handshake.headers, handshake.why, false);
    error_of(&out, 405);
    assert_string_equal(header_of(out.bytes, "Allow"), "GET, HEAD");
    buf_reset(&out);

    scan("HEAD /websocket HTTP/1.1\r\n" REST "\r\n", &handshake);
    assert_true(handshake.head);
    handshake_put_error(&out, handshake.status, handshake.headers, handshake.why, true);
    buf_add(&out, "", 1);
    assert_string_equal(strstr(out.bytes, "\r\n\r\n"), "\r\n\r\n");
    assert_null(strstr(out.bytes, "Content-Length: 0"));
    buf_reset(&out);

    scan("HEAD /websocket HTTP/1.1\r\n" HOST " folded\r\n\r\n", &handshake);
    assert_true(handshake.head); /* a malformed HEAD gets no body either */
    scan("GET /websocket HTTP/1.1\r\n" HOST " folded\r\n\r\n", &handshake);
    assert_false(handshake.head);

    scan(GET HOST UPGRADE KEY "Sec-WebSocket-Version: 25\r\n\r\n", &handshake);
    handshake_put_error(&out, handshake.status, handshake.headers, handshake.why, false);
    error_of(&out, 426);
    assert_string_equal(header_of(out.bytes, "Sec-WebSocket-Version"), "13");
    assert_string_equal(header_of(out.bytes, "Upgrade"), "websocket");
    assert_string_equal(header_of(out.bytes, "Connection"), "Upgrade, close");
    buf_reset(&out);

    handshake_put_error(&out, 503, "Retry-After: 3\r\n", "a \"reason\"\nin \\ lines", false);
    assert_string_equal(error_of(&out, 503), "a \"reason\"\nin \\ lines");
    assert_string_equal(header_of(out.bytes, "Retry-After"), "3");
    buf_reset(&out);

    handshake_put_error(&out, 500, NULL, "", false);
    assert_string_equal(error_of(&out, 500), "");
    buf_free(&out);
}

/* Random bytes changed, cut and put together, in random portions: no verdict may change with the
 * portions, and nothing may be read that is not there (the sanitizers watch). */
static void garbage_is_survived(void **state)
{
    static const char *const parts[] = {"GET ",
                                        "POST ",
                                        "/comet/websocket",
                                        "?id=now&channel=%00",
                                        " HTTP/1.1\r\n",
                                        "http://[::1",
                                        "http://h:80/",
                                        "#",
                                        UPGRADE,
                                        KEY,
                                        VERSION,
                                        HOST,
                                        "Origin: http://server.example.com\r\n",
                                        "Upgrade:",
                                        "Connection: ,,",
                                        "Content-Length: 18446744073709551616\r\n",
                                        "\r\n",
                                        "\n",
                                        " "};
    enum { PARTS = sizeof parts / sizeof *parts };
    srandom(2);
    int done = 0;
    for (int round = 0; round < 30000; round++) {
        char text[1024];
        size_t len;
        if (round % 2) {
            len = (size_t)snprintf(text, sizeof text,
                                   "GET /a/websocket?id=1&x HTTP/1.1\r\nOrigin: https://h\r\n%s"
                                   "Last-Event-ID: 7\r\n\r\nframes",
                                   REST + strlen(HOST) * (random() % 8 == 0));
        } else {
            len = 0;
            for (int i = (int)(random() % 12); i > 0; i--)
                len +=
                    (size_t)snprintf(text + len, sizeof text - len, "%s", parts[random() % PARTS]);
        }
        for (int change = (int)(random() % 4); change > 0 && len > 0; change--)
            text[(size_t)random() % len] = (char)random();

        struct handshake whole, in_parts = {0};
        enum handshake_verdict verdict = scan_part(text, 0, len, &whole);
        char why[128] = "";
        if (whole.why)
            snprintf(why, sizeof why, "%s", whole.why);
        done += verdict == HANDSHAKE_DONE;

        /* garbage may be refused later when it dribbles in, but not otherwise */
        enum handshake_verdict last = HANDSHAKE_MORE;
        for (size_t seen = 0, to; seen < len && last == HANDSHAKE_MORE; seen = to) {
            to = seen + 1 + (size_t)random() % (len - seen);
            last = scan_part(text, seen, to, &in_parts);
        }
        if (last != HANDSHAKE_MORE || verdict != HANDSHAKE_REFUSED) {
            assert_int_equal(last, verdict);
            assert_int_equal(in_parts.status, whole.status);
            if (verdict == HANDSHAKE_DONE)
                assert_int_equal(in_parts.consumed, whole.consumed);
            if (verdict == HANDSHAKE_REFUSED)
                assert_string_equal(in_parts.why, why);
        }
    }
    assert_true(done > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_example_of_the_rfc_is_answered_as_there),
        TEST(the_first_subprotocol_that_is_offered_is_accepted),
        TEST(it_brings_a_request_like_any_endpoint_s),
        TEST(every_portion_leads_to_the_same_end),
        TEST(what_comes_behind_the_head_is_left_for_the_frames),
        TEST(what_the_rfcs_allow_is_taken),
        TEST(what_lacks_or_spoils_a_header_is_told_which),
        TEST(what_is_not_http_is_refused),
        TEST(nuls_are_refused_wherever_they_stand),
        TEST(other_protocols_are_refused_at_their_first_bytes),
        TEST(a_head_may_have_64_kib),
        TEST(an_endless_head_is_cut_off),
        TEST(one_empty_line_before_the_request_is_enough),
        TEST(with_a_mount_only_what_stands_behind_it_is_the_websocket),
        TEST(pages_of_the_same_host_may_connect),
        TEST(other_origins_need_to_be_listed),
        TEST(the_host_of_an_absolute_target_counts),
        TEST(refusals_are_whole_responses),
        TEST(garbage_is_survived),
    };
    return cmocka_run_group_tests_name("handshake", tests, NULL, NULL);
}

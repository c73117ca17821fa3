/* The head of an HTTP request: what RFC 9112 allows is read, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "fcgi/wire/http.h"

/* Reads a copy that ends where its memory ends, so that a read beyond it is noticed; the texts of
 * head point into the copy, which lives until the next call. */
static enum http_verdict read_bytes(struct http_head *head, const char *bytes, size_t len)
{
    static char *copy;
    free(copy);
    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    return http_read_head(head, (struct text){copy, len});
}

static enum http_verdict read_string(struct http_head *head, const char *string)
{
    return read_bytes(head, string, strlen(string));
}

#define LINE "GET /x HTTP/1.1\r\n"

static void expect_malformed(const char *string, const char *fault)
{
    struct http_head head;
    enum http_verdict verdict = read_string(&head, string);
    if (verdict != HTTP_MALFORMED || !strstr(head.fault, fault))
        fail_msg("verdict %d, %s, for:\n%s", verdict, head.fault ? head.fault : "", string);
}

static void expect_whole(const char *string)
{
    struct http_head head;
    if (read_string(&head, string) != HTTP_WHOLE)
        fail_msg("%s, for:\n%s", head.fault ? head.fault : "not whole", string);
    assert_int_equal(head.len, strlen(string));
}

static void a_request_line_has_a_method_a_target_and_a_version(void **state)
{
    static const struct {
        const char *line, *method, *target;
        unsigned major, minor;
    } cases[] = {
        {"GET / HTTP/1.1", "GET", "/", 1, 1},
        {"HEAD /a?b=%20 HTTP/1.0", "HEAD", "/a?b=%20", 1, 0},
        {"M-SEARCH * HTTP/2.0", "M-SEARCH", "*", 2, 0},
        {"CONNECT example.org:80 HTTP/1.9", "CONNECT", "example.org:80", 1, 9},
        {"GET http://h/\xc3\xa9 HTTP/0.9", "GET", "http://h/\xc3\xa9", 0, 9},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_head head;
        char string[128];
        snprintf(string, sizeof string, "%s\r\n\r\n", cases[i].line);
        assert_int_equal(read_string(&head, string), HTTP_WHOLE);
        assert_true(text_is(head.method, cases[i].method));
        assert_true(text_is(head.target, cases[i].target));
        assert_int_equal(head.major, cases[i].major);
        assert_int_equal(head.minor, cases[i].minor);
    }
}

static void another_request_line_is_not_http(void **state)
{
    static const char *const lines[] = {
        "x",
        "GET",
        "GET /",
        "GET / ",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET /a\tb HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\t",
        "GET / HTTP/1.",
        "GET / HTTP/.1",
        "GET / HTTP/11",
        "GET / HTTP/1.10",
        "GET / HTTP/01.1",
        "GET / http/1.1",
        "GET / HTTQ/1.1",
        "GET / HTTP 1.1",
        "GET / HTTP/1,1",
        "GET /a b HTTP/1.1",
        "get / HTTP/1.1",
        "Get / HTTP/1.1",
        "GE(T / HTTP/1.1",
        "GET: / HTTP/1.1",
        "\xc3\x89 / HTTP/1.1",
        "HTTP/1.1 200 OK",
        "SSH-2.0-x",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char string[128];
        snprintf(string, sizeof string, "%s\r\nHost: h\r\n\r\n", lines[i]);
        expect_malformed(string, "this is not HTTP");
    }
}

static void fields_come_in_order_with_trimmed_values(void **state)
{
    static const char *const fields[][2] = {
        {"Host", "h"}, {"a", ""}, {"B", ""}, {"c", "x : y"}, {"!#$%&'*+-.^_`|~09Az", "\xff\t\xc3"},
    };
    struct http_head head;
    struct text name, value;
    assert_int_equal(read_string(&head, LINE "Host: h\r\na:\r\nB: \t \r\nc:\t x : y \t\r\n"
                                             "!#$%&'*+-.^_`|~09Az:\xff\t\xc3\r\n\r\n"),
                     HTTP_WHOLE);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        assert_true(http_next_field(&head, &name, &value));
        assert_true(text_is(name, fields[i][0]));
        assert_true(text_is(value, fields[i][1]));
    }
    assert_false(http_next_field(&head, &name, &value));
    assert_false(http_next_field(&head, &name, &value));
    assert_int_equal(read_string(&head, LINE "\r\n"), HTTP_WHOLE);
    assert_false(http_next_field(&head, &name, &value));
}

static void a_field_line_must_be_a_token_a_colon_and_a_value(void **state)
{
    expect_malformed(LINE "X: a\r\n folded\r\n\r\n", "folded");
    expect_malformed(LINE "X: a\r\n\tfolded\r\n\r\n", "folded");
    expect_malformed(LINE "X: a\r\n \r\n\r\n", "folded");
    expect_malformed(LINE " X: a\r\n\r\n", "folded");
    expect_malformed(LINE "X : a\r\n\r\n", "blank");
    expect_malformed(LINE "X\t: a\r\n\r\n", "blank");
    expect_malformed(LINE "X Y: a\r\n\r\n", "blank");
    expect_malformed(LINE "X\r\n\r\n", "colon");
    expect_malformed(LINE ": a\r\n\r\n", "name");
    expect_malformed(LINE "\"X\": a\r\n\r\n", "name");
    expect_malformed(LINE "(X): a\r\n\r\n", "name");
    expect_malformed(LINE "X\xc3\xa9: a\r\n\r\n", "name");
    expect_malformed(LINE "X@: a\r\n\r\n", "name");
}

static void control_characters_are_malformed_wherever_they_are(void **state)
{
    static const char whole[] = LINE "X: a b\r\nY: c\r\n\r\n";
    for (size_t at = 0; at < sizeof whole - 1; at++)
        for (int c = 0; c < 0x80; c++) {
            char bytes[sizeof whole];
            struct http_head head;
            if ((c >= ' ' && c != 0x7f) || c == '\t' || c == '\n')
                continue;
            memcpy(bytes, whole, sizeof whole);
            if (bytes[at] == c)
                continue;
            bytes[at] = (char)c;
            if (c == '\r' && bytes[at + 1] == '\n')
                continue; /* it ends the line */
            enum http_verdict verdict = read_bytes(&head, bytes, sizeof whole - 1);
            if (verdict != HTTP_MALFORMED)
                fail_msg("a byte %d at %zu: verdict %d", c, at, verdict);
        }
}

static void a_line_ends_in_crlf_or_in_lf_alone(void **state)
{
    expect_whole("GET /x HTTP/1.1\nHost: h\n\n");
    expect_whole("GET /x HTTP/1.1\r\nHost: h\n\r\n");
    expect_malformed("GET /x HTTP/1.1\rHost: h\r\r\n\r\n", "CR");
    expect_malformed(LINE "X: a\rb\r\n\r\n", "CR");
    expect_malformed(LINE "X: a\r\r\n\r\n", "CR");
    expect_malformed("\r\r\n" LINE "\r\n", "CR");
}

static void empty_lines_before_the_request_are_skipped(void **state)
{
    struct http_head head;
    expect_whole("\r\n" LINE "\r\n");
    expect_whole("\n\r\n\n" LINE "\r\n");
    assert_int_equal(read_string(&head, "\r\n\r\n"), HTTP_MORE);
    assert_int_equal(read_string(&head, ""), HTTP_MORE);
}

static void what_follows_the_head_is_not_read(void **state)
{
    static const char bytes[] = LINE "Host: h\r\n\r\n\0\x01 X\r\r\n\r\n";
    struct http_head head;
    assert_int_equal(read_bytes(&head, bytes, sizeof bytes - 1), HTTP_WHOLE);
    assert_int_equal(head.len, strlen(bytes));
}

static void a_head_is_whole_at_its_last_byte_and_not_before(void **state)
{
    static const char whole[] = "\r\nGET /x HTTP/1.1\r\nHost: h\r\nX:\r\n\r\n";
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        struct http_head head;
        assert_int_equal(read_bytes(&head, whole, len), HTTP_MORE);
        assert_null(head.fault);
    }
    expect_whole(whole);
}

static void another_protocol_is_refused_before_its_line_ends(void **state)
{
    struct http_head head;
    assert_int_equal(read_bytes(&head, "\x16\x03\x01\x02", 4), HTTP_MALFORMED);
    assert_int_equal(read_bytes(&head, "\x01\x01\x00\x01\x00\x08", 6), HTTP_MALFORMED);
    assert_int_equal(read_bytes(&head, "GET / HTTP/1.1\r\nX: \0", 20), HTTP_MALFORMED);
    assert_int_equal(read_string(&head, "hello"), HTTP_MALFORMED);
    assert_int_equal(read_string(&head, " "), HTTP_MALFORMED);
    assert_int_equal(read_string(&head, "GET"), HTTP_MORE);
    assert_int_equal(read_string(&head, "GET "), HTTP_MORE);
}

static void an_absolute_target_is_split_at_its_path(void **state)
{
    static const struct {
        const char *target, *authority, *rest; /* authority NULL: it has another form */
    } cases[] = {
        {"http://h/x?y", "h", "/x?y"},
        {"HTTPS://h:81/x", "h:81", "/x"},
        {"a+b-c.9://h", "h", ""},
        {"http://h?x=/y", "h", "?x=/y"},
        {"http://h#x", "h", "#x"},
        {"http://[::1]:80/", "[::1]:80", "/"},
        {"/x", NULL, NULL},
        {"/x?http://h/", NULL, NULL},
        {"*", NULL, NULL},
        {"h:80", NULL, NULL},
        {"http:/h/", NULL, NULL},
        {"://h/", NULL, NULL},
        {"1http://h/", NULL, NULL},
        {"ht_tp://h/", NULL, NULL},
        {"http://", NULL, NULL},
        {"http:///x", NULL, NULL},
        {"http://:80/x", NULL, NULL},
        {"http://user@h/x", NULL, NULL},
        {"http://user:word@h/x", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text target = text_of(cases[i].target), authority = {0};
        bool split = http_split_target(&target, &authority);
        if (split != (cases[i].authority != NULL))
            fail_msg("%s", cases[i].target);
        assert_true(text_is(target, split ? cases[i].rest : cases[i].target));
        assert_true(split ? text_is(authority, cases[i].authority) : !authority.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_line_has_a_method_a_target_and_a_version),
        cmocka_unit_test(another_request_line_is_not_http),
        cmocka_unit_test(fields_come_in_order_with_trimmed_values),
        cmocka_unit_test(a_field_line_must_be_a_token_a_colon_and_a_value),
        cmocka_unit_test(control_characters_are_malformed_wherever_they_are),
        cmocka_unit_test(a_line_ends_in_crlf_or_in_lf_alone),
        cmocka_unit_test(empty_lines_before_the_request_are_skipped),
        cmocka_unit_test(what_follows_the_head_is_not_read),
        cmocka_unit_test(a_head_is_whole_at_its_last_byte_and_not_before),
        cmocka_unit_test(another_protocol_is_refused_before_its_line_ends),
        cmocka_unit_test(an_absolute_target_is_split_at_its_path),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}

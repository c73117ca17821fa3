/* multipart/form-data: what curl and browsers send is read, what is not by the book refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/wire/multipart.h"

static const char type_b[] = "multipart/form-data; boundary=b";

static struct form form;
static char *exact; /* a body whose memory ends with it and its NUL */
static const char *why;

static int parse_bytes(const char *type, const char *body, size_t len)
{
    free(exact);
    exact = malloc(len + 1);
    memcpy(exact, body, len);
    return multipart_parse(&form, type, exact, len, &why);
}

static int parse(const char *type, const char *body)
{
    return parse_bytes(type, body, strlen(body));
}

static int tear_down(void **state)
{
    free(exact);
    exact = NULL;
    return 0;
}

#define DISPOSITION "Content-Disposition: form-data; "
#define MSG DISPOSITION "name=\"msg\"\r\n"

static void expect_msg(const char *type, const char *body, const char *msg)
{
    int status = parse(type, body);
    if (status != 0 || form.count != 1 || !text_is(form.fields[0].name, "msg") ||
        !text_is(form.fields[0].value, msg))
        fail_msg("%d %s, %zu fields, for %s\n%s", status, why ? why : "", form.count, type, body);
    assert_int_equal(form.fields[0].value.bytes[form.fields[0].value.len], '\0');
}

static void expect_refused(int status, const char *says, const char *type, const char *body)
{
    int got = parse(type, body);
    if (got != status || !strstr(why, says))
        fail_msg("%d %s, for %s\n%s", got, why ? why : "", type, body);
    assert_int_equal(form.count, 0);
}

static void what_curl_and_browsers_send_is_read(void **state)
{
    const char *curl = "multipart/form-data; boundary=------------------------d74496d66958873e";
    const char *webkit = "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW";
    int status = parse(curl, "--------------------------d74496d66958873e\r\n" MSG "\r\nhello\r\n"
                             "--------------------------d74496d66958873e\r\n" DISPOSITION
                             "name=\"channel\"\r\n\r\nnews\r\n"
                             "--------------------------d74496d66958873e--\r\n");
    assert_int_equal(status, 0);
    assert_int_equal(form.count, 2);
    assert_true(text_is(form_get(&form, "msg"), "hello"));
    assert_true(text_is(form_get(&form, "channel"), "news"));
    expect_msg(webkit,
               "------WebKitFormBoundary7MA4YWxkTrZu0gW\r\n" MSG "\r\ntwo\r\nlines\r\n\r\n"
               "------WebKitFormBoundary7MA4YWxkTrZu0gW--\r\n",
               "two\r\nlines\r\n");
    assert_int_equal(parse(type_b, "--b--\r\n"), 0); /* an empty FormData */
    assert_int_equal(form.count, 0);
}

static void what_the_rfcs_allow_is_read(void **state)
{
    expect_msg(type_b, "--b\r\n" MSG "\r\n\r\n--b--", "");
    expect_msg(type_b, "--b \t\r\n" MSG "\r\nx\r\n--b-- \r\nan epilogue", "x");
    expect_msg(type_b, "--b\r\n" MSG "\r\nx\n--b\r\r\n--\r\n -b\r\n--b--", "x\n--b\r\r\n--\r\n -b");
    expect_msg(type_b, "--b\r\ncontent-disposition:form-data;name=msg\r\n\r\nx\r\n--b--", "x");
    expect_msg(type_b, "--b\r\n" DISPOSITION " a=b ; NAME=\"msg\"; c=\"d;e\\\"\"\r\n\r\nx\r\n--b--",
               "x");
    expect_msg(type_b,
               "--b\r\nContent-Type: Text/Plain; Charset=\"UTF-8\"\r\n" MSG "\r\nx\r\n--b--", "x");
    expect_msg(type_b, "--b\r\nContent-Type: application/json\r\n" MSG "\r\n{}\r\n--b--", "{}");
    expect_msg(type_b, "--b\r\nContent-Transfer-Encoding: 8bit\r\nX-Y: z\r\n" MSG "\r\nx\r\n--b--",
               "x");
    expect_msg("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\" ; x=y",
               "--a b\r\n" MSG "\r\nx\r\n--a b--", "x");
}

static void what_is_no_text_is_refused_with_a_reason(void **state)
{
    static const char *const dispositions[] = {
        "name=\"msg\"; filename=\"a.txt\"", "name=\"msg\"; filename=\"\"", "filename=a; name=msg",
        "name=\"msg\"; FileName*=UTF-8''a", "name=\"a;b\"; filename=\"c\""};
    char body[256];
    for (size_t i = 0; i < sizeof dispositions / sizeof *dispositions; i++) {
        snprintf(body, sizeof body, "--b\r\n" DISPOSITION "%s\r\n\r\nx\r\n--b--", dispositions[i]);
        expect_refused(415, "files are not accepted", type_b, body);
    }
    static const char *const types[] = {
        "image/png", "multipart/mixed; boundary=c", "text",
        "",          "application/octet-stream",    "text/plain; charset=iso-8859-1"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        snprintf(body, sizeof body, "--b\r\nContent-Type: %s\r\n" MSG "\r\nx\r\n--b--", types[i]);
        expect_refused(415, "not text in UTF-8", type_b, body);
    }
    expect_refused(415, "Transfer-Encoding", type_b,
                   "--b\r\n" MSG "Content-Transfer-Encoding: base64\r\n\r\neA==\r\n--b--");
}

static void what_is_not_by_the_book_is_refused(void **state)
{
    static const struct {
        const char *says, *body;
    } cases[] = {
        {"begin", ""},
        {"begin", "-"},
        {"begin", "--c\r\n" MSG "\r\nx\r\n--c--"},
        {"begin", "\r\n--b\r\n" MSG "\r\nx\r\n--b--"},
        {"begin", "a preamble\r\n--b\r\n" MSG "\r\nx\r\n--b--"},
        {"something else", "--b"},
        {"something else", "--b\n" MSG "\r\nx\r\n--b--"},
        {"something else", "--bc\r\n" MSG "\r\nx\r\n--b--"},
        {"something else", "--b\r\n" MSG "\r\nx\r\n--bc\r\n--b--"},
        {"something else", "--b\r\n" MSG "\r\nx\r\n--b--c"},
        {"something else", "--b\r\n" MSG "\r\nx\r\n--b-"},
        {"something else", "--b\r\n" MSG "\r\n--b\r\nx\r\n--b--"}, /* a value is left out */
        {"end", "--b\r\n" MSG "\r\nx"},
        {"end", "--b\r\n" MSG "\r\nx\n--b--"},
        {"end", "--b\r\n" MSG "\r\nx\r\n-b--"},
        {"malformed", "--b\r\n"},
        {"malformed", "--b\r\n" MSG},
        {"malformed", "--b\r\n" DISPOSITION "name=\"msg\"\n\nx\r\n--b--"},
        {"malformed", "--b\r\n" DISPOSITION "name=\"msg\r\n\r\nx\r\n--b--"},
        {"malformed", "--b\r\n" DISPOSITION "name=\"msg\"x\r\n\r\nx\r\n--b--"},
        {"malformed", "--b\r\n" DISPOSITION "name=m\"s\"g\r\n\r\nx\r\n--b--"},
        {"malformed", "--b\r\n" DISPOSITION "name=msg;\r\n\r\nx\r\n--b--"},
        {"malformed", "--b\r\n" DISPOSITION "\r\n name=msg\r\n\r\nx\r\n--b--"},
        {"malformed", "--b\r\nContent-Disposition : form-data; name=msg\r\n\r\nx\r\n--b--"},
        {"malformed", "--b\r\nno colon\r\n" MSG "\r\nx\r\n--b--"},
        {"no name", "--b\r\n\r\nx\r\n--b--"},
        {"no name", "--b\r\n" DISPOSITION "nam=msg\r\n\r\nx\r\n--b--"},
        {"no name", "--b\r\nContent-Disposition: attachment; name=msg\r\n\r\nx\r\n--b--"},
        {"or two", "--b\r\n" DISPOSITION "name=msg; name=msg\r\n\r\nx\r\n--b--"},
        {"or two", "--b\r\n" MSG MSG "\r\nx\r\n--b--"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refused(400, cases[i].says, type_b, cases[i].body);
}

static void a_type_without_a_boundary_that_could_be_is_refused(void **state)
{
    static const char *const types[] = {
        "multipart/form-data",
        "multipart/form-data;",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"b",
        "multipart/form-data; bound=b",
        "multipart/form-data boundary=b",
        "multipart/form-data; boundary="
        "12345678901234567890123456789012345678901234567890123456789012345678901"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        expect_refused(400, "boundary", types[i], "--b\r\n" MSG "\r\nx\r\n--b--");
}

static void fields_and_their_headers_have_limits(void **state)
{
    static char body[64 * 1024];
    for (int fields = MULTIPART_FIELDS_MAX; fields <= MULTIPART_FIELDS_MAX + 1; fields++) {
        *body = '\0';
        for (int i = 0; i < fields; i++)
            strcat(body, "--b\r\n" MSG "\r\nx\r\n");
        strcat(body, "--b--");
        if (fields > MULTIPART_FIELDS_MAX)
            expect_refused(400, "64 fields", type_b, body);
        else
            assert_int_equal(parse(type_b, body), 0);
    }
    for (int more = 0; more <= 1; more++) {
        int filler = MULTIPART_HEAD_MAX - (int)strlen(MSG "A: \r\n\r\n") + more;
        snprintf(body, sizeof body, "--b\r\n" MSG "A: %0*d\r\n\r\nx\r\n--b--", filler, 0);
        if (more)
            expect_refused(400, "1024 bytes", type_b, body);
        else
            expect_msg(type_b, body, "x");
    }
}

static void any_bytes_are_survived(void **state)
{
    static const char *const pieces[] = {"--b",        "\r\n",
                                         "--",         "\r",
                                         "\n",         MSG,
                                         DISPOSITION,  "name=",
                                         "\"",         ";",
                                         "=",          "msg",
                                         "\\",         "Content-Type: ",
                                         "text/plain", "charset=utf-8",
                                         ":",          " ",
                                         "x",          "--b--",
                                         "\r\n--b\r\n"};
    enum { PIECES = sizeof pieces / sizeof *pieces };
    char body[1024], type[256];
    srandom(1);
    unsigned read = 0;
    for (int i = 0; i < 200000; i++) {
        size_t len = 0;
        if (random() % 2)
            len = (size_t)sprintf(body, "--b\r\n" MSG "\r\n");
        for (long n = random() % 16; n > 0; n--) {
            const char *piece = pieces[random() % PIECES];
            memcpy(body + len, piece, strlen(piece));
            len += strlen(piece);
        }
        if (random() % 2)
            len += (size_t)sprintf(body + len, "\r\n--b--");
        snprintf(type, sizeof type, "multipart/form-data; boundary=b%s%s",
                 random() % 8 ? "" : pieces[random() % PIECES],
                 random() % 8 ? "" : pieces[random() % PIECES]);
        for (int flips = (int)(random() % 3); flips > 0 && len > 0; flips--)
            body[(size_t)random() % len] = (char)random();
        int status = parse_bytes(type, body, len);
        assert_true(status == 0 || status == 400 || status == 415);
        assert_true((status == 0) == (why == NULL));
        for (size_t f = 0; f < form.count; f++) {
            const struct field *field = &form.fields[f];
            assert_int_equal(field->name.bytes[field->name.len], '\0');
            assert_int_equal(field->value.bytes[field->value.len], '\0');
        }
        read += form.count > 0;
    }
    assert_true(read > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_curl_and_browsers_send_is_read, tear_down),
        cmocka_unit_test_teardown(what_the_rfcs_allow_is_read, tear_down),
        cmocka_unit_test_teardown(what_is_no_text_is_refused_with_a_reason, tear_down),
        cmocka_unit_test_teardown(what_is_not_by_the_book_is_refused, tear_down),
        cmocka_unit_test_teardown(a_type_without_a_boundary_that_could_be_is_refused, tear_down),
        cmocka_unit_test_teardown(fields_and_their_headers_have_limits, tear_down),
        cmocka_unit_test_teardown(any_bytes_are_survived, tear_down),
    };
    return cmocka_run_group_tests_name("multipart", tests, NULL, NULL);
}

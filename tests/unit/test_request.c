/* Decoding: what libfcgi makes of the bytes that the gate let through, and forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fastcgi.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/wire/request.h"
#include "tests/unit/fcgi_bytes.h"

enum { BODY_MAX = 300000 };

struct fixture {
    struct decoder *decoder;
    struct buf bytes;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->decoder = decoder_new(BODY_MAX);
    *state = fixture;
    return fixture->decoder ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    decoder_free(fixture->decoder);
    buf_free(&fixture->bytes);
    free(fixture);
    return 0;
}

/* Decodes the one request that `fixture->bytes` holds; it passes the gate. */
static const struct request *decode_bytes(struct fixture *fixture)
{
    struct gate gate;
    gate_start(&gate, BODY_MAX);
    assert_int_equal(gate_scan(&gate, (uint8_t *)fixture->bytes.bytes, &fixture->bytes.len),
                     GATE_WHOLE);
    const struct request *request =
        request_decode(fixture->decoder, &gate, (uint8_t *)fixture->bytes.bytes);
    assert_non_null(request);
    return request;
}

static const struct request *decode(struct fixture *fixture, const char *method, const char *uri,
                                    const char *type, const char *body)
{
    buf_reset(&fixture->bytes);
    put_request(&fixture->bytes, 1, method, uri, type, body);
    return decode_bytes(fixture);
}

/* Decodes a request of these parameters, name, value, name, ..., NULL. */
static const struct request *decode_params(struct fixture *fixture, const char *const *params)
{
    struct buf content = {0};
    for (; *params; params += 2)
        put_pair(&content, params[0], params[1]);
    buf_reset(&fixture->bytes);
    put_begin(&fixture->bytes, 1, FCGI_KEEP_CONN);
    put_record(&fixture->bytes, FCGI_PARAMS, 1, content.bytes, content.len, 0);
    put_record(&fixture->bytes, FCGI_PARAMS, 1, NULL, 0, 0);
    put_record(&fixture->bytes, FCGI_STDIN, 1, NULL, 0, 0);
    buf_free(&content);
    return decode_bytes(fixture);
}

/* Expects this text; NULL: that there is none, which is not the same as an empty one. */
static void expect_text(struct text text, const char *expected)
{
    assert_int_equal(text.bytes != NULL, expected != NULL);
    if (expected)
        assert_true(text_is(text, expected));
}

static const char form_type[] = "application/x-www-form-urlencoded; charset=UTF-8";

static void libfcgi_decodes_from_a_memory_file(void **state)
{
    struct fixture *fixture = *state;
    for (int again = 0; again < 3; again++) {
        const struct request *request =
            decode(fixture, "POST", "/a/b/create?channel=news&x=1", "text/plain", "hello\n");
        assert_int_equal(request->method, METHOD_POST);
        assert_true(text_is(request_endpoint(request, NULL), "create"));
        assert_true(text_is(request->body, "hello\n"));
        assert_true(text_is(request_field(request, "channel"), "news"));
        assert_null(request->last_event_id.bytes);
        request_release(fixture->decoder);
    }
}

static void a_short_request_after_a_long_one_has_nothing_of_it(void **state)
{
    struct fixture *fixture = *state;
    char *body = malloc(200001);
    memset(body, 'y', 200000);
    body[200000] = '\0';
    const struct request *request = decode(fixture, "POST", "/create", "text/plain", body);
    assert_int_equal(request->body.len, 200000);
    request_release(fixture->decoder);
    request = decode(fixture, "GET", "/update", NULL, NULL);
    assert_int_equal(request->body.len, 0);
    assert_int_equal(request->query.count, 0);
    request_release(fixture->decoder);
    free(body);
}

/* Of the bytes that follow each other in the file, libfcgi must read each request from its first to
 * its last, whatever part of them it reads at a time, and also when the file begins anew. */
static void requests_of_all_lengths_follow_each_other(void **state)
{
    struct fixture *fixture = *state;
    enum { LONGEST = 20000, STEP = 37 };
    char *body = malloc(LONGEST + 1);
    for (int len = 0; len <= LONGEST; len += STEP) {
        memset(body, 'a' + len % 26, LONGEST);
        body[len] = '\0';
        const struct request *request = decode(fixture, "POST", "/create", "text/plain", body);
        assert_true(text_is(request->body, body));
        request_release(fixture->decoder);
    }
    free(body);
}

/* The gate has seen a body of 5 bytes: what libfcgi reads instead is another request, or none. */
static void a_body_that_libfcgi_reads_otherwise_is_refused(void **state)
{
    static const char *const bodies[] = {"", "hell", "hello!"};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct gate gate;
        buf_reset(&fixture->bytes);
        put_request(&fixture->bytes, 1, "POST", "/create", "text/plain", bodies[i]);
        gate_start(&gate, BODY_MAX);
        gate_scan(&gate, (uint8_t *)fixture->bytes.bytes, &fixture->bytes.len);
        gate.body_len = strlen("hello");
        assert_null(request_decode(fixture->decoder, &gate, (uint8_t *)fixture->bytes.bytes));
        assert_true(
            text_is(decode(fixture, "POST", "/create", "text/plain", "next")->body, "next"));
        request_release(fixture->decoder);
    }
}

static void form_and_query_are_both_looked_in(void **state)
{
    struct fixture *fixture = *state;
    const struct request *request =
        decode(fixture, "POST", "/update?limit=5", form_type, "id=f&msg=a%20b+c%26%00%zz");
    assert_int_equal(request->body_kind, BODY_FORM);
    assert_true(text_is(request_field(request, "id"), "f"));
    assert_true(text_is(request_field(request, "limit"), "5"));
    struct text message = request_field(request, "msg");
    assert_int_equal(message.len, 10);
    assert_memory_equal(message.bytes, "a b c&\0%zz", 10);
    request_release(fixture->decoder);
}

static void json_is_known_by_its_type_and_may_be_changed(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *type;
        bool json;
    } cases[] = {
        {"application/json", true},
        {"Application/JSON; charset=utf-8", true},
        {"application/json;x", true},
        {"application/jsonp", false},
        {"application/jso", false},
        {"text/json", false},
        {"text/plain; application/json", false},
        {NULL, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct request *request = decode(fixture, "POST", "/batch", cases[i].type, "[{}]");
        assert_int_equal(request->body_kind, cases[i].json ? BODY_JSON : BODY_RAW);
        assert_int_equal(request->json != NULL, cases[i].json);
        assert_true(text_is(request->body, "[{}]"));
        assert_true(!request->json || request->json[4] == '\0');
        request_release(fixture->decoder);
    }
}

static void headers_are_parameters_and_empty_ones_are_absent(void **state)
{
    struct fixture *fixture = *state;
    const char *params[] = {"HTTP_IDEMPOTENCY_KEY", "\"k\"", "HTTP_ORIGIN", "", NULL};
    const struct request *request = decode_params(fixture, params);
    expect_text(request->idempotency_key, "\"k\"");
    expect_text(request->origin, NULL);
    request_release(fixture->decoder);
    params[1] = "";
    request = decode_params(fixture, params);
    expect_text(request->idempotency_key, NULL);
    request_release(fixture->decoder);
}

static void the_endpoint_is_the_last_segment_or_all_behind_the_mount(void **state)
{
    static const struct {
        const char *mount, *uri, *endpoint; /* NULL: there is none */
    } cases[] = {{NULL, "/update", "update"},
                 {NULL, "update", "update"},
                 {NULL, "/a//update?x=/y", "update"},
                 {NULL, "/update/", ""},
                 {NULL, "", ""},
                 {NULL, "?", ""},
                 {NULL, "http://h/x/status", "status"},
                 {NULL, "/UPDATE", "UPDATE"},
                 {NULL, "/x?y/create", "x"},
                 {NULL, "/%63reate", "%63reate"},
                 {"/comet/", "/comet/update", "update"},
                 {"/comet/", "/comet/update?x=/comet/create", "update"},
                 {"/comet/", "/comet/x/create", "x/create"},
                 {"/comet/", "/comet//create", "/create"},
                 {"/comet/", "/comet/", ""},
                 {"/comet/", "/comet/create/", "create/"},
                 {"/comet/", "/comet/../comet/create", "../comet/create"},
                 {"/comet/", "/comet/%63reate", "%63reate"},
                 {"/comet/", "/comet", NULL},
                 {"/comet/", "/create", NULL},
                 {"/comet/", "//comet/create", NULL},
                 {"/comet/", "/x/comet/create", NULL},
                 {"/comet/", "/Comet/create", NULL},
                 {"/comet/", "http://h/comet/create", NULL},
                 {"/comet/", "", NULL}};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct request *request = decode(fixture, "GET", cases[i].uri, NULL, NULL);
        assert_null(request->fault);
        expect_text(request_endpoint(request, cases[i].mount), cases[i].endpoint);
        request_release(fixture->decoder);
    }
}

static void a_fragment_is_a_fault(void **state)
{
    static const char *const uris[] = {"/update#/create", "/update?a=1#/create", "#", "/create#",
                                       "/update?#"};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof uris / sizeof *uris; i++) {
        assert_non_null(decode(fixture, "GET", uris[i], NULL, NULL)->fault);
        request_release(fixture->decoder);
    }
    assert_null(decode(fixture, "GET", "/update?id=a%23b", NULL, NULL)->fault);
    request_release(fixture->decoder);
}

static void the_query_is_query_string_where_it_is_given(void **state)
{
    static const struct {
        const char *params[11];
        const char *endpoint, *channel; /* NULL: there is none */
    } cases[] = {
        {{"REQUEST_URI", "/c/update?channel=a", "QUERY_STRING", "channel=b"}, "update", "b"},
        {{"QUERY_STRING", "channel=b", "REQUEST_URI", "/c/update?channel=a"}, "update", "b"},
        {{"REQUEST_URI", "/c/update?channel=a", "QUERY_STRING", ""}, "update", NULL},
        {{"REQUEST_URI", "/c/update?channel=a"}, "update", "a"},
        {{"REQUEST_URI", "/c/update?channel=a?b"}, "update", "a?b"},
        {{"REQUEST_URI", "/c/update", "QUERY_STRING", "channel=b"}, "update", "b"},
        {{"SCRIPT_NAME", "/c", "PATH_INFO", "/update", "QUERY_STRING", "channel=b"}, "update", "b"},
        {{"SCRIPT_NAME", "/c/update"}, "update", NULL},
        /* these two are decoded already: it is no query, though it looks like one */
        {{"SCRIPT_NAME", "/c", "PATH_INFO", "/create?x=/update"}, "update", NULL},
        {{"PATH_INFO", "/create?channel=a", "QUERY_STRING", "channel=b"}, "create?channel=a", "b"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct request *request = decode_params(fixture, cases[i].params);
        expect_text(request_endpoint(request, NULL), cases[i].endpoint);
        expect_text(request_field(request, "channel"), cases[i].channel);
        request_release(fixture->decoder);
    }
}

static void of_a_parameter_that_comes_twice_the_last_counts(void **state)
{
    static const char *const params[] = {"QUERY_STRING", "channel=sent",   "REQUEST_URI",
                                         "/update",      "QUERY_STRINGS",  "channel=x",
                                         "QUERY_STRING", "channel=forced", NULL};
    struct fixture *fixture = *state;
    const struct request *request = decode_params(fixture, params);
    assert_true(text_is(request_field(request, "channel"), "forced"));
    request_release(fixture->decoder);
}

static void path_and_query_of_all_that_the_gate_lets_in_have_room(void **state)
{
    struct fixture *fixture = *state;
    enum { HALF = 32 * 1024 - 32 };
    char *uri = malloc(HALF + 1), *query = malloc(HALF + 1);
    memset(uri, 'u', HALF);
    memset(query, 'q', HALF);
    uri[HALF] = query[HALF] = '\0';
    const char *params[] = {"REQUEST_URI", uri, "QUERY_STRING", query, NULL};
    const struct request *request = decode_params(fixture, params);
    assert_int_equal(request->path.len, HALF);
    assert_int_equal(request->query.fields[0].name.len, HALF);
    request_release(fixture->decoder);
    free(uri);
    free(query);
}

static void a_form_of_too_many_fields_says_so(void **state)
{
    struct fixture *fixture = *state;
    char body[4 * FORM_FIELDS_MAX];
    memset(body, 0, sizeof body);
    for (int i = 0; i < FORM_FIELDS_MAX + 1; i++)
        strcat(body, "a&");
    const struct request *request = decode(fixture, "POST", "/update", form_type, body);
    assert_true(request->form.overflow);
    assert_int_equal(request->form.count, FORM_FIELDS_MAX);
    request_release(fixture->decoder);
}

static struct form form_of(char *text)
{
    struct form form;
    form_parse(&form, text, strlen(text));
    return form;
}

static void a_field_that_two_forms_share_is_found(void **state)
{
    static const struct {
        const char *a, *b, *shared; /* NULL: none */
    } cases[] = {{"", "", NULL},        {"a=1", "", NULL},
                 {"", "a=1", NULL},     {"a=1&b=2", "c", NULL},
                 {"a=1&b=2", "b", "b"}, {"a&a&a", "a&a", "a"},
                 {"%61=1", "a", "a"},   {"aa&a%00", "a&a%00b", NULL},
                 {"A", "a", NULL},      {"z&y&x&w", "q&r&x", "x"},
                 {"=1", "=2", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char a[64], b[64];
        strcpy(a, cases[i].a);
        strcpy(b, cases[i].b);
        struct form one = form_of(a), other = form_of(b);
        expect_text(form_shared(&one, &other), cases[i].shared);
    }
}

static void empty_fields_are_told_from_absent_ones(void **state)
{
    struct fixture *fixture = *state;
    const struct request *request = decode(fixture, "GET", "/update?&&id=&flag&=v&", NULL, NULL);
    assert_int_equal(request->query.count, 3);
    assert_non_null(request_field(request, "id").bytes);
    assert_int_equal(request_field(request, "id").len, 0);
    assert_non_null(request_field(request, "flag").bytes);
    assert_null(request_field(request, "channel").bytes);
    request_release(fixture->decoder);
}

static void libfcgi_leaves_our_signals_alone(void **state)
{
    struct sigaction action;
    sigaction(SIGTERM, NULL, &action);
    assert_ptr_equal(action.sa_handler, SIG_DFL);
    sigaction(SIGPIPE, NULL, &action);
    assert_ptr_equal(action.sa_handler, SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(libfcgi_decodes_from_a_memory_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_short_request_after_a_long_one_has_nothing_of_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(requests_of_all_lengths_follow_each_other, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_body_that_libfcgi_reads_otherwise_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(form_and_query_are_both_looked_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_is_known_by_its_type_and_may_be_changed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(headers_are_parameters_and_empty_ones_are_absent, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_endpoint_is_the_last_segment_or_all_behind_the_mount,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fragment_is_a_fault, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_query_is_query_string_where_it_is_given, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(of_a_parameter_that_comes_twice_the_last_counts, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(path_and_query_of_all_that_the_gate_lets_in_have_room,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_form_of_too_many_fields_says_so, set_up, tear_down),
        cmocka_unit_test(a_field_that_two_forms_share_is_found),
        cmocka_unit_test_setup_teardown(empty_fields_are_told_from_absent_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(libfcgi_leaves_our_signals_alone, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}

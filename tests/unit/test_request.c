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

#include "fcgi/request.h"
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

static const struct request *decode(struct fixture *fixture, const char *method, const char *uri,
                                    const char *type, const char *body)
{
    struct gate gate;
    buf_reset(&fixture->bytes);
    put_request(&fixture->bytes, 1, method, uri, type, body);
    gate_start(&gate, BODY_MAX);
    assert_int_equal(gate_scan(&gate, (uint8_t *)fixture->bytes.bytes, &fixture->bytes.len),
                     GATE_WHOLE);
    const struct request *request =
        request_decode(fixture->decoder, &gate, (uint8_t *)fixture->bytes.bytes);
    assert_non_null(request);
    return request;
}

static const char form_type[] = "application/x-www-form-urlencoded; charset=UTF-8";

static void libfcgi_decodes_from_a_memory_file(void **state)
{
    struct fixture *fixture = *state;
    for (int again = 0; again < 3; again++) {
        const struct request *request =
            decode(fixture, "POST", "/a/b/create?channel=news&x=1", "text/plain", "hello\n");
        assert_int_equal(request->method, METHOD_POST);
        assert_true(text_is(request->endpoint, "create"));
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

static void forms_win_over_the_query(void **state)
{
    struct fixture *fixture = *state;
    const struct request *request =
        decode(fixture, "POST", "/update?id=q&limit=5", form_type, "id=f&msg=a%20b+c%26%00%zz");
    assert_int_equal(request->body_kind, BODY_FORM);
    assert_true(text_is(request_field(request, "id"), "f"));
    assert_true(text_is(request_field(request, "limit"), "5"));
    struct text message = request_field(request, "msg");
    assert_int_equal(message.len, 10);
    assert_memory_equal(message.bytes, "a b c&\0%zz", 10);
    request_release(fixture->decoder);
}

static void only_the_last_segment_names_the_endpoint(void **state)
{
    static const struct {
        const char *uri, *endpoint;
    } cases[] = {{"/update", "update"},
                 {"update", "update"},
                 {"/a//update?x=/y", "update"},
                 {"/update/", ""},
                 {"", ""},
                 {"?", ""},
                 {"http://h/x/status", "status"},
                 {"/UPDATE", "UPDATE"},
                 {"/update#/create", "update"},
                 {"/update?a=1#/create", "update"}};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct request *request = decode(fixture, "GET", cases[i].uri, NULL, NULL);
        assert_true(text_is(request->endpoint, cases[i].endpoint));
        request_release(fixture->decoder);
    }
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
        cmocka_unit_test_setup_teardown(forms_win_over_the_query, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_the_last_segment_names_the_endpoint, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_form_of_too_many_fields_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(empty_fields_are_told_from_absent_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(libfcgi_leaves_our_signals_alone, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}

/* The gate: any bytes, in any portions, and only whole sane requests come through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fastcgi.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/wire/gate.h"
#include "tests/unit/fcgi_bytes.h"

enum { BODY_MAX = 100000 };

static enum gate_verdict scan(struct gate *gate, struct buf *bytes)
{
    gate_start(gate, BODY_MAX);
    return gate_scan(gate, (uint8_t *)bytes->bytes, &bytes->len);
}

/* Expects the bytes to be refused, and frees them. */
static void expect_refused(struct buf *bytes, const char *why)
{
    struct gate gate;
    assert_int_equal(scan(&gate, bytes), GATE_REFUSED);
    assert_string_equal(gate.why, why);
    buf_free(bytes);
}

static void a_whole_request_passes(void **state)
{
    struct buf bytes = {0};
    struct gate gate;
    put_request(&bytes, 7, "POST", "/comet/create", "text/plain", "hello");
    assert_int_equal(scan(&gate, &bytes), GATE_WHOLE);
    assert_int_equal(gate.scanned, bytes.len);
    assert_int_equal(gate.id, 7);
    assert_int_equal(gate.body_len, 5);
    assert_true(gate.keep);
    assert_false(gate.too_large);
    buf_free(&bytes);
}

/* The web server may pad any record, and set what the specification reserves. libfcgi, which takes
 * the padding of some records for records, sees neither. */
static void what_passes_is_written_anew(void **state)
{
    struct buf bytes = {0}, plain = {0}, trap = {0};
    struct gate gate;
    FCGI_BeginRequestBody begin = {.roleB0 = FCGI_RESPONDER, .flags = 0xff, .reserved = {9, 9}};
    put_record(&trap, FCGI_PARAMS, 5, "\1\1AB", 4, 100);
    put_record(&bytes, FCGI_BEGIN_REQUEST, 5, &begin, sizeof begin, (uint8_t)trap.len);
    memcpy(bytes.bytes + bytes.len - trap.len, trap.bytes, trap.len);
    bytes.bytes[7] = 9;
    put_record(&bytes, FCGI_PARAMS, 5, "\1\1X", 3, 255);
    put_record(&bytes, FCGI_PARAMS, 5, "Y", 1, 7);
    put_record(&bytes, FCGI_PARAMS, 5, NULL, 0, 1);
    put_record(&bytes, FCGI_STDIN, 5, "body", 4, 4);
    put_record(&bytes, FCGI_STDIN, 5, NULL, 0, 8);
    put_begin(&plain, 5, FCGI_KEEP_CONN);
    put_record(&plain, FCGI_PARAMS, 5, "\1\1X", 3, 0);
    put_record(&plain, FCGI_PARAMS, 5, "Y", 1, 0);
    put_record(&plain, FCGI_PARAMS, 5, NULL, 0, 0);
    put_record(&plain, FCGI_STDIN, 5, "body", 4, 0);
    put_record(&plain, FCGI_STDIN, 5, NULL, 0, 0);
    assert_int_equal(scan(&gate, &bytes), GATE_WHOLE);
    assert_int_equal(bytes.len, plain.len);
    assert_memory_equal(bytes.bytes, plain.bytes, plain.len);
    buf_free(&bytes);
    buf_free(&plain);
    buf_free(&trap);
}

static void every_portion_leads_to_the_same_end(void **state)
{
    struct buf bytes = {0}, whole = {0};
    struct gate gate;
    put_request(&bytes, 1, "GET", "/comet/update?id=now", NULL, "a body");
    buf_add(&whole, bytes.bytes, bytes.len);
    assert_int_equal(scan(&gate, &whole), GATE_WHOLE);
    for (size_t step = 1; step <= bytes.len; step++) {
        struct buf kept = {0};
        gate_start(&gate, BODY_MAX);
        enum gate_verdict verdict = GATE_MORE;
        for (size_t at = 0; at < bytes.len; at += step) {
            assert_int_equal(verdict, GATE_MORE);
            buf_add(&kept, bytes.bytes + at, step < bytes.len - at ? step : bytes.len - at);
            verdict = gate_scan(&gate, (uint8_t *)kept.bytes, &kept.len);
        }
        assert_int_equal(verdict, GATE_WHOLE);
        assert_int_equal(gate.scanned, kept.len);
        assert_int_equal(kept.len, whole.len);
        assert_memory_equal(kept.bytes, whole.bytes, whole.len);
        buf_free(&kept);
    }
    buf_free(&bytes);
    buf_free(&whole);
}

static void a_pair_may_span_records(void **state)
{
    struct buf bytes = {0}, params = {0};
    char value[300];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    put_pair(&params, "A_NAME", value);
    put_begin(&bytes, 1, 0);
    for (size_t i = 0; i < params.len; i++)
        put_record(&bytes, FCGI_PARAMS, 1, params.bytes + i, 1, (uint8_t)i);
    put_record(&bytes, FCGI_PARAMS, 1, NULL, 0, 0);
    put_record(&bytes, FCGI_STDIN, 1, NULL, 0, 0);
    struct gate gate;
    assert_int_equal(scan(&gate, &bytes), GATE_WHOLE);
    buf_free(&bytes);
    buf_free(&params);
}

/* Of a pair in two records the gate does not have both at a time. */
static void only_parameters_that_are_used_pass(void **state)
{
    struct buf bytes = {0}, plain = {0}, params = {0}, used = {0};
    struct gate gate;
    put_pair(&params, "HTTP_COOKIE", "a=b");
    put_pair(&params, "QUERY_STRING", "q");
    put_pair(&params, "", "");
    put_pair(&params, "HTTP_HOST=a", "b");
    put_pair(&params, "HTTP_HOST", "");
    put_pair(&params, "QUERY_STRING", "r");
    put_pair(&params, "HTTP_ACCEPT", "*");
    put_pair(&used, "QUERY_STRING", "q");
    put_pair(&used, "HTTP_HOST", "");
    put_pair(&used, "QUERY_STRING", "r");
    put_begin(&bytes, 1, 0);
    put_record(&bytes, FCGI_PARAMS, 1, params.bytes, params.len, 3);
    put_record(&bytes, FCGI_PARAMS, 1, "AB", 4, 0);
    put_record(&bytes, FCGI_PARAMS, 1, "A", 3, 0);
    put_record(&bytes, FCGI_PARAMS, 1, "BCD", 5, 0);
    put_record(&bytes, FCGI_PARAMS, 1, NULL, 0, 0);
    put_record(&bytes, FCGI_STDIN, 1, NULL, 0, 0);
    put_begin(&plain, 1, 0);
    put_record(&plain, FCGI_PARAMS, 1, used.bytes, used.len, 0);
    put_record(&plain, FCGI_PARAMS, 1, "A", 3, 0);
    put_record(&plain, FCGI_PARAMS, 1, "B", 1, 0);
    put_record(&plain, FCGI_PARAMS, 1, NULL, 0, 0);
    put_record(&plain, FCGI_STDIN, 1, NULL, 0, 0);
    assert_int_equal(scan(&gate, &bytes), GATE_WHOLE);
    assert_int_equal(gate.pairs, 4);
    assert_int_equal(bytes.len, plain.len);
    assert_memory_equal(bytes.bytes, plain.bytes, plain.len);
    buf_free(&bytes);
    buf_free(&plain);
    buf_free(&params);
    buf_free(&used);
}

static void management_records_are_refused_at_their_header(void **state)
{
    struct buf bytes = {0};
    put_record(&bytes, FCGI_GET_VALUES, 0, "x", 1, 0);
    bytes.len = FCGI_HEADER_LEN;
    expect_refused(&bytes, "the first record is not BEGIN_REQUEST");
}

static void wrong_versions_are_refused(void **state)
{
    struct buf bytes = {0};
    put_begin(&bytes, 1, 0);
    bytes.bytes[0] = 2;
    expect_refused(&bytes, "the protocol's version is not 1");
}

static void other_roles_are_refused(void **state)
{
    struct buf bytes = {0};
    FCGI_BeginRequestBody begin = {.roleB0 = FCGI_AUTHORIZER};
    put_record(&bytes, FCGI_BEGIN_REQUEST, 1, &begin, sizeof begin, 0);
    expect_refused(&bytes, "the role is not responder");
}

static void request_id_0_is_refused(void **state)
{
    struct buf bytes = {0};
    put_begin(&bytes, 0, 0);
    expect_refused(&bytes, "the request's id is 0");
}

static void mixed_requests_are_refused(void **state)
{
    struct buf bytes = {0};
    put_begin(&bytes, 1, 0);
    put_record(&bytes, FCGI_PARAMS, 2, NULL, 0, 0);
    expect_refused(&bytes, "records of two requests are mixed");
}

static void abort_request_is_refused(void **state)
{
    struct buf bytes = {0};
    put_begin(&bytes, 1, 0);
    put_record(&bytes, FCGI_ABORT_REQUEST, 1, NULL, 0, 0);
    expect_refused(&bytes, "an unexpected record");
}

static void absurd_lengths_are_refused(void **state)
{
    struct buf bytes = {0};
    put_begin(&bytes, 1, 0);
    put_record(&bytes, FCGI_PARAMS, 1, "\xff\xff\xff\xfe\x01", 5, 0);
    expect_refused(&bytes, "a parameter is too long");
    put_begin(&bytes, 1, 0);
    put_record(&bytes, FCGI_PARAMS, 1, "\x01\xff\xff\xff\xfe", 5, 0);
    expect_refused(&bytes, "a parameter is too long");
}

static void parameters_cut_in_a_pair_are_refused(void **state)
{
    struct buf bytes = {0};
    put_begin(&bytes, 1, 0);
    put_record(&bytes, FCGI_PARAMS, 1,
               "\x05\x05"
               "abc",
               5, 0);
    put_record(&bytes, FCGI_PARAMS, 1, NULL, 0, 0);
    expect_refused(&bytes, "the parameters end in the middle of a pair");
}

static void too_many_parameters_are_refused(void **state)
{
    struct buf bytes = {0};
    char zeros[60000] = {0}; /* pairs of nothing */
    put_begin(&bytes, 1, 0);
    put_record(&bytes, FCGI_PARAMS, 1, zeros, sizeof zeros, 0);
    put_record(&bytes, FCGI_PARAMS, 1, zeros, sizeof zeros, 0);
    expect_refused(&bytes, "the parameters are too long");
}

static void an_oversized_body_is_read_in_constant_memory(void **state)
{
    struct buf bytes = {0};
    struct gate gate;
    char part[60000];
    memset(part, 'x', sizeof part);
    put_request(&bytes, 1, "POST", "/create", "text/plain", NULL);
    bytes.len -= FCGI_HEADER_LEN; /* the empty STDIN comes later */
    gate_start(&gate, BODY_MAX);
    size_t most = 0;
    for (int i = 0; i < 100; i++) {
        put_record(&bytes, FCGI_STDIN, 1, part, sizeof part, 0);
        assert_int_equal(gate_scan(&gate, (uint8_t *)bytes.bytes, &bytes.len), GATE_MORE);
        most = bytes.len > most ? bytes.len : most;
    }
    put_record(&bytes, FCGI_STDIN, 1, NULL, 0, 0);
    assert_int_equal(gate_scan(&gate, (uint8_t *)bytes.bytes, &bytes.len), GATE_WHOLE);
    assert_true(gate.too_large);
    assert_int_equal(gate.body_len, 100 * sizeof part);
    assert_true(most < BODY_MAX + 2 * sizeof part);
    buf_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_request_passes),
        cmocka_unit_test(what_passes_is_written_anew),
        cmocka_unit_test(every_portion_leads_to_the_same_end),
        cmocka_unit_test(a_pair_may_span_records),
        cmocka_unit_test(only_parameters_that_are_used_pass),
        cmocka_unit_test(management_records_are_refused_at_their_header),
        cmocka_unit_test(wrong_versions_are_refused),
        cmocka_unit_test(other_roles_are_refused),
        cmocka_unit_test(request_id_0_is_refused),
        cmocka_unit_test(mixed_requests_are_refused),
        cmocka_unit_test(abort_request_is_refused),
        cmocka_unit_test(absurd_lengths_are_refused),
        cmocka_unit_test(parameters_cut_in_a_pair_are_refused),
        cmocka_unit_test(too_many_parameters_are_refused),
        cmocka_unit_test(an_oversized_body_is_read_in_constant_memory),
    };
    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}

/* The gate and libfcgi read the same bytes in the same way, whatever they are: requests that are
 * put together and then changed at random, against a plain reading after the specification.
 * ENCKE_STREAMS says how many are tried (4,000), ENCKE_SEED which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fastcgi.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/wire/gate.h"
#include "fcgi/wire/request.h"
#include "tests/unit/fcgi_bytes.h"
#include "tests/unit/reference.h"

static unsigned below(unsigned limit)
{
    return (unsigned)random() % limit;
}

static uint8_t random_padding(void)
{
    return (uint8_t)(below(3) == 0 ? below(256) : below(2) * below(9));
}

/* Padding that looks like the records that could follow: what libfcgi once took it for. */
static void fill_padding(char *padding, size_t len, uint16_t id)
{
    struct buf trap = {0};
    static const uint8_t types[] = {FCGI_PARAMS, FCGI_STDIN, FCGI_GET_VALUES, FCGI_BEGIN_REQUEST};
    while (trap.len < len)
        put_record(&trap, types[below(4)], id, "\3\2NEWxyNEWxyNEWxy", below(16),
                   (uint8_t)below(40));
    if (len > 0)
        memcpy(padding, trap.bytes, len);
    buf_free(&trap);
}

static void put_padded(struct buf *out, uint8_t type, uint16_t id, const void *content, size_t len)
{
    uint8_t padding = random_padding();
    put_record(out, type, id, content, len, padding);
    char *end = out->bytes + out->len;
    fill_padding(end - padding, padding, id);
    end[-(int)padding - (int)len - 1] = (char)below(3); /* reserved */
}

static void put_stream(struct buf *out, uint8_t type, uint16_t id, const struct buf *content)
{
    size_t most = below(2) ? 65535 : 1 + below(200);
    for (size_t at = 0, len; at < content->len; at += len) {
        len = 1 + below((unsigned)most);
        len = len < content->len - at ? len : content->len - at;
        put_padded(out, type, id, content->bytes + at, len);
    }
    put_padded(out, type, id, NULL, 0);
}

/* A length in four bytes though one would do is allowed (3.4). */
static void put_length(struct buf *out, unsigned len)
{
    uint8_t four[] = {(uint8_t)(0x80 | len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                      (uint8_t)len};
    bool one = len < 0x80 && below(4) > 0;
    buf_add(out, one ? &four[3] : four, one ? 1 : 4);
}

static void put_random(struct buf *out, size_t len)
{
    static const char alphabet[] = "ABC_=/?&%#\0x";
    char *room = buf_room(out, len + 1);
    assert_non_null(room);
    for (size_t i = 0; i < len; i++)
        room[i] = below(20) == 0 ? (char)below(256) : alphabet[below(sizeof alphabet - 1)];
    out->len += len;
}

static void put_params(struct buf *params)
{
    static const char *const names[] = {"REQUEST_URI",  "SCRIPT_NAME",   "PATH_INFO",
                                        "QUERY_STRING", "CONTENT_TYPE",  "CONTENT_LENGTH",
                                        "FCGI_ROLE",    "REQUEST_METHOD"};
    unsigned most = below(50) == 0 ? 66000 : 60;
    for (unsigned pairs = below(below(30) == 0 ? 500 : 12); pairs > 0; pairs--) {
        const char *name = below(3) ? names[below(8)] : NULL;
        unsigned name_len = name ? (unsigned)strlen(name) : below(20), len = below(most);
        put_length(params, name_len);
        put_length(params, len);
        if (name)
            buf_puts(params, name);
        else
            put_random(params, name_len);
        put_random(params, len);
    }
}

static void put_some_request(struct buf *out)
{
    struct buf params = {0}, body = {0};
    uint16_t id = (uint16_t)below(below(2) ? 3 : 65536);
    FCGI_BeginRequestBody begin = {.roleB0 = FCGI_RESPONDER, .flags = (uint8_t)below(256)};
    put_params(&params);
    put_random(&body, below(4) == 0 ? below(below(40) ? 300 : 2 * REFERENCE_BODY_MAX) : 0);
    put_padded(out, FCGI_BEGIN_REQUEST, id, &begin, sizeof begin);
    put_stream(out, FCGI_PARAMS, id, &params);
    put_stream(out, FCGI_STDIN, id, &body);
    buf_free(&params);
    buf_free(&body);
}

static void change(struct buf *bytes)
{
    for (unsigned changes = below(2) * below(6); changes > 0; changes--)
        bytes->bytes[below((unsigned)bytes->len)] = (char)(below(2) ? below(256) : below(12));
    if (below(20) == 0)
        bytes->len = below((unsigned)bytes->len + 1);
}

static unsigned long setting(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 10) : otherwise;
}

static void gate_and_libfcgi_never_differ(void **state)
{
    struct decoder *decoder = decoder_new(REFERENCE_BODY_MAX);
    struct buf bytes = {0};
    unsigned long streams = setting("ENCKE_STREAMS", 4000), through = 0;
    srandom((unsigned)setting("ENCKE_SEED", 1));
    for (unsigned long i = 0; i < streams; i++) {
        bool whole;
        buf_reset(&bytes);
        put_some_request(&bytes);
        change(&bytes);
        const char *differs =
            agree(decoder, (const uint8_t *)bytes.bytes, bytes.len, (unsigned)random(), &whole);
        if (differs)
            fail_msg("stream %lu: %s", i, differs);
        through += whole;
    }
    print_message("%lu streams, of which %lu are requests: no difference\n", streams, through);
    assert_true(through > streams / 4);
    buf_free(&bytes);
    decoder_free(decoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gate_and_libfcgi_never_differ)};
    return cmocka_run_group_tests_name("differential", tests, NULL, NULL);
}

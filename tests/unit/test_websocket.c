/* WebSocket frames: any bytes, in any portions, and the code that RFC 6455 has for each fault. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#include "fcgi/wire/websocket.h"

enum { MAX = 1000, RATE = 100, FIN = 0x80, MASKED = 0x80 };

/* Bytes in use by the whole program. Only the sanitizer counts them exactly. */
#ifdef __SANITIZE_ADDRESS__
size_t __sanitizer_get_current_allocated_bytes(void);
#define memory __sanitizer_get_current_allocated_bytes
#else
static size_t memory(void)
{
    skip(); /* does not return, so nothing may have been allocated before */
    return 0;
}
#endif

/* ---- a client's frames ---- */

static void put_header(struct buf *out, int first, int masked, uint64_t len)
{
    uint8_t header[10] = {(uint8_t)first};
    int extended = len < 126 ? 0 : len <= UINT16_MAX ? 2 : 8;
    header[1] = (uint8_t)(masked | (extended == 0 ? (int)len : extended == 2 ? 126 : 127));
    for (int i = 0; i < extended; i++)
        header[2 + i] = (uint8_t)(len >> 8 * (extended - 1 - i));
    buf_add(out, header, (size_t)(2 + extended));
}

/* first: FIN, the reserved bits and the opcode. */
static void put_bytes(struct buf *out, int first, const void *payload, size_t len)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    put_header(out, first, MASKED, len);
    buf_add(out, mask, sizeof mask);
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = ((const uint8_t *)payload)[i] ^ mask[i % 4];
        buf_add(out, &byte, 1);
    }
}

static void put(struct buf *out, int first, const char *payload)
{
    put_bytes(out, first, payload, strlen(payload));
}

static void put_closing(struct buf *out, unsigned code, const char *why)
{
    char payload[128];
    payload[0] = (char)(code >> 8);
    payload[1] = (char)code;
    size_t len = (size_t)snprintf(payload + 2, sizeof payload - 2, "%s", why);
    put_bytes(out, FIN | WSLAY_CONNECTION_CLOSE, payload, 2 + len);
}

/* ---- what comes of them ---- */

/* Writes down what the bytes so far have led to: "text hello\n", "sent 8a00\n". */

static void note(struct buf *story, struct websocket *websocket, struct buf *out)
{
    for (struct text text; (text = websocket_first(websocket)).bytes; websocket_drop(websocket)) {
        assert_int_equal(text.bytes[text.len], '\0');
        buf_puts(story, "text ");
        buf_add(story, text.bytes, text.len);
        buf_puts(story, "\n");
    }
    assert_true(buf_ok(out));
    if (out->len > 0)
        buf_puts(story, "sent ");
    for (size_t i = 0; i < out->len; i++)
        buf_printf(story, "%02x", (uint8_t)out->bytes[i]);
    if (out->len > 0)
        buf_puts(story, "\n");
    buf_reset(out);
}

/* Feeds bytes in portions of step, each copied to where its memory ends, and tells the story. */
static char *told(const struct buf *bytes, size_t step)
{
    struct websocket *websocket = websocket_new(MAX, RATE);
    struct buf story = {0}, out = {0};
    for (size_t at = 0; at < bytes->len; at += step) {
        size_t len = bytes->len - at < step ? bytes->len - at : step;
        uint8_t *exact = malloc(len);
        memcpy(exact, bytes->bytes + at, len);
        websocket_feed(websocket, exact, len, 5000, &out);
        free(exact);
        note(&story, websocket, &out);
    }
    if (websocket_closing(websocket))
        buf_printf(&story, "closing %u\n", websocket_closing(websocket));
    websocket_free(websocket);
    buf_free(&out);
    buf_add(&story, "", 1);
    assert_true(buf_ok(&story));
    return story.bytes;
}

/* Expects the story from bytes in portions of every size, and frees them. The bytes must hold at
 * most one ping, since pongs are written down together. */
static void expect(struct buf *bytes, const char *story)
{
    for (size_t step = bytes->len; step > 0; step--) {
        char *this = told(bytes, step);
        if (strcmp(this, story) != 0)
            fail_msg("in portions of %zu:\n%s---- instead of:\n%s", step, this, story);
        free(this);
    }
    buf_free(bytes);
}

static void texts_come_out_whole_and_in_order(void **state)
{
    struct buf bytes = {0};
    put(&bytes, FIN | WSLAY_TEXT_FRAME, "hello");
    put(&bytes, FIN | WSLAY_TEXT_FRAME, "");
    put(&bytes, FIN | WSLAY_TEXT_FRAME, "w\xc3\xb6rld");
    expect(&bytes, "text hello\ntext \ntext w\xc3\xb6rld\n");
}

static void fragments_are_put_together(void **state)
{
    struct buf bytes = {0};
    put(&bytes, WSLAY_TEXT_FRAME, "");
    put(&bytes, WSLAY_CONTINUATION_FRAME, "one \xe2\x82");
    put(&bytes, WSLAY_CONTINUATION_FRAME, "\xac");
    put(&bytes, WSLAY_CONTINUATION_FRAME, "");
    put(&bytes, FIN | WSLAY_CONTINUATION_FRAME, "");
    put(&bytes, WSLAY_TEXT_FRAME, "two");
    put(&bytes, FIN | WSLAY_CONTINUATION_FRAME, ", three");
    put(&bytes, FIN | WSLAY_TEXT_FRAME, "four");
    expect(&bytes, "text one \xe2\x82\xac\ntext two, three\ntext four\n");
}

static void every_length_is_read(void **state)
{
    static const size_t lengths[] = {1, 125, 126, 127, 65535, 65536, 65537, 200000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct buf bytes = {0}, out = {0};
        char *text = malloc(lengths[i]);
        for (size_t at = 0; at < lengths[i]; at++)
            text[at] = (char)('a' + at % 26);
        put_bytes(&bytes, FIN | WSLAY_TEXT_FRAME, text, lengths[i]);
        struct websocket *websocket = websocket_new(lengths[i], RATE);
        websocket_feed(websocket, (uint8_t *)bytes.bytes, bytes.len, 0, &out);
        struct text first = websocket_first(websocket);
        assert_non_null(first.bytes);
        assert_int_equal(first.len, lengths[i]);
        assert_memory_equal(first.bytes, text, lengths[i]);
        websocket_free(websocket);
        free(text);
        buf_free(&bytes);
        assert_int_equal(out.len, 0);
    }
}

static void nuls_in_a_text_are_handed_on(void **state)
{
    struct buf bytes = {0};
    put_bytes(&bytes, FIN | WSLAY_TEXT_FRAME, "a\0b", 3);
    struct websocket *websocket = websocket_new(MAX, RATE);
    websocket_feed(websocket, (uint8_t *)bytes.bytes, bytes.len, 0, NULL);
    assert_int_equal(websocket_first(websocket).len, 3);
    websocket_free(websocket);
    buf_free(&bytes);
}

static void a_ping_is_answered_with_its_content(void **state)
{
    struct buf bytes = {0};
    put(&bytes, FIN | WSLAY_PING, "hi");
    expect(&bytes, "sent 8a026869\n");
    put(&bytes, FIN | WSLAY_PING, "");
    expect(&bytes, "sent 8a00\n");
    put(&bytes, WSLAY_TEXT_FRAME, "be");
    put(&bytes, FIN | WSLAY_PING, "hi");
    put(&bytes, FIN | WSLAY_CONTINUATION_FRAME, "tween");
    char *story = told(&bytes, bytes.len);
    assert_string_equal(story, "text between\nsent 8a026869\n");
    free(story);
    story = told(&bytes, 1);
    assert_string_equal(story, "sent 8a026869\ntext between\n");
    free(story);
    buf_free(&bytes);
}

static void of_many_pings_at_once_each_gets_its_pong(void **state)
{
    struct buf bytes = {0}, out = {0};
    for (int i = 0; i < 500; i++) {
        char payload[16];
        snprintf(payload, sizeof payload, "%03d", i);
        put(&bytes, FIN | WSLAY_PING, payload);
    }
    struct websocket *websocket = websocket_new(MAX, 100);
    websocket_feed(websocket, (uint8_t *)bytes.bytes, bytes.len, 5000, &out);
    assert_int_equal(websocket_closing(websocket), 0);
    assert_int_equal(out.len, 500 * 5);
    for (int i = 0; i < 500; i++) {
        char pong[16];
        snprintf(pong, sizeof pong, "\x8a\x03%03d", i);
        assert_memory_equal(out.bytes + (size_t)i * 5, pong, 5);
    }
    websocket_free(websocket);
    buf_free(&bytes);
    buf_free(&out);
}

static void pings_above_the_rate_get_no_pong(void **state)
{
    struct buf bytes = {0}, out = {0};
    for (int i = 0; i < 2 * WEBSOCKET_BURST; i++)
        put(&bytes, FIN | WSLAY_PING, "");
    struct websocket *websocket = websocket_new(MAX, 1);
    websocket_feed(websocket, (uint8_t *)bytes.bytes, bytes.len, 5000, &out);
    assert_int_equal(websocket_closing(websocket), WEBSOCKET_TOO_MANY);
    assert_int_equal(out.len, 2 * WEBSOCKET_BURST);
    websocket_free(websocket);
    buf_free(&bytes);
    buf_free(&out);
}

static void the_longest_ping_is_answered_whatever_max_message_is(void **state)
{
    struct buf bytes = {0}, out = {0};
    char payload[125];
    memset(payload, 'p', sizeof payload);
    put_bytes(&bytes, FIN | WSLAY_PING, payload, sizeof payload);
    struct websocket *websocket = websocket_new(1, RATE);
    websocket_feed(websocket, (uint8_t *)bytes.bytes, bytes.len, 0, &out);
    assert_int_equal(websocket_closing(websocket), 0);
    assert_int_equal(out.len, 127);
    assert_memory_equal(out.bytes + 2, payload, sizeof payload);
    websocket_free(websocket);
    buf_free(&bytes);
    buf_free(&out);
}

static void a_pong_asks_for_nothing(void **state)
{
    struct buf bytes = {0}, out = {0};
    struct websocket *websocket = websocket_new(MAX, RATE);
    put(&bytes, FIN | WSLAY_PONG, "any");
    websocket_feed(websocket, (uint8_t *)bytes.bytes, bytes.len, 0, &out);
    assert_int_equal(out.len, 0);
    assert_null(websocket_first(websocket).bytes);
    assert_int_equal(websocket_closing(websocket), 0);
    websocket_free(websocket);
    buf_free(&bytes);
}

/* ---- the end ---- */

static void a_close_is_answered_with_its_code(void **state)
{
    static const unsigned codes[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
                                     1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
    char story[32];
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct buf bytes = {0};
        put_closing(&bytes, codes[i], i % 2 ? "so long, \xe2\x98\x83" : "");
        snprintf(story, sizeof story, "closing %u\n", codes[i]);
        expect(&bytes, story);
    }
    struct buf bytes = {0};
    put(&bytes, FIN | WSLAY_CONNECTION_CLOSE, "");
    expect(&bytes, "closing 1000\n");
}

static void a_close_that_is_none_is_a_fault(void **state)
{
    static const unsigned codes[] = {0,    1,    999,  1004, 1005, 1006, 1015,
                                     1016, 1100, 2000, 2999, 5000, 65535};
    struct buf bytes = {0};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        put_closing(&bytes, codes[i], "why");
        expect(&bytes, "closing 1002\n");
    }
    put(&bytes, FIN | WSLAY_CONNECTION_CLOSE, "x"); /* half a code */
    expect(&bytes, "closing 1002\n");
    put_closing(&bytes, 1000, "caf\xc3");
    expect(&bytes, "closing 1007\n");
}

static void nothing_counts_after_a_close(void **state)
{
    struct buf bytes = {0};
    put(&bytes, FIN | WSLAY_TEXT_FRAME, "before");
    put_closing(&bytes, 1000, "");
    put(&bytes, FIN | WSLAY_TEXT_FRAME, "after");
    put(&bytes, FIN | WSLAY_PING, "after");
    put(&bytes, FIN | 0x70 | WSLAY_BINARY_FRAME, "\xff");
    expect(&bytes, "text before\nclosing 1000\n");
}

static void a_ping_before_the_close_is_still_answered(void **state)
{
    struct buf bytes = {0};
    put(&bytes, FIN | WSLAY_PING, "");
    put_closing(&bytes, 1000, "");
    expect(&bytes, "sent 8a00\nclosing 1000\n");
}

/* Expects these bytes behind a good text to end the WebSocket, and frees them. */
static void expect_fault(struct buf *bytes, unsigned code)
{
    struct buf all = {0};
    char story[64];
    put(&all, FIN | WSLAY_TEXT_FRAME, "good");
    buf_add(&all, bytes->bytes, bytes->len);
    put(&all, FIN | WSLAY_TEXT_FRAME, "after");
    snprintf(story, sizeof story, "text good\nclosing %u\n", code);
    expect(&all, story);
    buf_free(bytes);
}

static void frames_that_the_rfc_forbids_are_1002(void **state)
{
    struct buf bytes = {0};
    put_header(&bytes, FIN | WSLAY_TEXT_FRAME, 0, 5); /* not masked */
    buf_puts(&bytes, "hello");
    expect_fault(&bytes, 1002);
    put_header(&bytes, FIN | WSLAY_PING, 0, 0);
    expect_fault(&bytes, 1002);
    for (int bit = 0x10; bit <= 0x40; bit <<= 1) { /* reserved bits */
        put(&bytes, FIN | bit | WSLAY_TEXT_FRAME, "x");
        expect_fault(&bytes, 1002);
        put(&bytes, FIN | bit | WSLAY_PING, "");
        expect_fault(&bytes, 1002);
    }
    for (int opcode = 0; opcode < 16; opcode++) {
        if (opcode >= 3 && opcode != WSLAY_CONNECTION_CLOSE && opcode != WSLAY_PING &&
            opcode != WSLAY_PONG) { /* reserved ones */
            put(&bytes, FIN | opcode, "x");
            expect_fault(&bytes, 1002);
            put(&bytes, FIN | opcode, "");
            expect_fault(&bytes, 1002);
        }
        if (opcode >= 8) {
            put(&bytes, opcode, ""); /* control frames in fragments */
            expect_fault(&bytes, 1002);
            put_header(&bytes, FIN | opcode, MASKED, 126); /* and long ones */
            expect_fault(&bytes, 1002);
        }
    }
    put(&bytes, FIN | WSLAY_CONTINUATION_FRAME, "x"); /* of nothing */
    expect_fault(&bytes, 1002);
    put(&bytes, WSLAY_CONTINUATION_FRAME, "");
    expect_fault(&bytes, 1002);
    put(&bytes, WSLAY_TEXT_FRAME, "one"); /* a message in a message */
    put(&bytes, FIN | WSLAY_TEXT_FRAME, "two");
    expect_fault(&bytes, 1002);
    put(&bytes, WSLAY_TEXT_FRAME, "");
    put(&bytes, FIN | WSLAY_BINARY_FRAME, "two");
    expect_fault(&bytes, 1002);
}

static void lengths_not_in_their_shortest_form_are_1002(void **state)
{
    static const char *const headers[] = {
        "\x81\xfe\x00\x7d", "\x81\xfe\x00\x00", "\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff",
        "\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00", "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff"};
    static const size_t sizes[] = {4, 4, 10, 10, 10};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buf bytes = {0};
        buf_add(&bytes, headers[i], sizes[i]);
        expect_fault(&bytes, 1002);
    }
}

static void binary_is_1003(void **state)
{
    struct buf bytes = {0};
    put(&bytes, FIN | WSLAY_BINARY_FRAME, "x");
    expect_fault(&bytes, 1003);
    put(&bytes, WSLAY_BINARY_FRAME, "");
    expect_fault(&bytes, 1003);
}

static void what_is_not_utf8_is_1007(void **state)
{
    static const char *const texts[] = {"\xff",
                                        "a\x80",
                                        "\xc3",
                                        "\xc3(",
                                        "\xc0\xaf",
                                        "\xe2\x82",
                                        "\xe0\x80\xaf",
                                        "\xed\xa0\x80",
                                        "\xed\xbf\xbf",
                                        "\xf0\x80\x80\xaf",
                                        "\xf4\x90\x80\x80",
                                        "\xf8\x88\x80\x80\x80",
                                        "\xf0\x9f\x98",
                                        "ok \xf0\x9f\x98\x80 \xfe"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buf bytes = {0};
        put(&bytes, FIN | WSLAY_TEXT_FRAME, texts[i]);
        expect_fault(&bytes, 1007);
        put_bytes(&bytes, WSLAY_TEXT_FRAME, texts[i], 1);
        put(&bytes, FIN | WSLAY_CONTINUATION_FRAME, texts[i] + 1);
        expect_fault(&bytes, 1007);
    }
}

static void more_than_max_message_is_1009(void **state)
{
    struct buf bytes = {0};
    char text[MAX + 1];
    memset(text, 'x', sizeof text);
    put_bytes(&bytes, FIN | WSLAY_TEXT_FRAME, text, MAX + 1);
    expect_fault(&bytes, 1009);

    put_header(&bytes, FIN | WSLAY_TEXT_FRAME, MASKED, (uint64_t)INT64_MAX);
    buf_puts(&bytes, "mask1");
    expect_fault(&bytes, 1009);

    put_bytes(&bytes, WSLAY_TEXT_FRAME, text, MAX);
    put_bytes(&bytes, WSLAY_CONTINUATION_FRAME, text, 1);
    expect_fault(&bytes, 1009);
}

/* Whether the first len bytes end it, and those before do not, in portions of one and at once. */
static void expect_judged_at(const struct buf *bytes, size_t len, unsigned code)
{
    for (int whole = 0; whole < 2; whole++) {
        struct buf out = {0};
        struct websocket *websocket = websocket_new(MAX, RATE);
        const uint8_t *from = (const uint8_t *)bytes->bytes;
        for (size_t i = 0; !whole && i < len - 1; i++)
            websocket_feed(websocket, from + i, 1, 5000, &out);
        if (whole)
            websocket_feed(websocket, from, len - 1, 5000, &out);
        assert_int_equal(websocket_closing(websocket), 0);
        websocket_feed(websocket, from + len - 1, 1, 5000, &out);
        assert_int_equal(websocket_closing(websocket), code);
        websocket_free(websocket);
        buf_free(&out);
    }
}

static void a_header_is_judged_before_any_payload(void **state)
{
    static const struct {
        int first;
        uint64_t len;
        unsigned code;
    } cases[] = {
        {FIN | WSLAY_TEXT_FRAME, 1 << 30, 1009},   {FIN | WSLAY_TEXT_FRAME, MAX + 1, 1009},
        {FIN | WSLAY_BINARY_FRAME, 5, 1003},       {FIN | WSLAY_CONTINUATION_FRAME, 5, 1002},
        {FIN | WSLAY_BINARY_FRAME, 1 << 20, 1003},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf bytes = {0};
        put_header(&bytes, FIN | WSLAY_TEXT_FRAME, MASKED, 0);
        buf_puts(&bytes, "mask");
        put_header(&bytes, cases[i].first, MASKED, cases[i].len);
        buf_puts(&bytes, "mask");
        expect_judged_at(&bytes, bytes.len, cases[i].code);
        buf_free(&bytes);
    }
}

static void bad_utf8_is_1007_at_its_first_bad_byte(void **state)
{
    static const struct {
        const char *text;
        size_t bad; /* the byte that makes it so */
    } cases[] = {
        {"\xff waits", 1},         {"ab\x80 waits", 3},          {"\xc3( waits", 2},
        {"\xc0\xaf", 1},           {"\xe0\x80\xaf", 2},          {"\xed\xa0\x80", 2},
        {"\xf0\x8f\x80\x80", 2},   {"\xf4\x90\x80\x80", 2},      {"\xf5\x80", 1},
        {"\xf0\x9f\x98 waits", 4}, {"\xc3\xa4\xe2\x82 more", 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf bytes = {0};
        put(&bytes, FIN | WSLAY_TEXT_FRAME, cases[i].text);
        size_t header = bytes.len - strlen(cases[i].text);
        if (cases[i].bad < strlen(cases[i].text))
            expect_judged_at(&bytes, header + cases[i].bad, 1007);
        buf_free(&bytes);
    }
}

static void max_message_itself_is_taken_in_one_or_many(void **state)
{
    for (size_t part = 1; part <= MAX; part += part < 10 ? 1 : 90) {
        struct buf bytes = {0};
        char text[MAX];
        memset(text, 'x', sizeof text);
        for (size_t at = 0; at < MAX; at += part) {
            size_t len = MAX - at < part ? MAX - at : part;
            int first = at == 0 ? WSLAY_TEXT_FRAME : WSLAY_CONTINUATION_FRAME;
            put_bytes(&bytes, first | (at + len == MAX ? FIN : 0), text + at, len);
        }
        char *story = told(&bytes, bytes.len);
        assert_int_equal(strlen(story), strlen("text ") + MAX + 1);
        free(story);
        buf_free(&bytes);
    }
}

/* ---- the rate ---- */

static bool sends_frame(struct websocket *websocket, uint64_t now_ms)
{
    struct buf bytes = {0};
    put(&bytes, FIN | WSLAY_PONG, "");
    websocket_feed(websocket, (uint8_t *)bytes.bytes, bytes.len, now_ms, NULL);
    buf_free(&bytes);
    return websocket_closing(websocket) == 0;
}

static void a_burst_is_ten_seconds_worth_of_frames(void **state)
{
    static const unsigned rates[] = {1, 3, 100, 1000};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        struct websocket *websocket = websocket_new(MAX, rates[i]);
        for (unsigned frame = 0; frame < 10 * rates[i]; frame++)
            assert_true(sends_frame(websocket, 123456));
        assert_false(sends_frame(websocket, 123456));
        assert_int_equal(websocket_closing(websocket), 1008);
        websocket_free(websocket);
    }
}

static void the_rate_itself_is_allowed_for_ever(void **state)
{
    struct websocket *websocket = websocket_new(MAX, 100);
    uint64_t now_ms = 77;
    for (int i = 0; i < 1000; i++)
        assert_true(sends_frame(websocket, now_ms));
    for (int i = 0; i < 10000; i++)
        assert_true(sends_frame(websocket, now_ms += 10));
    assert_false(sends_frame(websocket, now_ms + 9));
    websocket_free(websocket);
}

static void silence_earns_a_burst_and_not_more(void **state)
{
    struct websocket *websocket = websocket_new(MAX, 1000000);
    assert_true(sends_frame(websocket, 0));
    websocket_free(websocket);
    websocket = websocket_new(MAX, 5);
    for (int i = 0; i < 50; i++)
        assert_true(sends_frame(websocket, 1000));
    for (int i = 0; i < 50; i++)
        assert_true(sends_frame(websocket, UINT64_C(1) << 41)); /* some 70 years on */
    assert_false(sends_frame(websocket, UINT64_C(1) << 41));
    websocket_free(websocket);
}

static void the_texts_before_a_flood_are_kept(void **state)
{
    struct buf bytes = {0};
    for (int i = 0; i < 10 * RATE + 50; i++)
        put(&bytes, FIN | WSLAY_TEXT_FRAME, "x");
    struct websocket *websocket = websocket_new(MAX, RATE);
    websocket_feed(websocket, (uint8_t *)bytes.bytes, bytes.len, 0, NULL);
    int texts = 0;
    for (; websocket_first(websocket).bytes; websocket_drop(websocket))
        texts++;
    assert_int_equal(texts, 10 * RATE);
    assert_int_equal(websocket_closing(websocket), 1008);
    websocket_free(websocket);
    buf_free(&bytes);
}

/* ---- memory ---- */

static void at_rest_it_is_small(void **state)
{
    size_t before = memory();
    struct buf bytes = {0}, out = {0};
    put(&bytes, WSLAY_TEXT_FRAME, "one, ");
    put(&bytes, FIN | WSLAY_PING, "");
    put(&bytes, FIN | WSLAY_CONTINUATION_FRAME, "two");
    put(&bytes, FIN | WSLAY_TEXT_FRAME, "three");
    char room[1000];
    out = (struct buf){.bytes = room, .cap = sizeof room};

    before = memory();
    struct websocket *websocket = websocket_new(MAX, RATE);
    assert_in_range(memory() - before, 1, 2 * WEBSOCKET_REST_MAX);
    size_t rest = memory();
    for (int way = 0; way < 2; way++) {
        size_t step = way ? 1 : bytes.len;
        for (size_t at = 0; at < bytes.len; at += step) {
            websocket_feed(websocket, (uint8_t *)bytes.bytes + at, step, 0, &out);
            assert_true(memory() - rest < 8192);
            while (websocket_first(websocket).bytes)
                websocket_drop(websocket);
        }
        assert_int_equal(memory(), rest);
    }
    /* half a message: wslay is not kept for it, its text is */
    websocket_feed(websocket, (uint8_t *)bytes.bytes, 11, 0, &out);
    assert_in_range(memory() - rest, 1, 256);
    websocket_free(websocket);
    assert_int_equal(memory(), before);
    buf_free(&bytes);
}

static void a_length_alone_costs_nothing(void **state)
{
    struct buf bytes = {0}, out = {0};
    size_t max = 8 << 20, before = memory();
    put_header(&bytes, FIN | WSLAY_TEXT_FRAME, MASKED, max);
    buf_puts(&bytes, "mask and a few bytes");
    before = memory();
    struct websocket *websocket = websocket_new(max, RATE);
    websocket_feed(websocket, (uint8_t *)bytes.bytes, bytes.len, 0, &out);
    assert_int_equal(websocket_closing(websocket), 0);
    assert_true(memory() - before < 8192);
    websocket_free(websocket);
    buf_free(&bytes);
}

static void memory_stays_bounded_whatever_the_fragments(void **state)
{
    enum { LARGE = 100000 };
    size_t before = memory();
    for (size_t part = 1; part <= LARGE; part *= 10) {
        struct websocket *websocket = websocket_new(LARGE, 1000000);
        struct buf bytes = {0};
        char *text = calloc(1, part);
        put_bytes(&bytes, WSLAY_CONTINUATION_FRAME, text, part);
        size_t most = 0;
        before = memory();
        bytes.bytes[0] = WSLAY_TEXT_FRAME;
        for (size_t sent = 0; websocket_closing(websocket) == 0; sent += part) {
            assert_true(sent <= LARGE);
            websocket_feed(websocket, (uint8_t *)bytes.bytes, bytes.len, 0, NULL);
            size_t now = memory() - before;
            most = now > most ? now : most;
            bytes.bytes[0] = WSLAY_CONTINUATION_FRAME;
        }
        assert_int_equal(websocket_closing(websocket), 1009);
        assert_true(most < 2 * LARGE + 8192);
        assert_true(memory() <= before); /* all of it is given back with the fault */
        websocket_free(websocket);
        free(text);
        buf_free(&bytes);
    }
}

/* ---- the daemon's frames ---- */

static void expect_frame(struct buf *out, const char *bytes, size_t len)
{
    assert_true(buf_ok(out));
    assert_int_equal(out->len, len);
    assert_memory_equal(out->bytes, bytes, len);
    buf_free(out);
}

static void frames_are_written_as_the_rfc_has_them(void **state)
{
    struct buf out = {0};
    websocket_put_text(&out, "Hello", 5); /* 5.7 */
    expect_frame(&out, "\x81\x05Hello", 7);
    websocket_put_text(&out, "", 0);
    expect_frame(&out, "\x81\x00", 2);
    websocket_put_ping(&out);
    expect_frame(&out, "\x89\x00", 2);
    websocket_put_close(&out, 1000);
    expect_frame(&out, "\x88\x02\x03\xe8", 4);
    websocket_put_close(&out, 4321);
    expect_frame(&out, "\x88\x02\x10\xe1", 4);
    websocket_put_close(&out, 1003);
    expect_frame(&out,
                 "\x88\x27\x03\xeb"
                 "binary messages are not accepted here",
                 41);
    websocket_put_ping(&out);
    websocket_put_text(&out, "x", 1);
    expect_frame(&out, "\x89\x00\x81\x01x", 5);
}

static void long_texts_have_long_lengths(void **state)
{
    static const struct {
        size_t len;
        const char *header;
        size_t header_len;
    } cases[] = {{125, "\x81\x7d", 2},
                 {126, "\x81\x7e\x00\x7e", 4},
                 {65535, "\x81\x7e\xff\xff", 4},
                 {65536, "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10}};
    char *text = calloc(1, 65537);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = {0};
        websocket_put_text(&out, text, cases[i].len);
        assert_int_equal(out.len, cases[i].header_len + cases[i].len);
        assert_memory_equal(out.bytes, cases[i].header, cases[i].header_len);
        buf_free(&out);
    }
    free(text);
}

static void every_close_frame_is_short_enough(void **state)
{
    for (unsigned code = 1000; code < 5000; code++) {
        struct buf out = {0};
        websocket_put_close(&out, code);
        assert_in_range(out.len, 4, 2 + 125);
        assert_int_equal((uint8_t)out.bytes[1], out.len - 2);
        buf_free(&out);
    }
}

/* ---- chance ---- */

static void put_random_frame(struct buf *bytes)
{
    static const int firsts[] = {
        FIN | WSLAY_TEXT_FRAME,   FIN | WSLAY_TEXT_FRAME,         WSLAY_TEXT_FRAME,
        WSLAY_CONTINUATION_FRAME, FIN | WSLAY_CONTINUATION_FRAME, FIN | WSLAY_CONTINUATION_FRAME,
        FIN | WSLAY_PONG,         FIN | WSLAY_CONNECTION_CLOSE};
    char payload[600];
    size_t len = (size_t)random() % (random() % 4 ? 20 : sizeof payload);
    for (size_t i = 0; i < len; i++)
        payload[i] = (char)(random() % 500 ? 'a' + random() % 26 : random());
    int first = firsts[random() % (long)(sizeof firsts / sizeof *firsts)];
    if (first & 8 && len > 125)
        len = 125;
    put_bytes(bytes, random() % 50 ? first : (int)random() & 0xff, payload, len);
}

/* Random frames, some with random bytes changed: the story does not change with the portions, and
 * nothing is read that is not there (the sanitizers watch). Pings are left out: how many of them
 * are answered does depend on the portions. */
static void any_bytes_mean_the_same_in_any_portions(void **state)
{
    srandom(3);
    int open = 0, closed = 0;
    for (int round = 0; round < 4000; round++) {
        struct buf bytes = {0};
        for (int frames = 1 + (int)(random() % 12); frames > 0; frames--)
            put_random_frame(&bytes);
        for (int change = (int)(random() % 8) - 4; change > 0; change--)
            bytes.bytes[(size_t)random() % bytes.len] = (char)random();
        bytes.len = (size_t)random() % (bytes.len + 1);
        char *whole = told(&bytes, bytes.len + 1);
        if (strstr(whole, "sent ")) {
            free(whole);
            buf_free(&bytes);
            continue;
        }
        for (int way = 0; way < 3; way++) {
            char *parts = told(&bytes, way == 0 ? 1 : 1 + (size_t)random() % 100);
            assert_string_equal(parts, whole);
            free(parts);
        }
        *(strstr(whole, "closing") ? &closed : &open) += 1;
        free(whole);
        buf_free(&bytes);
    }
    assert_true(open > 100 && closed > 100);
}

static void noise_is_survived(void **state)
{
    srandom(4);
    struct buf out = {0};
    for (int round = 0; round < 20000; round++) {
        struct websocket *websocket = websocket_new((size_t)random() % 300, RATE);
        for (int feeds = (int)(random() % 6); feeds >= 0; feeds--) {
            size_t len = (size_t)random() % 200;
            uint8_t *bytes = malloc(len + 1);
            for (size_t i = 0; i < len; i++)
                bytes[i] = (uint8_t)random();
            if (len > 1 && random() % 2) {
                bytes[0] = (uint8_t)(0x80 | random() % 11);
                bytes[1] |= MASKED;
            }
            websocket_feed(websocket, bytes, len, 0, &out);
            free(bytes);
            assert_true(out.len <= 127);
            buf_reset(&out);
        }
        websocket_free(websocket);
    }
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_come_out_whole_and_in_order),
        cmocka_unit_test(fragments_are_put_together),
        cmocka_unit_test(every_length_is_read),
        cmocka_unit_test(nuls_in_a_text_are_handed_on),
        cmocka_unit_test(a_ping_is_answered_with_its_content),
        cmocka_unit_test(of_many_pings_at_once_each_gets_its_pong),
        cmocka_unit_test(pings_above_the_rate_get_no_pong),
        cmocka_unit_test(a_header_is_judged_before_any_payload),
        cmocka_unit_test(bad_utf8_is_1007_at_its_first_bad_byte),
        cmocka_unit_test(the_longest_ping_is_answered_whatever_max_message_is),
        cmocka_unit_test(a_pong_asks_for_nothing),
        cmocka_unit_test(a_close_is_answered_with_its_code),
        cmocka_unit_test(a_close_that_is_none_is_a_fault),
        cmocka_unit_test(nothing_counts_after_a_close),
        cmocka_unit_test(a_ping_before_the_close_is_still_answered),
        cmocka_unit_test(frames_that_the_rfc_forbids_are_1002),
        cmocka_unit_test(lengths_not_in_their_shortest_form_are_1002),
        cmocka_unit_test(binary_is_1003),
        cmocka_unit_test(what_is_not_utf8_is_1007),
        cmocka_unit_test(more_than_max_message_is_1009),
        cmocka_unit_test(max_message_itself_is_taken_in_one_or_many),
        cmocka_unit_test(a_burst_is_ten_seconds_worth_of_frames),
        cmocka_unit_test(the_rate_itself_is_allowed_for_ever),
        cmocka_unit_test(silence_earns_a_burst_and_not_more),
        cmocka_unit_test(the_texts_before_a_flood_are_kept),
        cmocka_unit_test(at_rest_it_is_small),
        cmocka_unit_test(a_length_alone_costs_nothing),
        cmocka_unit_test(memory_stays_bounded_whatever_the_fragments),
        cmocka_unit_test(frames_are_written_as_the_rfc_has_them),
        cmocka_unit_test(long_texts_have_long_lengths),
        cmocka_unit_test(every_close_frame_is_short_enough),
        cmocka_unit_test(any_bytes_mean_the_same_in_any_portions),
        cmocka_unit_test(noise_is_survived),
    };
    return cmocka_run_group_tests_name("websocket", tests, NULL, NULL);
}

/* Texts: what is the same, what stands between commas, what is a number and what is UTF-8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <jansson.h>

#include "fcgi/io/text.h"
#include "fcgi/io/utf8.h"

static void an_absent_text_equals_nothing(void **state)
{
    struct text absent = text_of(NULL), empty = text_of("");
    assert_null(absent.bytes);
    assert_true(text_equal(empty, empty));
    assert_true(text_is(empty, ""));
    assert_false(text_is(absent, ""));
    assert_false(text_equal(absent, absent));
    assert_false(text_is_any_case(absent, ""));
}

static void case_counts_where_the_name_does_not_say_otherwise(void **state)
{
    assert_true(text_is(text_of("any"), "any"));
    assert_false(text_is(text_of("Any"), "any"));
    assert_true(text_is_any_case(text_of("Any"), "aNy"));
    assert_false(text_is_any_case(text_of("Any"), "anyone"));
    assert_false(text_is((struct text){"a\0b", 3}, "a"));
}

static void blanks_at_the_ends_are_trimmed(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},    {" ", ""},    {" \t \t", ""},       {"a", "a"},
        {"a ", "a"}, {"\ta", "a"}, {" \ta b\t ", "a b"}, {"\na\r", "\na\r"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(text_is(text_trim(text_of(cases[i][0])), cases[i][1]));
    assert_int_equal(text_trim(text_of(NULL)).len, 0);
}

static void splitting_takes_all_where_no_separator_is(void **state)
{
    struct text text = text_of("a=b="), part;
    assert_true(text_split(&text, '=', &part));
    assert_true(text_is(part, "a") && text_is(text, "b="));
    assert_true(text_split(&text, '=', &part));
    assert_true(text_is(part, "b") && text_is(text, ""));
    assert_false(text_split(&text, '=', &part));
    assert_true(text_is(part, ""));
    text = text_of("a");
    assert_false(text_split(&text, '=', &part));
    assert_true(text_is(part, "a") && text_is(text, ""));
}

static void a_list_gives_its_elements_in_order(void **state)
{
    struct text list = text_of("a, b\t,, c d ,"), element;
    static const char *const elements[] = {"a", "b", "", "c d"};
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
        assert_true(text_list_next(&list, &element));
        assert_true(text_is(element, elements[i]));
    }
    assert_false(text_list_next(&list, &element));
    list = text_of(NULL);
    assert_false(text_list_next(&list, &element));
    assert_true(text_list_has_any_case(text_of("h2c , WebSocket"), "websocket"));
    assert_false(text_list_has_any_case(text_of("h2c, websockets"), "websocket"));
    assert_false(text_list_has_any_case(text_of(""), "websocket"));
}

static void a_number_is_digits_and_nothing_else(void **state)
{
    static const struct {
        const char *text;
        uint64_t number;
    } numbers[] = {{"0", 0},
                   {"7", 7},
                   {"0012", 12},
                   {"18446744073709551615", UINT64_MAX},
                   {"00000000000000000000000000001", 1}};
    static const char *const others[] = {"",
                                         " ",
                                         "-1",
                                         "+1",
                                         " 1",
                                         "1 ",
                                         "1.0",
                                         "0x1",
                                         "1e3",
                                         "a",
                                         "1,",
                                         "18446744073709551616",
                                         "184467440737095516150",
                                         "99999999999999999999999"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uint64_t number;
        assert_true(text_number(text_of(numbers[i].text), &number));
        assert_true(number == numbers[i].number);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        uint64_t number = 42;
        if (text_number(text_of(others[i]), &number) || number != 42)
            fail_msg("'%s' is taken for %" PRIu64, others[i], number);
    }
    uint64_t number;
    assert_false(text_number(text_of(NULL), &number));
    assert_false(text_number((struct text){"1\0", 2}, &number));
}

static void assert_as_jansson(const uint8_t *bytes, size_t len)
{
    json_t *string = json_stringn((const char *)bytes, len);
    bool is = text_is_utf8((struct text){(const char *)bytes, len});
    if (is != (string != NULL))
        fail_msg("%zu bytes: %02x %02x %02x %02x", len, bytes[0], bytes[1], bytes[2], bytes[3]);
    json_decref(string);
}

/* Jansson's own look at it, which needs memory. */
static void utf8_is_what_others_take_it_for(void **state)
{
    static const uint8_t edges[] = {0,    1,    0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0,
                                    0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xff};
    enum { EDGES = sizeof edges };
    for (unsigned i = 0; i < 0x10000; i++)
        for (unsigned j = 0; j < EDGES * EDGES; j++) {
            const uint8_t bytes[4] = {(uint8_t)(i >> 8), (uint8_t)i, edges[j / EDGES],
                                      edges[j % EDGES]};
            if (j == 0)
                for (size_t len = 0; len < 3; len++)
                    assert_as_jansson(bytes, len);
            if (bytes[0] >= 0xc0 && j % EDGES == 0)
                assert_as_jansson(bytes, 3);
            if (bytes[0] >= 0xe0)
                assert_as_jansson(bytes, 4);
        }
}

static void half_a_character_is_not_yet_wrong(void **state)
{
    static const struct {
        const char *text;
        size_t whole;
        bool wrong;
    } cases[] = {
        {"", 0, false},
        {"ab", 2, false},
        {"a\xc3", 1, false},
        {"\xc3\xa9x", 3, false},
        {"\xf0\x9f\x92", 0, false},
        {"a\xff", 1, true},
        {"\xf0\x9f\x41", 0, true},
        {"\xed\xa0", 0, true},
        {"a\x80", 1, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool wrong;
        assert_int_equal(utf8_prefix(cases[i].text, strlen(cases[i].text), &wrong), cases[i].whole);
        assert_int_equal(wrong, cases[i].wrong);
    }
}

/* It is looked at in steps of eight. */
static void every_byte_of_a_long_text_counts(void **state)
{
    char text[40];
    bool wrong;
    for (size_t len = 0; len <= sizeof text; len++)
        for (size_t at = 0; at < len; at++) {
            memset(text, 'a', sizeof text);
            assert_int_equal(utf8_prefix(text, len, &wrong), len);
            text[at] = '\xff';
            assert_int_equal(utf8_prefix(text, len, &wrong), at);
            assert_true(wrong);
            memcpy(text + at, "\xc3\xa9", at + 1 < sizeof text ? 2 : 1);
            assert_int_equal(utf8_prefix(text, len, &wrong), at + 1 < len ? len : at);
            assert_false(wrong);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_absent_text_equals_nothing),
        cmocka_unit_test(case_counts_where_the_name_does_not_say_otherwise),
        cmocka_unit_test(blanks_at_the_ends_are_trimmed),
        cmocka_unit_test(splitting_takes_all_where_no_separator_is),
        cmocka_unit_test(a_list_gives_its_elements_in_order),
        cmocka_unit_test(a_number_is_digits_and_nothing_else),
        cmocka_unit_test(utf8_is_what_others_take_it_for),
        cmocka_unit_test(every_byte_of_a_long_text_counts),
        cmocka_unit_test(half_a_character_is_not_yet_wrong),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}

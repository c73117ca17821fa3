/* The JSON of a batch: what has its shape is read, and everything else is refused with a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/wire/entries.h"

static struct entries entries;
static struct entry entry;
static char *exact; /* a body whose memory ends with it and its NUL */

static void start_bytes(const char *json, size_t len)
{
    free(exact);
    exact = malloc(len + 1);
    memcpy(exact, json, len);
    exact[len] = '\0';
    entries_start(&entries, exact, len);
}

static void start(const char *json)
{
    start_bytes(json, strlen(json));
}

static int tear_down(void **state)
{
    free(exact);
    exact = NULL;
    return 0;
}

static bool is_text(struct text text, const char *wanted)
{
    return wanted ? text_is(text, wanted) : !text.bytes;
}

static void expect_entry(const char *channel, const char *message, const char *once)
{
    if (!entries_next(&entries, &entry))
        fail_msg("%s, at entry %zu", entries.why ? entries.why : "the end", entries.count);
    assert_true(is_text(entry.channel, channel));
    assert_true(is_text(entry.message, message));
    assert_true(is_text(entry.once, once));
}

static void expect_end(size_t count)
{
    assert_false(entries_next(&entries, &entry));
    assert_null(entries.why);
    assert_int_equal(entries.count, count);
}

/* in_entry: the index of the entry in which it is wrong; -1: in none. */
static void expect_bad(const char *json, const char *says, int in_entry)
{
    start(json);
    while (entries_next(&entries, &entry))
        continue;
    if (!entries.why || !strstr(entries.why, says))
        fail_msg("%s, for %s", entries.why ? entries.why : "read", json);
    if ((in_entry < 0) == entries.in_entry || (in_entry >= 0 && entries.count != (size_t)in_entry))
        fail_msg("wrong in entry %zu, for %s", entries.count, json);
}

static void an_array_gives_its_messages_in_order(void **state)
{
    start("[{\"channel\":\"a\",\"msg\":\"one\",\"once\":\"k\"},{\"msg\":\"two\"},{}]");
    assert_true(entries.array);
    expect_entry("a", "one", "k");
    expect_entry(NULL, "two", NULL);
    expect_entry(NULL, NULL, NULL);
    expect_end(3);
}

static void one_object_is_one_message(void **state)
{
    start("{\"msg\":\"hello\"}");
    assert_false(entries.array);
    expect_entry(NULL, "hello", NULL);
    expect_end(1);
}

static void blanks_may_be_between_all_parts(void **state)
{
    start(" \t\r\n[ { \"msg\" : \"\" , \"channel\"\n:\r\"b\" } \t, { } ] \n");
    expect_entry("b", "", NULL);
    expect_entry(NULL, NULL, NULL);
    expect_end(2);
}

static void escapes_are_decoded_where_they_are(void **state)
{
    static const char *const cases[][2] = {
        {"\\\" \\\\ \\/ \\b \\f \\n \\r \\t", "\" \\ / \b \f \n \r \t"},
        {"\\u0041\\u00e4\\u20AC\\uD83D\\uDE00", "A\u00e4\u20ac\U0001f600"},
        {"\\udbff\\udfff\\ud800\\udc00", "\U0010ffff\U00010000"},
        {"\\u007f\\u0080\\u07ff\\u0800\\ud7ff\\ue000\\uffff",
         "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"},
        {"a\\tb\\tc", "a\tb\tc"},
        {"\x7f\u20ac", "\x7f\u20ac"},
        {"", ""},
    };
    char json[128];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(json, sizeof json, "[{\"m\\u0073g\":\"%s\"}]", cases[i][0]);
        start(json);
        expect_entry(NULL, cases[i][1], NULL);
        expect_end(1);
    }
}

static void a_nul_is_read_for_others_to_refuse(void **state)
{
    start("{\"msg\":\"a\\u0000b\",\"once\":\"\\u0000\"}");
    assert_true(entries_next(&entries, &entry));
    assert_true(text_equal(entry.message, (struct text){"a\0b", 3}));
    assert_true(text_equal(entry.once, (struct text){"", 1}));
    expect_end(1);
}

static void what_has_another_shape_is_refused(void **state)
{
    static const struct {
        const char *says, *json;
        int in_entry;
    } cases[] = {
        {"neither an array nor an object", "", -1},
        {"neither an array nor an object", "  ", -1},
        {"neither an array nor an object", "\"a\"", -1},
        {"neither an array nor an object", "1", -1},
        {"neither an array nor an object", "null", -1},
        {"neither an array nor an object", "msg=a", -1},
        {"neither an array nor an object", "\xef\xbb\xbf[{}]", -1},
        {"empty", "[]", -1},
        {"empty", " [ ] ", -1},
        {"is an object", "[1]", 0},
        {"is an object", "[null]", 0},
        {"is an object", "[[]]", 0},
        {"is an object", "[\"a\"]", 0},
        {"is an object", "[{},", 1},
        {"is an object", "[{},]", 1},
        {"is an object", "[{},,{}]", 1},
        {"is an object", "[{},{},{},true]", 3},
        {"follows after", "[{}]]", -1},
        {"follows after", "[{}][{}]", -1},
        {"follows after", "{}{}", -1},
        {"follows after", "{} x", -1},
        {"follows after", "{},", -1},
        {"not JSON", "[{} {}]", -1},
        {"not JSON", "[{}", -1},
        {"not JSON", "[{}}", -1},
        {"is an object", "[", 0},
        {"not JSON", "{", 0},
        {"not JSON", "{,}", 0},
        {"not JSON", "{\"msg\":\"a\",}", 0},
        {"not JSON", "{\"msg\":\"a\"", 0},
        {"not JSON", "{\"msg\":\"a\"]", 0},
        {"not JSON", "{\"msg\":\"a\" \"once\":\"b\"}", 0},
        {"not JSON", "{msg:\"a\"}", 0},
        {"not JSON", "{'msg':\"a\"}", 0},
        {"not JSON", "{\"msg\"}", 0},
        {"not JSON", "{\"msg\",\"a\"}", 0},
        {"not JSON", "{1:\"a\"}", 0},
        {"not JSON", "{/* */}", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_bad(cases[i].json, cases[i].says, cases[i].in_entry);
}

static void members_have_a_known_name_once_and_are_strings(void **state)
{
    expect_bad("{\"message\":\"a\"}", "channel, msg and once only", 0);
    expect_bad("{\"\":\"a\"}", "channel, msg and once only", 0);
    expect_bad("{\"MSG\":\"a\"}", "channel, msg and once only", 0);
    expect_bad("{\"msg\\u0000\":\"a\"}", "channel, msg and once only", 0);
    expect_bad("[{\"msg\":\"a\"},{\"chanel\":[[[[{}]]]]}]", "channel, msg and once only", 1);
    expect_bad("{\"msg\":\"a\",\"msg\":\"a\"}", "given twice", 0);
    expect_bad("{\"msg\":\"\",\"m\\u0073g\":\"a\"}", "given twice", 0);
    expect_bad("{\"once\":\"a\",\"msg\":\"b\",\"once\":\"a\"}", "given twice", 0);
    static const char *const values[] = {"1", "null",  "true", "[]", "{}", "{\"a\":\"b\"}",
                                         "",  "[[[[[", "-",    "a",  "'a'"};
    char json[64];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        snprintf(json, sizeof json, "[{},{\"msg\":%s}]", values[i]);
        expect_bad(json, "are strings", 1);
    }
}

static void strings_are_by_the_book(void **state)
{
    static const struct {
        const char *says, *value;
    } cases[] = {
        {"half a character", "\\ud800"},
        {"half a character", "\\udc00"},
        {"half a character", "\\ud800\\ud800"},
        {"half a character", "\\ud800\\u0041"},
        {"half a character", "\\ud800\\udc0"},
        {"half a character", "\\ud800x"},
        {"half a character", "\\ud800\\n"},
        {"half a character", "\\udc00\\ud800"},
        {"half a character", "\\uDFFF"},
        {"not JSON", "\\u"},
        {"not JSON", "\\u004"},
        {"not JSON", "\\u004g"},
        {"not JSON", "\\u+041"},
        {"not JSON", "\\x41"},
        {"not JSON", "\\U0041"},
        {"not JSON", "\\'"},
        {"not JSON", "\\ "},
        {"control character", "\n"},
        {"control character", "a\tb"},
        {"control character", "\x1f"},
        {"control character", "\x01"},
    };
    char json[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(json, sizeof json, "[{\"msg\":\"%s\"}]", cases[i].value);
        expect_bad(json, cases[i].says, 0);
    }
    expect_bad("{\"msg\":\"a", "not JSON", 0);
    expect_bad("{\"msg\":\"", "not JSON", 0);
    expect_bad("{\"msg\":\"\\", "not JSON", 0);
    expect_bad("{\"msg\":\"\\u12", "not JSON", 0);
    expect_bad("{\"msg\":\"\\ud83d\\", "half a character", 0);
    expect_bad("{\"ms", "not JSON", 0);
    static const char nul[] = "{\"msg\":\"a\0b\"}";
    start_bytes(nul, sizeof nul - 1);
    assert_false(entries_next(&entries, &entry));
    assert_non_null(strstr(entries.why, "control character"));
    static const char after[] = "{\"msg\":\"a\"}\0";
    start_bytes(after, sizeof after - 1);
    expect_entry(NULL, "a", NULL);
    assert_false(entries_next(&entries, &entry));
    assert_non_null(strstr(entries.why, "follows after"));
}

static void an_array_has_1000_messages_at_most(void **state)
{
    static char json[8 * (ENTRIES_MAX + 2)];
    for (size_t count = ENTRIES_MAX; count <= ENTRIES_MAX + 1; count++) {
        char *at = json;
        for (size_t i = 0; i < count; i++)
            at += sprintf(at, "%c{}", i > 0 ? ',' : '[');
        strcpy(at, "]");
        start(json);
        for (size_t i = 0; i < ENTRIES_MAX; i++)
            expect_entry(NULL, NULL, NULL);
        if (count == ENTRIES_MAX) {
            expect_end(ENTRIES_MAX);
        } else {
            expect_bad(json, "more than 1000", -1);
            assert_int_equal(entries.count, ENTRIES_MAX);
        }
    }
}

static void any_bytes_are_survived(void **state)
{
    static const char *const pieces[] = {"[",
                                         "]",
                                         "{",
                                         "}",
                                         ",",
                                         ":",
                                         "\"",
                                         "\\",
                                         "\\u",
                                         "d83d",
                                         "de00",
                                         " ",
                                         "\"msg\":",
                                         "\"a\"",
                                         "\"once\"",
                                         "{\"msg\":\"",
                                         "\"}",
                                         "\\ud83d\\ude00",
                                         "{\"channel\":\"b\"}"};
    enum { PIECES = sizeof pieces / sizeof *pieces };
    char json[512];
    srandom(1);
    unsigned read = 0;
    for (int i = 0; i < 200000; i++) {
        size_t len = 0;
        for (long n = random() % 16; n > 0; n--) {
            const char *piece = pieces[random() % PIECES];
            memcpy(json + len, piece, strlen(piece));
            len += strlen(piece);
        }
        for (int flips = (int)(random() % 2); flips > 0 && len > 0; flips--)
            json[(size_t)random() % len] = (char)random();
        start_bytes(json, len);
        while (entries_next(&entries, &entry))
            read++;
    }
    assert_true(read > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_array_gives_its_messages_in_order, tear_down),
        cmocka_unit_test_teardown(one_object_is_one_message, tear_down),
        cmocka_unit_test_teardown(blanks_may_be_between_all_parts, tear_down),
        cmocka_unit_test_teardown(escapes_are_decoded_where_they_are, tear_down),
        cmocka_unit_test_teardown(a_nul_is_read_for_others_to_refuse, tear_down),
        cmocka_unit_test_teardown(what_has_another_shape_is_refused, tear_down),
        cmocka_unit_test_teardown(members_have_a_known_name_once_and_are_strings, tear_down),
        cmocka_unit_test_teardown(strings_are_by_the_book, tear_down),
        cmocka_unit_test_teardown(an_array_has_1000_messages_at_most, tear_down),
        cmocka_unit_test_teardown(any_bytes_are_survived, tear_down),
    };
    return cmocka_run_group_tests_name("entries", tests, NULL, NULL);
}

/* The key of a message that is to be stored once: from the field, the header, or both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "fcgi/wire/key.h"

static struct key_room room;
static struct text key;

static const char *find(const char *field, const char *header)
{
    return key_find(text_of(field), text_of(header), &room, &key);
}

static void expect_key(const char *field, const char *header, const char *wanted)
{
    const char *why = find(field, header);
    if (!why)
        why = key_complaint(key);
    if (why || !text_is(key, wanted))
        fail_msg("%s for %s and %s", why ? why : "another key", field, header);
}

static void expect_refused(const char *field, const char *header, const char *says)
{
    const char *why = find(field, header);
    if (!why || !strstr(why, says) || strpbrk(why, "\"\\"))
        fail_msg("%s for %s and %s", why ? why : "a key", field, header);
}

static void without_field_and_header_there_is_no_key(void **state)
{
    assert_null(find(NULL, NULL));
    assert_null(key.bytes);
}

static void a_field_is_the_key_as_it_is(void **state)
{
    expect_key("k", NULL, "k");
    expect_key("\"k\\", NULL, "\"k\\");
    expect_key(" \u00e4, \u20ac; \U0001f600\u00a0", NULL, " \u00e4, \u20ac; \U0001f600\u00a0");
}

static void the_header_is_a_string_in_quotes_or_a_word(void **state)
{
    static const char uuid[] = "8e03978e-40d5-43dd-bc93-6894a57f9324";
    expect_key(NULL, uuid, uuid);
    expect_key(NULL, "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", uuid);
    expect_key(NULL, "\"a b,;\\\"\\\\ ~\"", "a b,;\"\\ ~");
    expect_key(NULL, "aGVs/bG8+==:!'~", "aGVs/bG8+==:!'~");
}

static void field_and_header_may_name_the_same_key(void **state)
{
    expect_key("k", "k", "k");
    expect_key("k", "\"k\"", "k");
    expect_refused("k", "\"K\"", "different keys");
    expect_refused("", "k", "different keys");
}

static void another_header_is_refused(void **state)
{
    static const char *const values[] = {
        "",       "\"",   "\"\"",   "\"a",  "\"a\"b",   "\"a\"\"", "\"a\\\"",    "\"a\\b\"",
        "\"\\\"", "a\"",  "a b",    "a,b",  "a, a",     "a;b",     "\"a\";b=c",  "\"a\", \"a\"",
        "a\\b",   "\x01", "\"\t\"", "\x7f", "\"\x7f\"", "\u00e4",  "\"\u00e4\"", " a"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        expect_refused(NULL, values[i], "Idempotency-Key is a string");
}

static void a_key_is_text_without_control_characters(void **state)
{
    static const char *const keys[] = {"",         "\n",       "a\tb", "\x1f",
                                       "\x7f",     "\x80",     "\xc3", "a\xc2",
                                       "\xc2\x80", "\xc2\x9f", "\xff", "\xed\xa0\x80"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!key_complaint(text_of(keys[i])))
            fail_msg("key %zu is let through", i);
    assert_non_null(key_complaint((struct text){"a\0b", 3}));
    assert_null(key_complaint((struct text){0}));
}

static void a_key_has_128_bytes_at_most(void **state)
{
    char longest[KEY_MAX + 3], quoted[KEY_MAX + 5];
    for (int more = 0; more <= 1; more++) {
        snprintf(longest, sizeof longest, "%0*d", KEY_MAX + more, 0);
        snprintf(quoted, sizeof quoted, "\"%s\"", longest);
        if (more) {
            assert_non_null(strstr(key_complaint(text_of(longest)), "1 to 128 bytes of UTF-8"));
            expect_refused(NULL, longest, "1 to 128");
            expect_refused(NULL, quoted, "1 to 128");
        } else {
            expect_key(longest, NULL, longest);
            expect_key(NULL, longest, longest);
            expect_key(longest, quoted, longest);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_field_and_header_there_is_no_key),
        cmocka_unit_test(a_field_is_the_key_as_it_is),
        cmocka_unit_test(the_header_is_a_string_in_quotes_or_a_word),
        cmocka_unit_test(field_and_header_may_name_the_same_key),
        cmocka_unit_test(another_header_is_refused),
        cmocka_unit_test(a_key_is_text_without_control_characters),
        cmocka_unit_test(a_key_has_128_bytes_at_most),
    };
    return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}

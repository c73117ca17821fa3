/* What an upstream's answer says to the feed: whether something changed, and where to go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/relay/feed.h"

/* Understands a copy that ends where its memory ends, so that a read beyond it is noticed. */
static bool understand_bytes(const char *bytes, size_t len, const char *field, char **cursor)
{
    char *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, len);
    bool news = feed_understand(exact, len, field, cursor);
    free(exact);
    return news;
}

static void expect(const char *body, const char *field, bool news, const char *cursor)
{
    char *got = NULL;
    bool said = understand_bytes(body, strlen(body), field, &got);
    if (said != news || (got == NULL) != (cursor == NULL) || (got && strcmp(got, cursor) != 0))
        fail_msg("%s, and cursor %s, of %s", said ? "news" : "no news", got ? got : "-", body);
    free(got);
}

static void an_answer_is_news_unless_it_says_otherwise(void **state)
{
    expect("{\"ret\":\"new\"}", "id", true, NULL);
    expect("{}", "id", true, NULL);
    expect("{\"messages\":[1]}", "id", true, NULL);
    expect("", "id", false, NULL);
    expect("{\"ret\":\"punt\"}", "id", false, NULL);
    expect(" {\n \"ret\" : \"punt\", \"more\": {} }\r\n", "id", false, NULL);
    expect("{\"messages\":[]}", "id", false, NULL);
    expect("{\"ret\":\"new\",\"messages\":[]}", "id", false, NULL);
    expect("{\"ret\":\"punt\",\"messages\":[1]}", "id", false, NULL);
}

static void only_the_top_of_an_object_can_say_it(void **state)
{
    expect("{\"ret\":\"Punt\"}", "id", true, NULL);
    expect("{\"ret\":\"punt \"}", "id", true, NULL);
    expect("{\"ret\":[\"punt\"]}", "id", true, NULL);
    expect("{\"a\":{\"ret\":\"punt\",\"messages\":[]}}", "id", true, NULL);
    expect("[{\"ret\":\"punt\"}]", "id", true, NULL);
    expect("{\"messages\":{}}", "id", true, NULL);
    expect("{\"messages\":\"\"}", "id", true, NULL);
    expect("{\"messages\":null}", "id", true, NULL);
    expect("[]", "id", true, NULL);
}

static void what_is_no_json_is_news(void **state)
{
    expect("punt", "id", true, NULL);
    expect(" ", "id", true, NULL);
    expect("{\"ret\":\"punt\"", "id", true, NULL);
    expect("{\"ret\":\"punt\"} x", "id", true, NULL);
    expect("{\"id\":\"7\"", "id", true, NULL);
    expect("{\"id\":\"\xff\"}", "id", true, NULL);
    expect("\"punt\"", "id", true, NULL);
    expect("7", "id", true, NULL);
}

static void a_cursor_is_a_string_or_a_number(void **state)
{
    expect("{\"id\":\"ab-1\"}", "id", true, "ab-1");
    expect("{\"id\":\"\"}", "id", true, "");
    expect("{\"id\":\"a b\\n\\u00e9&=#\"}", "id", true, "a b\n\xc3\xa9&=#");
    expect("{\"id\":0}", "id", true, "0");
    expect("{\"id\":-7}", "id", true, "-7");
    expect("{\"id\":9223372036854775807}", "id", true, "9223372036854775807");
    expect("{\"id\":-9223372036854775808}", "id", true, "-9223372036854775808");
    expect("{\"id\":1.0}", "id", true, "1.0");
    expect("{\"id\":-2.5e3}", "id", true, "-2500.0");
    expect("{\"id\":0.1}", "id", true, "0.1"); /* as short as it came */
    expect("{\"id\":0.30000000000000004}", "id", true, "0.30000000000000004");
    expect("{\"id\":1e300}", "id", true, "1e300");
    expect("{\"id\":1795228800.125}", "id", true, "1795228800.125");
    expect("{\"id\":true}", "id", true, NULL);
    expect("{\"id\":null}", "id", true, NULL);
    expect("{\"id\":[\"ab-1\"]}", "id", true, NULL);
    expect("{\"id\":{\"id\":\"ab-1\"}}", "id", true, NULL);
}

static void a_cursor_is_taken_from_its_field_alone(void **state)
{
    expect("{\"id\":\"1\",\"last.id\":\"2\"}", "last.id", true, "2");
    expect("{\"last\":{\"id\":\"2\"}}", "last.id", true, NULL);
    expect("{\"ID\":\"1\",\"messages\":[{\"id\":\"2\"}]}", "id", true, NULL);
    expect("[\"id\",7]", "id", true, NULL);
}

static void an_answer_without_news_moves_the_cursor_too(void **state)
{
    expect("{\"id\":\"ab-9\",\"messages\":[],\"more\":false}", "id", false, "ab-9");
    expect("{\"ret\":\"punt\",\"seq\":9}", "seq", false, "9");
}

static void a_cursor_has_an_end(void **state)
{
    char body[FEED_CURSOR_MAX + 32], *cursor;
    int len = snprintf(body, sizeof body, "{\"id\":\"%0*d\"}", FEED_CURSOR_MAX, 0);
    assert_true(understand_bytes(body, (size_t)len, "id", &cursor));
    assert_int_equal(strlen(cursor), FEED_CURSOR_MAX);
    free(cursor);
    len = snprintf(body, sizeof body, "{\"id\":\"%0*d\"}", FEED_CURSOR_MAX + 1, 0);
    assert_true(understand_bytes(body, (size_t)len, "id", &cursor));
    assert_null(cursor);
}

/* A cursor with a NUL would be cut off there, and mean another. */
static void nuls_make_no_cursor(void **state)
{
    char *cursor;
    static const char raw[] = "{\"id\":\"7\0\"}", behind[] = "{\"id\":\"7\"}\0";
    expect("{\"id\":\"7\\u0000\"}", "id", true, NULL);
    assert_true(understand_bytes(raw, sizeof raw - 1, "id", &cursor));
    assert_null(cursor);
    assert_true(understand_bytes(behind, sizeof behind - 1, "id", &cursor));
    assert_null(cursor);
}

static void nests_and_heaps_are_survived(void **state)
{
    enum { DEEP = 100000 };
    char *body = malloc(DEEP), *cursor;
    assert_non_null(body);
    static const char *const fillers[] = {"[", "{\"id\":", "{\"\":", "\"", "9", "\\u"};
    for (size_t i = 0; i < sizeof fillers / sizeof *fillers; i++) {
        for (size_t at = 0; at < DEEP; at++)
            body[at] = fillers[i][at % strlen(fillers[i])];
        assert_true(understand_bytes(body, DEEP, "id", &cursor));
        assert_null(cursor);
    }
    free(body);
}

static void garbage_is_survived(void **state)
{
    static const char seed[] = "{\"ret\":\"punt\",\"id\":\"ab-1\",\"messages\":[{\"a\":1.5e3}]}";
    srand(5);
    for (int round = 0; round < 20000; round++) {
        char body[sizeof seed], *cursor;
        memcpy(body, seed, sizeof seed);
        for (int n = rand() % 4; n >= 0; n--)
            body[(size_t)rand() % (sizeof seed - 1)] = (char)rand();
        understand_bytes(body, (size_t)rand() % sizeof seed, "id", &cursor);
        if (cursor)
            assert_true(strlen(cursor) < sizeof seed);
        free(cursor);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_news_unless_it_says_otherwise),
        cmocka_unit_test(only_the_top_of_an_object_can_say_it),
        cmocka_unit_test(what_is_no_json_is_news),
        cmocka_unit_test(a_cursor_is_a_string_or_a_number),
        cmocka_unit_test(a_cursor_is_taken_from_its_field_alone),
        cmocka_unit_test(an_answer_without_news_moves_the_cursor_too),
        cmocka_unit_test(a_cursor_has_an_end),
        cmocka_unit_test(nuls_make_no_cursor),
        cmocka_unit_test(nests_and_heaps_are_survived),
        cmocka_unit_test(garbage_is_survived),
    };
    return cmocka_run_group_tests_name("feed", tests, NULL, NULL);
}

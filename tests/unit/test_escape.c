/* Text in other languages: nothing that a message says gets out of its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/wire/escape.h"

typedef void escape(struct buf *out, const char *text, size_t len);

static void check(escape *way, const char *text, const char *expected)
{
    struct buf out = {0};
    way(&out, text, strlen(text));
    buf_add(&out, "", 1);
    assert_true(buf_ok(&out));
    assert_string_equal(out.bytes, expected);
    buf_free(&out);
}

static void json_escapes_what_json_must(void **state)
{
    (void)state;
    check(escape_json, "", "\"\"");
    check(escape_json, "a\"\\/\n\r\t\x01\x7f", "\"a\\\"\\\\/\\n\\r\\t\\u0001\x7f\"");
    check(escape_json, "\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80",
          "\"\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80\"");
}

/* A library's word for every byte. */
static void json_is_what_jansson_writes(void **state)
{
    (void)state;
    for (int byte = 1; byte < 128; byte++) {
        char text[] = {'a', (char)byte, 'b', 0};
        json_t *string = json_string(text);
        char *expected = json_dumps(string, JSON_ENCODE_ANY);
        check(escape_json, text, expected);
        free(expected);
        json_decref(string);
    }
}

static void json_grows_when_all_is_escaped(void **state)
{
    (void)state;
    char text[5001];
    struct buf out = {0};
    memset(text, 1, sizeof text);
    escape_json(&out, text, sizeof text);
    assert_true(buf_ok(&out));
    assert_int_equal(out.len, 6 * sizeof text + 2);
    buf_free(&out);
}

static void html_is_text_in_elements_and_attributes(void **state)
{
    (void)state;
    check(escape_html, "", "");
    check(escape_html, "a<b>&\"'c", "a&lt;b&gt;&amp;&quot;&#39;c");
}

static void a_script_cannot_be_ended_by_its_string(void **state)
{
    (void)state;
    check(escape_script, "", "\"\"");
    check(escape_script, "</script><!--&", "\"\\u003c/script\\u003e\\u003c!--\\u0026\"");
    check(escape_script, "\\\"'\\<", "\"\\\\\\\"'\\\\\\u003c\"");
    check(escape_script, "a\xe2\x80\xa8\xe2\x80\xa9z\xe2\x80\xa7",
          "\"a\\u2028\\u2029z\xe2\x80\xa7\"");
}

static void a_scripts_string_is_the_text_again(void **state)
{
    (void)state;
    const char *text = "<\\u003c>&\"'\\\xe2\x80\xa8 \xe2\x80\xa9\n\r\x02\xf0\x9f\x98\x80</script>";
    struct buf out = {0};
    escape_script(&out, text, strlen(text));
    json_t *value = json_loadb(out.bytes, out.len, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    assert_string_equal(json_string_value(value), text);
    json_decref(value);
    buf_free(&out);
}

static void an_event_has_a_data_line_a_line(void **state)
{
    (void)state;
    check(escape_event, "", "data: \n");
    check(escape_event, "a", "data: a\n");
    check(escape_event, "a\nb\rc\r\nd", "data: a\ndata: b\ndata: c\ndata: d\n");
    check(escape_event, "\n", "data: \ndata: \n");
    check(escape_event, "\r\r\n\n", "data: \ndata: \ndata: \ndata: \n");
    check(escape_event, "id: 7\r\n\r\nevent: x", "data: id: 7\ndata: \ndata: event: x\n");
}

static void a_line_stays_one(void **state)
{
    (void)state;
    check(escape_line, "", "");
    check(escape_line, "a", "a");
    check(escape_line, "a\nb\rc\r\nd\n", "a b c d ");
    check(escape_line, "\r\n\n", "  ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_escapes_what_json_must),
        cmocka_unit_test(json_is_what_jansson_writes),
        cmocka_unit_test(json_grows_when_all_is_escaped),
        cmocka_unit_test(html_is_text_in_elements_and_attributes),
        cmocka_unit_test(a_script_cannot_be_ended_by_its_string),
        cmocka_unit_test(a_scripts_string_is_the_text_again),
        cmocka_unit_test(an_event_has_a_data_line_a_line),
        cmocka_unit_test(a_line_stays_one),
    };
    return cmocka_run_group_tests_name("escape", tests, NULL, NULL);
}

/* Cursors: every byte string is one; only our own text is a place in the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "store/cursor.h"

static const char epoch[] = "0123456789ab";

static struct cursor parse(const char *text)
{
    return cursor_parse(text, strlen(text), epoch);
}

static void a_printed_cursor_is_read_back(void **state)
{
    const uint64_t seqs[] = {0, 1, 9, 10, 4294967296, INT64_MAX};
    char text[CURSOR_SIZE];
    for (size_t i = 0; i < sizeof seqs / sizeof *seqs; i++) {
        struct cursor cursor = parse(cursor_print(text, epoch, seqs[i]));
        assert_int_equal(cursor.kind, CURSOR_AT);
        assert_int_equal(cursor.seq, seqs[i]);
    }
}

static void the_text_is_epoch_hyphen_seq(void **state)
{
    char text[CURSOR_SIZE];
    assert_string_equal(cursor_print(text, epoch, 42), "0123456789ab-42");
    assert_string_equal(cursor_print(text, epoch, UINT64_MAX), "0123456789ab-18446744073709551615");
}

static void none_is_the_start_and_now_is_now(void **state)
{
    assert_int_equal(cursor_parse(NULL, 0, epoch).kind, CURSOR_START);
    assert_int_equal(parse("").kind, CURSOR_START);
    assert_int_equal(parse("now").kind, CURSOR_NOW);
}

static void anything_else_is_unknown(void **state)
{
    const char *const texts[] = {
        "NOW",
        "nowx",
        "no",
        "-",
        "0",
        "1",
        "0123456789ab",
        "0123456789ab-",
        "0123456789ab-x",
        "0123456789ab-1 ",
        " 0123456789ab-1",
        "0123456789ab--1",
        "0123456789ab-+1",
        "0123456789ab-01",
        "0123456789ab-00",
        "0123456789ab-1\n",
        "0123456789AB-1",
        "ba9876543210-1",
        "0123456789ab-9223372036854775808",
        "0123456789ab-18446744073709551617",
        "0123456789ab-99999999999999999999999999",
        "0123456789ab-1e3",
        "../../etc/passwd",
        "' OR 1=1 --",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (parse(texts[i]).kind != CURSOR_UNKNOWN)
            fail_msg("\"%s\" was taken for a cursor", texts[i]);
    assert_int_equal(cursor_parse("0123456789ab-1\0002", 16, epoch).kind, CURSOR_UNKNOWN);
    assert_int_equal(cursor_parse("now\0", 4, epoch).kind, CURSOR_UNKNOWN);
}

/* Each in memory of just its length, so that a sanitizer sees a byte too many. */
static void any_bytes_are_a_cursor(void **state)
{
    srand(1);
    for (int round = 0; round < 20000; round++) {
        size_t len = (size_t)(rand() % 48);
        char *bytes = malloc(len ? len : 1);
        char text[CURSOR_SIZE];
        assert_non_null(bytes);
        cursor_print(text, epoch, (uint64_t)rand());
        for (size_t i = 0; i < len; i++)
            bytes[i] = i < strlen(text) && rand() % 16 ? text[i] : (char)rand();
        struct cursor cursor = cursor_parse(bytes, len, epoch);
        if (cursor.kind == CURSOR_AT) { /* then it is our own text, to the letter */
            cursor_print(text, epoch, cursor.seq);
            assert_int_equal(strlen(text), len);
            assert_memory_equal(text, bytes, len);
        }
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_printed_cursor_is_read_back),
        cmocka_unit_test(the_text_is_epoch_hyphen_seq),
        cmocka_unit_test(none_is_the_start_and_now_is_now),
        cmocka_unit_test(anything_else_is_unknown),
        cmocka_unit_test(any_bytes_are_a_cursor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

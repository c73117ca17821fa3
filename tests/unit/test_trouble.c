/* What the operator is told of an upstream's trouble, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fcgi/io/diag.h"
#include "fcgi/io/timer.h"
#include "fcgi/relay/trouble.h"

enum { MINUTE_MS = 60000 };

static uint64_t now_ms;
static struct trouble trouble;

static uint64_t clock_of_tests(void)
{
    return now_ms;
}

static int set_up(void **state)
{
    now_ms = 1000;
    timer_clock_set(clock_of_tests);
    trouble = (struct trouble){.state = TROUBLE_NONE};
    diag_level_set(DIAG_ERROR); /* what is told here would be printed */
    return 0;
}

static void fail_with(const char *what)
{
    trouble_note(&trouble, "a", RELAY_BROKEN, what);
}

static void the_first_failure_is_told(void **state)
{
    fail_with("one");
    assert_int_equal(trouble.state, TROUBLE_TOLD);
    assert_int_equal(trouble.since_ms, 1000);
    assert_int_equal(trouble.told_ms, 1000);
    now_ms += MINUTE_MS;
    fail_with("two");
    assert_int_equal(trouble.since_ms, 1000);
    assert_int_equal(trouble.told_ms, 1000); /* once is enough while it lasts */
    assert_int_equal(trouble.errors[RELAY_BROKEN], 2);
    assert_string_equal(trouble.latest, "two");
}

static void a_success_ends_it(void **state)
{
    fail_with("one");
    trouble_end(&trouble, "a");
    assert_int_equal(trouble.state, TROUBLE_NONE);
    assert_string_equal(trouble.latest, "one");
    trouble_end(&trouble, "a");
    assert_int_equal(trouble.state, TROUBLE_NONE);
}

static void trouble_that_comes_and_goes_is_told_once_a_minute(void **state)
{
    fail_with("one");
    trouble_end(&trouble, "a");
    now_ms += MINUTE_MS - 1;
    fail_with("two");
    assert_int_equal(trouble.state, TROUBLE_UNTOLD);
    assert_int_equal(trouble.since_ms, now_ms);
    now_ms++;
    fail_with("three");
    assert_int_equal(trouble.state, TROUBLE_TOLD);
    assert_int_equal(trouble.since_ms, now_ms - 1);
    assert_int_equal(trouble.told_ms, now_ms);
}

static void only_what_can_be_printed_is_kept(void **state)
{
    fail_with("line\nfeed \x1b[31m");
    assert_string_equal(trouble.latest, "line?feed ?[31m");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_first_failure_is_told, set_up),
        cmocka_unit_test_setup(a_success_ends_it, set_up),
        cmocka_unit_test_setup(trouble_that_comes_and_goes_is_told_once_a_minute, set_up),
        cmocka_unit_test_setup(only_what_can_be_printed_is_kept, set_up),
    };
    return cmocka_run_group_tests_name("trouble", tests, NULL, NULL);
}

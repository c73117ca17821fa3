/* What the daemon says: priorities for systemd's journal, and no cause that says too much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fcgi/io/causes.h"
#include "fcgi/io/diag.h"

static char said[256 * 1024];
static int kept, err;

/* From here on stderr is kept. */
static void begin(void)
{
    kept = memfd_create("stderr", MFD_CLOEXEC);
    err = dup(STDERR_FILENO);
    dup2(kept, STDERR_FILENO);
}

/* Puts stderr back; what it was told is in said. */
static void end(void)
{
    ssize_t len = pread(kept, said, sizeof said - 1, 0);
    said[len > 0 ? len : 0] = '\0';
    dup2(err, STDERR_FILENO);
    close(err);
    close(kept);
    unsetenv("JOURNAL_STREAM");
    diag_open();
}

static void name_journal(unsigned long long more)
{
    struct stat status;
    char stream[64];
    fstat(STDERR_FILENO, &status);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)status.st_dev,
             (unsigned long long)status.st_ino + more);
    setenv("JOURNAL_STREAM", stream, 1);
}

static void say_each_level(void)
{
    diag_open();
    diag_level_set(DIAG_DEBUG);
    diag(DIAG_ERROR, "e");
    diag(DIAG_WARN, "w");
    diag(DIAG_INFO, "i");
    diag(DIAG_DEBUG, "d");
    diag_level_set(DIAG_INFO);
}

static void the_journal_is_told_priorities(void **state)
{
    begin();
    name_journal(0);
    say_each_level();
    end();
    assert_string_equal(said, "<3>encke: error: e\n<4>encke: warn: w\n"
                              "<6>encke: info: i\n<7>encke: debug: d\n");
}

static void what_is_not_the_journal_is_told_none(void **state)
{
    static const char plain[] = "encke: error: e\nencke: warn: w\n"
                                "encke: info: i\nencke: debug: d\n";
    begin();
    name_journal(1); /* somebody has sent stderr elsewhere since */
    say_each_level();
    end();
    assert_string_equal(said, plain);
    begin();
    setenv("JOURNAL_STREAM", "nonsense", 1);
    say_each_level();
    end();
    assert_string_equal(said, plain);
}

static unsigned lines(const char *like)
{
    unsigned count = 0;
    for (const char *at = said; (at = strstr(at, like)); at++)
        count++;
    return count;
}

static void a_cause_has_a_hundred_lines_a_minute_and_errors_all(void **state)
{
    begin();
    for (int i = 0; i < 250; i++) {
        diag(DIAG_WARN, "again and again: %d", i);
        diag(DIAG_ERROR, "an error: %d", i);
    }
    diag(DIAG_INFO, "another cause");
    diag_close();
    diag_close();
    end();
    assert_int_equal(lines("warn: again and again: "), CAUSE_LINES);
    assert_int_equal(lines("again and again: 99\n"), 1);
    assert_int_equal(lines("error: an error: "), 250);
    assert_int_equal(lines("info: another cause\n"), 1);
    assert_int_equal(lines("warn: 150 more lines like \"again and again: %d\" were left out\n"), 1);
}

static void what_was_left_out_is_told_when_the_minute_is_over(void **state)
{
    static struct causes causes;
    static const char one[] = "one", other[] = "other";
    struct cause cause;
    uint64_t now_ms = 5000;
    for (int i = 0; i < CAUSE_LINES; i++)
        assert_true(causes_admit(&causes, one, DIAG_WARN, now_ms));
    for (int i = 0; i < 7; i++)
        assert_false(causes_admit(&causes, one, DIAG_WARN, now_ms + CAUSE_MINUTE_MS - 1));
    assert_true(causes_admit(&causes, other, DIAG_INFO, now_ms));
    assert_false(causes_take(&causes, now_ms + CAUSE_MINUTE_MS - 1, &cause));
    assert_true(causes_take(&causes, now_ms + CAUSE_MINUTE_MS, &cause));
    assert_ptr_equal(cause.format, one);
    assert_int_equal(cause.left_out, 7);
    assert_int_equal(cause.level, DIAG_WARN);
    assert_false(causes_take(&causes, now_ms + CAUSE_MINUTE_MS, &cause));
    assert_true(causes_admit(&causes, one, DIAG_WARN, now_ms + CAUSE_MINUTE_MS));
}

static void causes_beyond_the_table_are_not_limited(void **state)
{
    static struct causes causes;
    static const char formats[CAUSES_MAX + 1];
    for (int i = 0; i < CAUSES_MAX + 1; i++)
        assert_true(causes_admit(&causes, &formats[i], DIAG_INFO, 0));
    for (int i = 0; i < 2 * CAUSE_LINES; i++)
        assert_true(causes_admit(&causes, &formats[CAUSES_MAX], DIAG_INFO, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_journal_is_told_priorities),
        cmocka_unit_test(what_is_not_the_journal_is_told_none),
        cmocka_unit_test(a_cause_has_a_hundred_lines_a_minute_and_errors_all),
        cmocka_unit_test(what_was_left_out_is_told_when_the_minute_is_over),
        cmocka_unit_test(causes_beyond_the_table_are_not_limited),
    };
    return cmocka_run_group_tests_name("diag", tests, NULL, NULL);
}

/* What may be published, and that of several messages all are taken, or none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "fcgi/readers/publish.h"
#include "tests/unit/support_memory.h"
#include "tests/unit/support_readers.h"

static struct entry entry_of(const char *channel, const char *message, const char *once)
{
    return (struct entry){text_of(channel), text_of(message), text_of(once)};
}

static void expect_refused(struct entry entry, int status, const char *says)
{
    const char *why = NULL;
    assert_int_equal(publish_check(&publisher, &entry, &why), status);
    assert_non_null(strstr(why, says));
    assert_null(strpbrk(why, "\"\\"));
}

static void what_may_be_published_is_let_through(void **state)
{
    static const char *const channels[] = {NULL, "a", "A-z_0.9"};
    const char *why;
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
        struct entry entry = entry_of(channels[i], "\u00e4\n", i ? "k" : NULL);
        assert_int_equal(publish_check(&publisher, &entry, &why), 0);
        struct message *message = publish_make(&entry);
        assert_string_equal(message_channel(message), channels[i] ? channels[i] : "main");
        assert_string_equal(message_data(message), "\u00e4\n");
        message_drop(message);
    }
}

static void what_may_not_is_refused_with_a_reason(void **state)
{
    expect_refused(entry_of("", "a", NULL), 400, "channel must be");
    expect_refused(entry_of("a b", "a", NULL), 400, "channel must be");
    expect_refused(entry_of(NULL, "\xff", NULL), 400, "not UTF-8");
    expect_refused((struct entry){.message = {"a\0b", 3}}, 400, "NUL");
    expect_refused(entry_of(NULL, "a", ""), 400, "1 to 128 bytes");
    expect_refused(entry_of(NULL, "a", "\x7f"), 400, "control characters");
    publisher.max_message = 3;
    expect_refused(entry_of(NULL, "abcd", NULL), 413, "larger than 3 bytes");
    struct entry entry = entry_of(NULL, "abc", NULL);
    const char *why;
    assert_int_equal(publish_check(&publisher, &entry, &why), 0);
}

/* Publishes three messages, of which the nth allocation fails. */
static enum log_status publish_three(unsigned nth)
{
    const struct entry entry = entry_of(NULL, "three", "k");
    struct message *messages[3];
    memory_fail(nth);
    for (size_t i = 0; i < 2; i++)
        messages[i] = message_new("main", "x", 1, 0);
    messages[2] = publish_make(&entry);
    return publish_messages(&publisher, messages, 3, NULL, NULL, NULL);
}

static void without_memory_for_one_message_none_is_stored(void **state)
{
    unsigned nth = 0;
    enum log_status status;
    do {
        uint64_t head = log_head(store->log);
        status = publish_three(++nth);
        if (memory_has_failed())
            assert_int_equal(status, LOG_NO_MEMORY);
        else
            drain_past(head);
        assert_int_equal(log_head(store->log), status == LOG_OK ? 3 : 0);
    } while (status != LOG_OK);
    assert_true(nth > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_may_be_published_is_let_through, readers_setup,
                                        readers_teardown),
        cmocka_unit_test_setup_teardown(what_may_not_is_refused_with_a_reason, readers_setup,
                                        readers_teardown),
        cmocka_unit_test_setup_teardown(without_memory_for_one_message_none_is_stored,
                                        readers_setup, readers_teardown),
    };
    return cmocka_run_group_tests_name("publish", tests, NULL, NULL);
}

/* Groups: who wants the same is in one, each is woken by its channels' news, and what they take is
 * counted and given back. The readers are the tests' own. */
#include "tests/unit/support_conn.h"

#include <stdio.h>
#include <string.h>

#include "fcgi/conn/admission.h"
#include "fcgi/readers/group.h"
#include "tests/unit/support_memory.h"

enum { BYTES_MAX = 1 << 20, MOMENT_MS = 5000 };

static struct groups groups;
static struct admission admission;
static struct readers *const nobody = NULL; /* a group only hands it on */

/* ---- the readers ---- */

static unsigned woken, released;
static struct group *woken_last;
static uint64_t woken_before;
static char news_of[256]; /* the channels with news of the group woken last */

static void note_wake(struct group *group, uint64_t before)
{
    const char *names[WANTED_CHANNELS_MAX];
    size_t count = group_news_channels(group, names);
    woken++;
    woken_last = group;
    woken_before = before;
    news_of[0] = '\0';
    for (size_t i = 0; i < count; i++)
        snprintf(news_of + strlen(news_of), sizeof news_of - strlen(news_of), "%s ", names[i]);
}

static void note_release(struct group *group)
{
    (void)group;
    released++;
}

static const struct readers_ops ops = {.wake = note_wake, .release = note_release};

static int set_up(void **state)
{
    admission = (struct admission){.waiting_max = 10, .bytes_max = BYTES_MAX};
    woken = released = 0;
    woken_last = NULL;
    if (conns_setup(state) != 0)
        return -1;
    groups_init(&groups, nobody, &admission, &conns.scratch);
    return 0;
}

static int tear_down(void **state)
{
    groups_end_all(&groups);
    groups_sweep(&groups, 0);
    assert_null(groups.groups);
    assert_int_equal(groups_channels(&groups), 0);
    assert_int_equal(admission.bytes, 0);
    return conns_teardown(state);
}

/* The channels a and b, as JSON. */
static struct wanted want_a_and_b(void)
{
    return (struct wanted){.channels = {"a", "b"},
                           .count = 2,
                           .shape = {.format = FORMAT_JSON, .limit = 10, .callback = ""}};
}

static struct group *join(const struct wanted *wanted)
{
    const char *why;
    struct group *group = group_join(&groups, &ops, wanted, &why);
    if (!group)
        fail_msg("%s", why);
    return group;
}

static struct group *join_channel(const char *name)
{
    struct wanted wanted = want_a_and_b();
    wanted.channels[0] = name;
    wanted.count = 1;
    return join(&wanted);
}

/* ---- news ---- */

/* News of these channels, a letter each; those in capitals could not be stored. */
static void tell_news(const char *letters, uint64_t before)
{
    struct append *appends[8];
    struct log_news news = {.before = before, .done = STAILQ_HEAD_INITIALIZER(news.done)};
    size_t count = strlen(letters);
    for (size_t i = 0; i < count; i++) {
        bool stored = letters[i] >= 'a';
        char name[] = {(char)(letters[i] | ('a' - 'A')), '\0'};
        appends[i] = calloc(1, sizeof *appends[i] + sizeof *appends[i]->entries);
        assert_non_null(appends[i]);
        appends[i]->count = 1;
        appends[i]->status = stored ? LOG_OK : LOG_FULL;
        appends[i]->entries[0].message = message_new(name, "x", 1, 0);
        STAILQ_INSERT_TAIL(&news.done, appends[i], next);
    }
    groups_news(&groups, &news);
    for (size_t i = 0; i < count; i++) {
        message_drop(appends[i]->entries[0].message);
        free(appends[i]);
    }
}

/* ---- who is in one ---- */

static void who_want_the_same_are_in_one_group(void **state)
{
    struct wanted wanted = want_a_and_b();
    struct group *group = join(&wanted);
    assert_ptr_equal(join(&wanted), group);
    assert_int_equal(group->readers_count, 2);
    const char *names[WANTED_CHANNELS_MAX];
    assert_int_equal(group_channels(group, names), 2);
    assert_string_equal(names[0], "a");
    assert_string_equal(names[1], "b");
    group_leave(&groups, group);
    group_leave(&groups, group);
}

static void who_want_anything_else_are_in_another(void **state)
{
    struct wanted wanted = want_a_and_b();
    struct wanted others[] = {wanted, wanted, wanted, wanted, wanted, wanted};
    struct group *group = join(&wanted);
    others[0].channels[1] = "c";
    others[1].count = 1;
    others[2].shape.format = FORMAT_HTML;
    others[3].shape.limit = 11;
    others[4].shape.request_id = 1;
    others[5].shape.callback = "f";
    for (size_t i = 0; i < 6; i++) {
        struct group *other = join(&others[i]);
        assert_ptr_not_equal(other, group);
        assert_int_equal(other->readers_count, 1);
        assert_true(other->serial > group->serial);
        group_leave(&groups, other);
    }
    group_leave(&groups, group);
}

static void a_group_keeps_its_own_copy_of_what_is_wanted(void **state)
{
    char name[] = "a", callback[] = "f";
    struct wanted wanted = want_a_and_b();
    wanted.channels[0] = name;
    wanted.shape.callback = callback;
    struct group *group = join(&wanted);
    name[0] = callback[0] = 'x';
    assert_string_equal(group->shape.callback, "f");
    tell_news("a", 0);
    assert_ptr_equal(woken_last, group);
    group_leave(&groups, group);
}

static void what_goes_before_each_message_is_made_once(void **state)
{
    struct wanted wanted = want_a_and_b();
    wanted.shape = (struct shape){.format = FORMAT_SCRIPT, .request_id = 1, .callback = "f"};
    struct group *group = join(&wanted);
    memory_fail(1);
    assert_null(group_call(group, &conns.scratch));
    assert_true(memory_has_failed());
    struct frame *call = group_call(group, &conns.scratch);
    assert_non_null(call);
    assert_ptr_equal(group_call(group, &conns.scratch), call);
    group_leave(&groups, group);
}

/* ---- news ---- */

static void a_group_is_woken_once_by_all_news_of_a_round(void **state)
{
    struct wanted wanted = want_a_and_b();
    struct group *group = join(&wanted);
    tell_news("baab", 7);
    assert_int_equal(woken, 1);
    assert_ptr_equal(woken_last, group);
    assert_int_equal(woken_before, 7);
    assert_string_equal(news_of, "a b ");
    group_leave(&groups, group);
}

static void a_group_is_told_only_of_channels_with_news_in_this_round(void **state)
{
    struct wanted wanted = want_a_and_b();
    struct group *group = join(&wanted);
    tell_news("a", 7);
    assert_string_equal(news_of, "a ");
    tell_news("b", 8);
    assert_int_equal(woken, 2);
    assert_string_equal(news_of, "b ");
    group_leave(&groups, group);
}

static void news_of_other_channels_wake_nobody(void **state)
{
    struct group *a = join_channel("a"), *b = join_channel("b");
    tell_news("cd", 7);
    assert_int_equal(woken, 0);
    tell_news("cb", 7);
    assert_int_equal(woken, 1);
    assert_ptr_equal(woken_last, b);
    group_leave(&groups, a);
    group_leave(&groups, b);
}

static void what_could_not_be_stored_wakes_nobody(void **state)
{
    struct group *group = join_channel("a");
    tell_news("A", 7);
    assert_int_equal(woken, 0);
    group_leave(&groups, group);
}

/* ---- without readers ---- */

static void a_group_without_readers_is_kept_for_a_moment(void **state)
{
    struct group *group = join_channel("a");
    size_t bytes = admission.bytes;
    uint64_t serial = group->serial;
    group_leave(&groups, group);
    pass(MOMENT_MS / 2);
    groups_sweep(&groups, MOMENT_MS);
    assert_int_equal(admission.bytes, bytes);
    group = join_channel("a"); /* it comes back */
    assert_int_equal(group->serial, serial);
    pass(2 * MOMENT_MS);
    groups_sweep(&groups, MOMENT_MS);
    assert_int_equal(admission.bytes, bytes);
    group_leave(&groups, group);
    pass(MOMENT_MS);
    groups_sweep(&groups, MOMENT_MS);
    assert_int_equal(admission.bytes, 0);
    assert_int_equal(groups_channels(&groups), 0);
}

static void leave_in_wake(struct group *group, uint64_t before)
{
    note_wake(group, before);
    group_leave(&groups, group);
    assert_false(group->deserted); /* while its news are given */
}

static void a_group_whose_last_reader_leaves_with_the_news_is_kept_for_a_moment(void **state)
{
    static const struct readers_ops leaving = {.wake = leave_in_wake, .release = note_release};
    struct wanted wanted = want_a_and_b();
    const char *why;
    struct group *group = group_join(&groups, &leaving, &wanted, &why);
    tell_news("ab", 0);
    assert_int_equal(woken, 1);
    assert_true(group->deserted);
    assert_int_equal(groups_channels(&groups), 2);
}

/* ---- limits ---- */

static void without_room_nobody_joins_but_those_whose_group_is_there(void **state)
{
    const char *why;
    struct wanted wanted = want_a_and_b(), other = want_a_and_b();
    struct group *group = join(&wanted);
    other.channels[1] = "c";
    size_t bytes = admission.bytes;
    admission.bytes_max = bytes;
    assert_null(group_join(&groups, &ops, &other, &why));
    assert_string_equal(why, "too many channels are read");
    assert_int_equal(admission.bytes, bytes);
    assert_ptr_equal(join(&wanted), group);
    group_leave(&groups, group);
    group_leave(&groups, group);
    other.count = 1;
    group_leave(&groups, join(&other)); /* the group without readers has made room */
    assert_int_equal(groups_channels(&groups), 1);
}

static void whatever_allocation_fails_nobody_joins_and_nothing_is_left(void **state)
{
    enum { GROUPS = 300 /* so that the tables grow, too */ };
    static struct group *joined[GROUPS];
    unsigned failures = 0;
    for (int i = 0; i < GROUPS; i++) {
        char name[16];
        const char *why = "";
        struct wanted wanted = want_a_and_b();
        snprintf(name, sizeof name, "c%d", i);
        wanted.channels[1] = name;
        for (unsigned nth = 1; !joined[i]; nth++) {
            size_t bytes = admission.bytes;
            memory_fail(nth);
            joined[i] = group_join(&groups, &ops, &wanted, &why);
            if (!memory_has_failed())
                break;
            assert_null(joined[i]);
            assert_string_equal(why, "out of memory");
            assert_int_equal(admission.bytes, bytes);
            failures++;
        }
    }
    assert_true(failures > 4 * GROUPS);
    assert_int_equal(groups_channels(&groups), GROUPS + 1);
    for (int i = 0; i < GROUPS; i++) {
        group_leave(&groups, joined[i]);
        joined[i] = NULL;
    }
}

/* ---- all of them ---- */

static char counted[256];

static void write_count(void *context, const char *name, unsigned count)
{
    assert_ptr_equal(context, counted);
    snprintf(counted + strlen(counted), sizeof counted - strlen(counted), "%s=%u ", name, count);
}

static void the_readers_of_a_channel_are_counted_over_all_its_groups(void **state)
{
    struct wanted wanted = want_a_and_b();
    struct group *both = join(&wanted), *a = join_channel("a"), *gone = join_channel("c");
    (void)join(&wanted);
    group_leave(&groups, gone);
    counted[0] = '\0';
    groups_each_channel(&groups, write_count, counted);
    assert_string_equal(counted, "a=3 b=2 ");
    group_leave(&groups, both);
    group_leave(&groups, both);
    group_leave(&groups, a);
}

static void a_drain_releases_each_group_once(void **state)
{
    struct wanted wanted = want_a_and_b();
    struct group *both = join(&wanted), *a = join_channel("a");
    groups_release(&groups);
    assert_int_equal(released, 2);
    assert_int_equal(woken, 0);
    group_leave(&groups, both);
    group_leave(&groups, a);
}

static void leave_group(struct conn *conn, void *in)
{
    (void)conn;
    group_leave(&groups, in);
}

static void all_who_wait_in_groups_can_be_ended(void **state)
{
    static const struct wait waiting = {.name = "waiting", .left = leave_group};
    struct wanted wanted = want_a_and_b();
    struct peer peers[2];
    for (int i = 0; i < 2; i++) {
        struct conn *conn = peer_connect_and_ask(&peers[i]);
        struct group *group = join(&wanted);
        conn_wait(conn, &group->conns, &waiting, group, CONN_FOREVER);
    }
    groups_end_all(&groups);
    assert_int_equal(conns.count, 0);
    groups_sweep(&groups, 0);
    assert_int_equal(admission.bytes, 0);
    for (int i = 0; i < 2; i++)
        peer_leave(&peers[i]);
}

#define WITH_GROUPS(claim) cmocka_unit_test_setup_teardown(claim, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_GROUPS(who_want_the_same_are_in_one_group),
        WITH_GROUPS(who_want_anything_else_are_in_another),
        WITH_GROUPS(a_group_keeps_its_own_copy_of_what_is_wanted),
        WITH_GROUPS(what_goes_before_each_message_is_made_once),
        WITH_GROUPS(a_group_is_woken_once_by_all_news_of_a_round),
        WITH_GROUPS(a_group_is_told_only_of_channels_with_news_in_this_round),
        WITH_GROUPS(news_of_other_channels_wake_nobody),
        WITH_GROUPS(what_could_not_be_stored_wakes_nobody),
        WITH_GROUPS(a_group_without_readers_is_kept_for_a_moment),
        WITH_GROUPS(a_group_whose_last_reader_leaves_with_the_news_is_kept_for_a_moment),
        WITH_GROUPS(without_room_nobody_joins_but_those_whose_group_is_there),
        WITH_GROUPS(whatever_allocation_fails_nobody_joins_and_nothing_is_left),
        WITH_GROUPS(the_readers_of_a_channel_are_counted_over_all_its_groups),
        WITH_GROUPS(a_drain_releases_each_group_once),
        WITH_GROUPS(all_who_wait_in_groups_can_be_ended),
    };
    return cmocka_run_group_tests_name("group", tests, NULL, NULL);
}

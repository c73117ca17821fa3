/* Long polls: what is answered at once, what is held, and what is deferred; and how each of these
 * ends. They are on a real log. */
#include "tests/unit/support_readers.h"

#include <string.h>

#include "fcgi/readers/hold.h"
#include "tests/unit/support_memory.h"

enum { MUCH = 300 * 1000 /* bytes: more than one round of the loop gives to polls */ };

/* Polls for all of a channel, and is deferred, as this round of the loop has given enough. */
static struct peer poll_deferred(const char *channel)
{
    struct peer peer;
    struct wanted wanted = want(channel, FORMAT_JSON, at_start, HOLD_MS);
    struct conn *conn = peer_connect_and_ask(&peer);
    readers.polls_round = loop.rounds;
    readers.polls_round_bytes = MUCH;
    hold_poll(&readers, conn, &wanted);
    assert_true(conn->watch == WATCH_LATER);
    assert_int_equal(admission.waiting, 0); /* it is not held */
    return peer;
}

/* A kept connection has got a whole answer, and its peer has been heard. */
static bool is_answered(struct peer *peer, const char *text)
{
    return peer_has_heard(peer, text) && peer->conn->idle;
}

/* ---- at once ---- */

static void a_poll_gets_what_is_newer_than_its_cursor_at_once(void **state)
{
    publish_word("a", "first");
    struct cursor first = {CURSOR_AT, log_head(store->log)};
    publish_word("a", "second");
    struct peer all = poll_channel("a", at_start), one = poll_channel("a", first);
    assert_true(is_answered(&all, "\"data\":\"first\"") && is_answered(&all, "second"));
    assert_true(is_answered(&one, "second"));
    assert_false(peer_has_heard(&one, "first"));
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(conns.deliveries, 3);
    peer_leave(&all);
    peer_leave(&one);
}

static void a_poll_with_a_cursor_of_another_log_is_told_so_at_once(void **state)
{
    struct peer peer = poll_channel("a", (struct cursor){.kind = CURSOR_UNKNOWN});
    assert_true(is_answered(&peer, "\"reset\":true"));
    peer_leave(&peer);
}

static void a_poll_that_does_not_want_to_wait_is_told_that_there_is_nothing(void **state)
{
    struct peer peer;
    struct wanted wanted = want("a", FORMAT_JSON, from_now, 0);
    hold_poll(&readers, peer_connect_and_ask(&peer), &wanted);
    assert_true(peer_has_heard(&peer, "\"messages\":[]"));
    assert_int_equal(admission.waiting, 0);
    peer_leave(&peer);
}

/* ---- held ---- */

static void a_poll_at_the_head_is_held_until_there_is_news(void **state)
{
    struct peer peer = poll_channel("a", from_now);
    assert_int_equal(admission.waiting, 1);
    publish_word("b", "another channel's");
    assert_int_equal(admission.waiting, 1);
    publish_word("a", "news");
    assert_int_equal(admission.waiting, 0);
    assert_true(is_answered(&peer, "news"));
    size_t heard = peer.heard.len;
    publish_word("a", "more");
    pass(HOLD_MS);
    peer_hear(&peer);
    assert_int_equal(peer.heard.len, heard); /* it was answered once */
    assert_int_equal(loop.timers.count, 0);
    peer_leave(&peer);
}

/* What sockets have not taken counts each answer once, however many lack it. */
static void all_who_lack_the_same_get_one_answer_that_is_rendered_once(void **state)
{
    struct peer peers[HOLDS_MAX] = {poll_channel("a", from_now), poll_channel("a", from_now),
                                    poll_for("a", from_now, 7, HOLD_MS) /* a group of its own */};
    publish_much("a", "the end", 900 * 1000);
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(conns.unsent.count, HOLDS_MAX);
    assert_in_range(conns.unsent.bytes, 900 * 1000, 1000 * 1000);
    for (int i = 0; i < HOLDS_MAX; i++) {
        while (peer_hear(&peers[i]) > 0)
            go_round();
        assert_int_equal(peers[i].heard.len, peers[0].heard.len);
        assert_memory_equal(peers[i].heard.bytes, peers[0].heard.bytes, peers[0].heard.len);
        assert_true(is_answered(&peers[i], "the end"));
    }
    assert_int_equal(conns.unsent.bytes, 0);
    for (int i = 0; i < HOLDS_MAX; i++)
        peer_leave(&peers[i]);
}

static void a_hold_ends_with_its_time_less_up_to_a_tenth_and_says_so(void **state)
{
    struct peer peer = poll_channel("a", from_now);
    pass(HOLD_MS - HOLD_MS / 10 - 3 * TIMER_TICK_MS);
    assert_int_equal(peer_hear(&peer), 0);
    pass(HOLD_MS / 10 + TIMER_TICK_MS);
    assert_true(is_answered(&peer, "\"messages\":[]"));
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(loop.timers.count, 0);
    peer_leave(&peer);
}

static void a_held_peer_that_leaves_is_counted_no_more(void **state)
{
    struct peer peer = poll_channel("a", from_now);
    peer_leave(&peer);
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(conns.count, 0);
    groups_sweep(&readers.groups, 0);
    assert_int_equal(admission.bytes, 0);
}

static void a_drain_answers_all_holds_and_holds_no_more(void **state)
{
    publish_word("b", "old");
    struct peer one = poll_channel("a", from_now), two = poll_channel("b", from_now);
    conns.draining = true;
    groups_release(&readers.groups);
    assert_true(peer_has_heard(&one, "\"messages\":[]") && peer_has_heard(&two, "\"messages\":[]"));
    assert_int_equal(admission.waiting, 0);
    struct peer late = poll_channel("a", from_now), lucky = poll_channel("b", at_start);
    assert_true(peer_has_heard(&late, "Status: 503") && peer_has_heard(&late, "about to stop"));
    assert_true(peer_has_heard(&lucky, "old")); /* there is something for it */
    peer_leave(&one);
    peer_leave(&two);
    peer_leave(&late);
    peer_leave(&lucky);
}

/* ---- refused ---- */

static void one_hold_too_many_is_refused(void **state)
{
    struct peer peers[HOLDS_MAX + 1];
    admission.told = true; /* or it would be told */
    for (int i = 0; i <= HOLDS_MAX; i++)
        peers[i] = poll_channel("a", from_now);
    assert_int_equal(admission.waiting, HOLDS_MAX);
    assert_int_equal(admission.refused, 1);
    assert_true(is_answered(&peers[HOLDS_MAX], "Status: 503"));
    for (int i = 0; i <= HOLDS_MAX; i++)
        peer_leave(&peers[i]);
}

static void without_room_for_its_channels_a_poll_is_refused(void **state)
{
    admission.told = true; /* or it would be told */
    admission.bytes_max = 10;
    struct peer peer = poll_channel("a", from_now);
    assert_true(is_answered(&peer, "too many channels are read"));
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(admission.refused, 1);
    peer_leave(&peer);
}

/* ---- deferred ---- */

static void when_a_round_has_given_enough_the_next_polls_are_deferred(void **state)
{
    enum { POLLS = 3 };
    struct peer peers[POLLS], held;
    struct conn *conn[POLLS];
    struct wanted wanted = want("a", FORMAT_JSON, at_start, HOLD_MS);
    publish_much("a", "the end", MUCH);
    for (int i = 0; i < POLLS; i++)
        conn[i] = peer_connect_and_ask(&peers[i]);
    struct conn *last = peer_connect_and_ask(&held);
    for (int i = 0; i < POLLS; i++)
        hold_poll(&readers, conn[i], &wanted);
    assert_true(peer_hear(&peers[0]) > 0);
    for (int i = 1; i < POLLS; i++)
        assert_int_equal(peer_hear(&peers[i]), 0);
    wanted.cursor = from_now;
    hold_poll(&readers, last, &wanted); /* for whom there is nothing */
    assert_int_equal(admission.waiting, 1);
    for (int i = 0; i < POLLS; i++) {
        go_round();
        while (peer_hear(&peers[i]) > 0)
            go_round();
        assert_true(is_answered(&peers[i], "the end"));
        peer_leave(&peers[i]);
    }
    peer_leave(&held);
}

static void a_deferred_poll_for_which_there_is_nothing_is_held_when_its_turn_comes(void **state)
{
    publish_word("b", "another channel's");
    struct peer peer = poll_deferred("a");
    go_round();
    assert_int_equal(admission.waiting, 1);
    assert_int_equal(peer.conn->watch, WATCH_INPUT);
    groups_sweep(&readers.groups, 0); /* it is still in its group */
    publish_word("a", "news");
    assert_true(is_answered(&peer, "news"));
    peer_leave(&peer);
}

static void a_deferred_poll_that_would_be_one_hold_too_many_is_refused(void **state)
{
    publish_word("b", "another channel's");
    admission.told = true; /* or it would be told */
    struct peer peer = poll_deferred("a");
    admission.waiting_max = 0;
    go_round();
    assert_true(is_answered(&peer, "Status: 503"));
    peer_leave(&peer);
}

static void a_deferred_peer_that_leaves_is_forgotten(void **state)
{
    publish_word("a", "first");
    struct peer peer = poll_deferred("a");
    peer_leave(&peer);
    assert_int_equal(conns.count, 0);
    assert_int_equal(conns.deliveries, 0);
    groups_sweep(&readers.groups, 0);
    assert_int_equal(admission.bytes, 0);
}

static void those_still_deferred_in_the_end_are_refused(void **state)
{
    publish_word("a", "first");
    struct peer peer = poll_deferred("a");
    hold_refuse_deferred(&readers);
    assert_true(is_answered(&peer, "Status: 503"));
    peer_leave(&peer);
}

/* What sockets have not taken is too much. */
static void while_much_is_not_taken_holds_get_their_news_in_their_turn(void **state)
{
    struct peer slow = poll_channel("a", from_now), held = poll_channel("b", from_now);
    publish_much("a", "the end", 900 * 1000);
    assert_int_equal(conns.unsent.count, 1);
    conns.unsent.bytes_max = 1;
    publish_word("b", "news");
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(peer_hear(&held), 0);
    groups_sweep(&readers.groups, 0); /* it is still in its group */
    go_round();
    assert_true(is_answered(&held, "news"));
    peer_leave(&slow);
    peer_leave(&held);
}

/* ---- memory ---- */

static void ask_only(struct peer *peer)
{
    (void)peer_connect_and_ask(peer);
}

static void poll_as(struct peer *peer, struct cursor cursor)
{
    const struct wanted wanted = want("a", FORMAT_JSON, cursor, HOLD_MS);
    hold_poll(&readers, peer->conn, &wanted);
}

static void poll_for_all(struct peer *peer)
{
    poll_as(peer, at_start);
}

static void poll_for_news(struct peer *peer)
{
    poll_as(peer, from_now);
}

/* In a round that has given enough. */
static void poll_and_take_the_turn(struct peer *peer)
{
    readers.polls_round = loop.rounds;
    readers.polls_round_bytes = MUCH;
    poll_as(peer, at_start);
    go_round();
}

/* Held, while a message is under way. */
static void hold_and_publish(struct peer *peer)
{
    *peer = poll_channel("a", from_now);
    publish_later("a", "news");
}

/* Whichever allocation fails in `step`, which comes after `before`: the peer is answered, or held,
 * or its connection ends, and then nothing is left. If none fails, it is held, or given messages.
 */
static void fail_each_allocation(void (*before)(struct peer *peer), void (*step)(struct peer *peer),
                                 bool is_held)
{
    unsigned nth = 0;
    bool failed;
    admission.told = true; /* or it would be told */
    do {
        struct peer peer;
        before(&peer);
        memory_fail(++nth);
        step(&peer);
        wait_for_reads();
        failed = memory_has_failed();
        peer_hear(&peer);
        assert_int_equal(peer.closed || peer.heard.len > 0, admission.waiting == 0);
        if (!failed)
            assert_true(is_held ? admission.waiting == 1 : peer_has_heard(&peer, "\"data\":"));
        peer_leave(&peer);
        assert_no_readers_left();
    } while (failed);
    assert_true(nth > 3);
}

static void whatever_allocation_fails_a_poll_is_answered_or_held_or_ends(void **state)
{
    fail_each_allocation(ask_only, poll_for_news, true);
    fail_each_allocation(hold_and_publish, take_published, false);
    fail_each_allocation(ask_only, poll_for_all, false);
    fail_each_allocation(ask_only, poll_and_take_the_turn, false);
    for (int i = 0; i < 10; i++)
        publish_word("a", "one of many");
    fail_each_allocation(ask_only, poll_for_all, false);
}

/* ---- a new beginning ---- */

static void when_the_log_begins_anew_every_hold_is_told(void **state)
{
    publish_word("a", "of before");
    struct peer held = poll_channel("a", from_now), other = poll_channel("b", from_now);
    begin_anew(7);
    assert_true(is_answered(&held, "\"id\":\"00112233aabb-7\",\"messages\":[],\"more\":false,"
                                   "\"reset\":true"));
    assert_true(is_answered(&other, "\"reset\":true"));
    struct peer again = poll_channel("a", (struct cursor){CURSOR_AT, 7});
    publish_word("a", "news");
    assert_true(is_answered(&again, "\"id\":\"00112233aabb-8\""));
    peer_leave(&held);
    peer_leave(&other);
    peer_leave(&again);
}

static void when_the_log_begins_anew_a_deferred_poll_starts_over(void **state)
{
    publish_word("a", "of before");
    struct peer peer = poll_deferred("a");
    begin_anew(7);
    assert_true(is_answered(&peer, "\"reset\":true"));
    assert_false(peer_has_heard(&peer, "of before"));
    peer_leave(&peer);
}

#define WITH_READERS(claim) cmocka_unit_test_setup_teardown(claim, readers_setup, readers_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_READERS(a_poll_gets_what_is_newer_than_its_cursor_at_once),
        WITH_READERS(a_poll_with_a_cursor_of_another_log_is_told_so_at_once),
        WITH_READERS(a_poll_that_does_not_want_to_wait_is_told_that_there_is_nothing),
        WITH_READERS(a_poll_at_the_head_is_held_until_there_is_news),
        WITH_READERS(all_who_lack_the_same_get_one_answer_that_is_rendered_once),
        WITH_READERS(a_hold_ends_with_its_time_less_up_to_a_tenth_and_says_so),
        WITH_READERS(a_held_peer_that_leaves_is_counted_no_more),
        WITH_READERS(a_drain_answers_all_holds_and_holds_no_more),
        WITH_READERS(one_hold_too_many_is_refused),
        WITH_READERS(without_room_for_its_channels_a_poll_is_refused),
        WITH_READERS(when_a_round_has_given_enough_the_next_polls_are_deferred),
        WITH_READERS(a_deferred_poll_for_which_there_is_nothing_is_held_when_its_turn_comes),
        WITH_READERS(a_deferred_poll_that_would_be_one_hold_too_many_is_refused),
        WITH_READERS(a_deferred_peer_that_leaves_is_forgotten),
        WITH_READERS(those_still_deferred_in_the_end_are_refused),
        WITH_READERS(while_much_is_not_taken_holds_get_their_news_in_their_turn),
        WITH_READERS(when_the_log_begins_anew_every_hold_is_told),
        WITH_READERS(when_the_log_begins_anew_a_deferred_poll_starts_over),
        WITH_READERS(whatever_allocation_fails_a_poll_is_answered_or_held_or_ends),
    };
    return cmocka_run_group_tests_name("hold", tests, NULL, NULL);
}

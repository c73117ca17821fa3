/* Streams: how they begin, go on while they are live, fall behind and catch up, and end. They are
 * on a real log. */
#include "tests/unit/support_readers.h"

#include <string.h>
#include <sys/socket.h>

#include "fcgi/io/diag.h"
#include "fcgi/readers/stream.h"
#include "tests/unit/support_memory.h"

enum { MUCH = 900 * 1000 /* bytes of a message that no socket takes at once */ };

/* ---- a partner that counts ---- */

static struct {
    struct partner partner;
    unsigned readable, resumed, finished, gone, freed;
    bool dead, full; /* what it says of its client, and of the socket when it resumes */
} counting;

static enum watch watch_input(const struct partner *partner)
{
    assert_ptr_equal(partner, &counting.partner);
    return WATCH_INPUT;
}

static void count_readable(struct conn *conn)
{
    char byte;
    assert_true(stream_of(conn)->live);
    assert_int_equal(recv(conn->fd, &byte, 1, 0), 1);
    counting.readable++;
}

static bool count_resumed(struct conn *conn)
{
    assert_null(stream_of(conn)->progress.rest.frame);
    counting.resumed++;
    return !counting.full;
}

static bool say_whether_dead(struct partner *partner)
{
    assert_ptr_equal(partner, &counting.partner);
    return counting.dead;
}

static void count_finished(struct conn *conn)
{
    counting.finished++;
    conn_end(conn);
}

static void count_gone(struct conn *conn)
{
    counting.gone++;
    conn_end(conn);
}

static void count_freed(struct partner *partner)
{
    assert_ptr_equal(partner, &counting.partner);
    counting.freed++;
}

static const struct partner_ops counting_ops = {.watch = watch_input,
                                                .readable = count_readable,
                                                .resume = count_resumed,
                                                .is_dead = say_whether_dead,
                                                .finish = count_finished,
                                                .gone = count_gone,
                                                .free = count_freed};

static int set_up(void **state)
{
    memset(&counting, 0, sizeof counting);
    counting.partner.ops = &counting_ops;
    diag_level_set(DIAG_ERROR); /* what is told here would be printed */
    return readers_setup(state);
}

static int tear_down(void **state)
{
    diag_level_set(DIAG_INFO);
    return readers_teardown(state);
}

/* ---- streams ---- */

static struct peer stream_from(const char *channel, struct cursor cursor, uint64_t wait_ms)
{
    struct peer peer;
    const struct wanted wanted = want(channel, FORMAT_LINES, cursor, wait_ms);
    stream_open(&readers, peer_connect_and_ask(&peer), &wanted, NULL, NULL);
    return peer;
}

static struct peer stream_channel(const char *channel)
{
    return stream_from(channel, from_now, STREAM_MS);
}

static struct peer stream_with_partner(const char *channel)
{
    struct peer peer;
    const struct wanted wanted = want(channel, FORMAT_LINES, from_now, STREAM_MS);
    stream_open(&readers, peer_connect_and_ask(&peer), &wanted, "", &counting.partner);
    return peer;
}

/* A live stream that has been told all there was. */
static struct peer live_stream(const char *channel)
{
    struct peer peer = stream_channel(channel);
    assert_true(stream_of(peer.conn)->live);
    peer_hear(&peer);
    return peer;
}

/* One whose socket has cut a message through that ends with the word. */
static struct peer stream_cut_through(const char *channel, const char *word)
{
    struct peer peer = live_stream(channel);
    publish_much(channel, word, MUCH);
    assert_false(stream_of(peer.conn)->live);
    assert_non_null(stream_of(peer.conn)->progress.rest.frame);
    return peer;
}

/* Hears until nothing more comes. */
static void hear_all(struct peer *peer)
{
    while (peer_hear(peer) > 0)
        go_round();
}

/* The stream of a kept connection has ended as it should, and all of it was heard. */
static bool is_finished(struct peer *peer)
{
    hear_all(peer);
    return !peer->closed && peer->conn->idle;
}

static unsigned times_heard(const struct peer *peer, const char *text)
{
    unsigned times = 0;
    const char *at = peer->heard.bytes, *end = at + peer->heard.len;
    while ((at = memmem(at, (size_t)(end - at), text, strlen(text))) != NULL) {
        times++;
        at += strlen(text);
    }
    return times;
}

/* ---- opening ---- */

static void a_stream_from_now_begins_with_its_cursor_and_is_live(void **state)
{
    publish_word("a", "old");
    struct peer peer = live_stream("a");
    assert_true(peer_has_heard(&peer, "application/x-ndjson"));
    assert_true(peer_has_heard(&peer, "{\"id\":\""));
    assert_false(peer_has_heard(&peer, "old"));
    assert_int_equal(readers.streams[STREAM_LINES], 1);
    assert_int_equal(readers.streams_behind, 0);
    assert_int_equal(admission.waiting, 1);
    peer_leave(&peer);
}

static void a_stream_from_the_start_gets_what_is_there_and_then_the_news(void **state)
{
    publish_word("a", "first");
    struct peer peer = stream_from("a", at_start, STREAM_MS);
    publish_word("a", "second");
    assert_true(peer_has_heard(&peer, "first") && peer_has_heard(&peer, "second"));
    assert_int_equal(conns.deliveries, 2);
    peer_leave(&peer);
}

static void a_cursor_of_another_log_is_told_as_a_reset(void **state)
{
    publish_word("a", "first");
    struct peer peer = stream_from("a", (struct cursor){.kind = CURSOR_UNKNOWN}, STREAM_MS);
    assert_true(peer_has_heard(&peer, "{\"reset\":true}") && peer_has_heard(&peer, "first"));
    peer_leave(&peer);
}

static void a_stream_that_is_not_to_wait_ends_when_it_has_caught_up(void **state)
{
    publish_word("a", "first");
    struct peer peer = stream_from("a", at_start, 0);
    assert_true(is_finished(&peer));
    assert_true(peer_has_heard(&peer, "first"));
    assert_int_equal(admission.waiting, 0);
    peer_leave(&peer);
}

static void one_stream_too_many_is_refused_and_its_partner_freed(void **state)
{
    admission.waiting_max = 0;
    struct peer peer = stream_with_partner("a");
    assert_true(peer_has_heard(&peer, "Status: 503"));
    assert_int_equal(counting.freed, 1);
    peer_leave(&peer);
}

static void without_room_for_its_channels_a_stream_is_refused(void **state)
{
    admission.bytes_max = 10;
    struct peer peer = stream_with_partner("a");
    assert_true(peer_has_heard(&peer, "too many channels are read"));
    assert_int_equal(counting.freed, 1);
    assert_int_equal(admission.waiting, 0);
    peer_leave(&peer);
}

/* ---- live ---- */

static void a_live_stream_gets_the_news_of_its_channels(void **state)
{
    struct peer peer = live_stream("a");
    publish_word("b", "not this");
    publish_word("a", "one");
    publish_word("a", "two");
    assert_true(peer_has_heard(&peer, "one") && peer_has_heard(&peer, "two"));
    assert_false(peer_has_heard(&peer, "not this"));
    assert_int_equal(readers.streams_behind, 0);
    peer_leave(&peer);
}

static void a_quiet_stream_gets_a_cursor_now_and_then(void **state)
{
    struct peer peer = live_stream("a");
    publish_word("b", "another channel's, which moves the head");
    for (unsigned heartbeats = 1; heartbeats <= 3; heartbeats++) {
        pass(HEARTBEAT_MS);
        assert_true(peer_hear(&peer) > 0);
        assert_int_equal(times_heard(&peer, "{\"id\":\""), 1 + heartbeats);
    }
    assert_int_equal(times_heard(&peer, "-1\"}"), 3); /* a newer one than it began with */
    peer_leave(&peer);
}

static void what_comes_from_a_client_that_only_listens_ends_its_stream(void **state)
{
    struct peer peer = live_stream("a");
    peer_say(&peer, "x", 1);
    assert_int_equal(conns.count, 0);
    peer_leave(&peer);
}

/* ---- behind ---- */

static void a_stream_whose_socket_is_full_is_only_a_cursor_and_a_frame(void **state)
{
    struct peer slow = stream_cut_through("a", "the first");
    assert_int_equal(readers.streams_behind, 1);
    assert_int_equal(conns.unsent.count, 1);
    assert_in_range(conns.unsent.bytes, MUCH, MUCH + 1000);
    size_t unsent = conns.unsent.bytes;
    publish_much("a", "the second", MUCH);
    publish_word("a", "the third");
    assert_int_equal(conns.unsent.bytes, unsent); /* nothing is queued for it */
    hear_all(&slow);
    assert_int_equal(times_heard(&slow, "the first"), 1);
    assert_int_equal(times_heard(&slow, "the second"), 1);
    assert_int_equal(times_heard(&slow, "the third"), 1);
    assert_true(stream_of(slow.conn)->live);
    assert_int_equal(readers.streams_behind, 0);
    assert_int_equal(conns.unsent.bytes, 0);
    assert_int_equal(conns.deliveries, 3);
    peer_leave(&slow);
}

static void streams_that_are_cut_in_the_same_frame_share_it(void **state)
{
    struct peer one = live_stream("a"), two = live_stream("a");
    publish_much("a", "the end", MUCH);
    assert_int_equal(readers.streams_behind, 2);
    assert_int_equal(conns.unsent.count, 2);
    assert_in_range(conns.unsent.bytes, MUCH, MUCH + 1000);
    hear_all(&one);
    assert_true(peer_has_heard(&one, "the end"));
    assert_in_range(conns.unsent.bytes, MUCH, MUCH + 1000);
    peer_leave(&two);
    assert_int_equal(conns.unsent.bytes, 0);
    peer_leave(&one);
}

static void a_frame_that_is_cut_through_is_not_interrupted_by_a_heartbeat(void **state)
{
    struct peer slow = stream_cut_through("a", "the end");
    pass(HEARTBEAT_MS);
    hear_all(&slow);
    assert_true(peer_has_heard(&slow, "xthe end\"")); /* with nothing within */
    assert_true(stream_of(slow.conn)->live);
    peer_leave(&slow);
}

static void a_stream_catches_up_a_page_at_a_time(void **state)
{
    enum { PAGES = 5 };
    for (int i = 0; i < PAGES; i++)
        publish_much("a", "a page", BATCH_BYTES);
    struct peer peer = stream_from("a", at_start, STREAM_MS);
    assert_int_equal(peer.conn->watch, WATCH_LATER); /* others first */
    assert_int_equal(conns.deliveries, 1);
    for (unsigned i = 2; i <= PAGES; i++) {
        peer_hear(&peer);
        loop_round(&loop, 0);
        assert_in_range(conns.deliveries, i, PAGES);
    }
    hear_all(&peer);
    assert_int_equal(times_heard(&peer, "a page"), PAGES);
    assert_true(stream_of(peer.conn)->live);
    peer_leave(&peer);
}

/* What sockets have not taken is too much. */
static void while_much_is_not_taken_streams_get_their_news_in_their_turn(void **state)
{
    struct peer slow = stream_cut_through("a", "the end"), quick = live_stream("b");
    conns.unsent.bytes_max = 1;
    publish_word("b", "news");
    assert_false(stream_of(quick.conn)->live);
    assert_false(peer_has_heard(&quick, "news"));
    go_round();
    assert_true(peer_has_heard(&quick, "news"));
    assert_true(stream_of(quick.conn)->live);
    peer_leave(&slow);
    peer_leave(&quick);
}

/* ---- the end ---- */

static void a_stream_ends_with_its_time_less_up_to_a_tenth(void **state)
{
    struct peer peer = live_stream("a");
    for (uint64_t end = timer_now_ms() + STREAM_MS - STREAM_MS / 10 - HEARTBEAT_MS;
         timer_now_ms() < end;)
        pass(0);
    assert_non_null(stream_of(peer.conn));
    for (uint64_t end = timer_now_ms() + STREAM_MS / 10 + HEARTBEAT_MS; timer_now_ms() < end;)
        pass(0);
    assert_true(is_finished(&peer));
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(loop.timers.count, 0);
    peer_leave(&peer);
}

static void a_stream_that_lasts_forever_has_no_end(void **state)
{
    struct peer peer = stream_from("a", from_now, STREAM_FOREVER);
    for (int i = 0; i < 100; i++) {
        pass(STREAM_MS);
        peer_hear(&peer);
    }
    assert_true(stream_of(peer.conn)->live);
    peer_leave(&peer);
}

static void a_stream_whose_time_is_over_in_the_middle_of_a_frame_is_cut_off(void **state)
{
    struct peer slow = stream_cut_through("a", "the end");
    pass(STREAM_MS);
    hear_all(&slow);
    assert_true(slow.closed);
    assert_int_equal(conns.unsent.bytes, 0);
    assert_int_equal(admission.waiting, 0);
    peer_leave(&slow);
}

static void a_client_that_leaves_is_counted_no_more(void **state)
{
    struct peer live = live_stream("a"), slow = stream_cut_through("b", "the end");
    peer_leave(&live);
    assert_int_equal(admission.waiting, 1);
    peer_leave(&slow);
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(readers.streams[STREAM_LINES], 0);
    assert_int_equal(readers.streams_behind, 0);
    assert_int_equal(conns.unsent.count, 0);
    assert_int_equal(conns.count, 0);
}

static void a_drain_ends_all_streams_but_in_the_middle_of_a_frame(void **state)
{
    struct peer live = live_stream("b"), slow = stream_cut_through("a", "the end");
    conns.draining = true;
    groups_release(&readers.groups);
    stream_release_behind(&readers);
    assert_true(is_finished(&live));
    assert_non_null(stream_of(slow.conn));
    assert_true(is_finished(&slow)); /* as soon as the frame is out */
    assert_true(peer_has_heard(&slow, "the end"));
    assert_int_equal(admission.waiting, 0);
    peer_leave(&live);
    peer_leave(&slow);
}

static void a_drain_ends_a_stream_that_is_between_two_pages(void **state)
{
    publish_much("a", "page 1", BATCH_BYTES);
    publish_much("a", "page 2", BATCH_BYTES);
    struct peer peer = stream_from("a", at_start, STREAM_MS);
    conns.draining = true;
    stream_release_behind(&readers);
    assert_true(is_finished(&peer));
    assert_true(peer_has_heard(&peer, "page 1"));
    assert_false(peer_has_heard(&peer, "page 2"));
    peer_leave(&peer);
}

/* ---- the partner ---- */

static void a_partner_hears_what_comes_while_its_stream_is_live(void **state)
{
    struct peer peer = stream_with_partner("a");
    peer_hear(&peer);
    peer_say(&peer, "x", 1);
    assert_int_equal(counting.readable, 1);
    publish_much("a", "the end", MUCH);
    peer_say(&peer, "y", 1);
    assert_int_equal(counting.readable, 1); /* it is behind */
    hear_all(&peer);
    assert_int_equal(counting.readable, 2);
    peer_leave(&peer);
}

static void a_partner_is_asked_before_its_stream_catches_up(void **state)
{
    struct peer peer = stream_with_partner("a");
    peer_hear(&peer);
    publish_much("a", "the end", MUCH);
    counting.full = true;
    while (counting.resumed == 0) {
        peer_hear(&peer);
        loop_round(&loop, 0);
    }
    assert_false(stream_of(peer.conn)->live);
    counting.full = false;
    loop_round(&loop, 0);
    assert_true(stream_of(peer.conn)->live);
    peer_leave(&peer);
    assert_int_equal(counting.freed, 1);
}

static void a_partner_ends_its_stream_in_its_own_way(void **state)
{
    struct peer peer = stream_with_partner("a");
    pass(STREAM_MS);
    assert_int_equal(counting.finished, 1);
    assert_int_equal(counting.freed, 1);
    peer_leave(&peer);
    struct peer other = stream_with_partner("a");
    peer_leave(&other);
    assert_int_equal(counting.gone, 1);
    assert_int_equal(counting.freed, 2);
}

static void a_client_that_its_partner_takes_for_dead_is_cut_off(void **state)
{
    struct peer peer = stream_with_partner("a");
    counting.dead = true;
    pass(HEARTBEAT_MS);
    assert_int_equal(conns.count, 0);
    assert_int_equal(counting.freed, 1);
    assert_int_equal(counting.finished, 0);
    peer_leave(&peer);
}

static void a_stream_that_is_set_aside_gets_no_more_news(void **state)
{
    struct peer peer = live_stream("a");
    stream_set_aside(peer.conn);
    publish_word("a", "news");
    assert_false(peer_has_heard(&peer, "news"));
    assert_int_equal(readers.streams_behind, 1);
    peer_leave(&peer);
}

/* ---- memory ---- */

static void open_stream(struct peer *peer)
{
    const struct wanted wanted = want("a", FORMAT_LINES, at_start, STREAM_MS);
    stream_open(&readers, peer->conn, &wanted, "", &counting.partner);
}

static void ask_only(struct peer *peer)
{
    (void)peer_connect_and_ask(peer);
}

static void stream_in_time(struct peer *peer)
{
    *peer = stream_with_partner("a");
}

static void take_a_heartbeat(struct peer *peer)
{
    (void)peer;
    pass(HEARTBEAT_MS);
}

static void stream_and_publish(struct peer *peer)
{
    *peer = stream_with_partner("a");
    peer_hear(peer);
    publish_later("a", "news");
}

/* Whichever allocation fails in `step`, which comes after `before`: the stream goes on, or the
 * request is refused, or its connection ends. In any case nothing is left in the end. */
static void fail_each_allocation(void (*before)(struct peer *peer), void (*step)(struct peer *peer),
                                 unsigned least)
{
    unsigned nth = 0;
    bool failed;
    do {
        struct peer peer;
        counting.freed = 0;
        before(&peer);
        memory_fail(++nth);
        step(&peer);
        wait_for_reads();
        failed = memory_has_failed();
        go_round();
        peer_hear(&peer);
        assert_true(peer.closed || admission.waiting == 1 || peer_has_heard(&peer, "Status: 503"));
        assert_true(failed || admission.waiting == 1);
        peer_leave(&peer);
        assert_int_equal(counting.freed, 1);
        assert_no_readers_left();
    } while (failed);
    assert_in_range(nth, least + 1, 100);
}

static void whatever_allocation_fails_a_stream_goes_on_or_ends(void **state)
{
    fail_each_allocation(ask_only, open_stream, 5);
    publish_word("a", "something");
    fail_each_allocation(ask_only, open_stream, 7);
    fail_each_allocation(stream_and_publish, take_published, 3);
    fail_each_allocation(stream_in_time, take_a_heartbeat, 1);
}

/* ---- a new beginning ---- */

static void when_the_log_begins_anew_every_stream_is_told_and_goes_on(void **state)
{
    struct peer live = live_stream("a"), cut = stream_cut_through("b", "through");
    begin_anew(7);
    assert_true(peer_has_heard(&live, "{\"reset\":true}"));
    hear_all(&cut);
    assert_int_equal(times_heard(&cut, "through"), 1); /* its frame first, whole */
    assert_int_equal(times_heard(&cut, "{\"reset\":true}"), 1);
    publish_word("a", "news");
    assert_true(peer_has_heard(&live, "00112233aabb-8"));
    peer_leave(&live);
    peer_leave(&cut);
}

#define STREAMING(claim) cmocka_unit_test_setup_teardown(claim, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAMING(a_stream_from_now_begins_with_its_cursor_and_is_live),
        STREAMING(a_stream_from_the_start_gets_what_is_there_and_then_the_news),
        STREAMING(a_cursor_of_another_log_is_told_as_a_reset),
        STREAMING(a_stream_that_is_not_to_wait_ends_when_it_has_caught_up),
        STREAMING(one_stream_too_many_is_refused_and_its_partner_freed),
        STREAMING(without_room_for_its_channels_a_stream_is_refused),
        STREAMING(a_live_stream_gets_the_news_of_its_channels),
        STREAMING(when_the_log_begins_anew_every_stream_is_told_and_goes_on),
        STREAMING(a_quiet_stream_gets_a_cursor_now_and_then),
        STREAMING(what_comes_from_a_client_that_only_listens_ends_its_stream),
        STREAMING(a_stream_whose_socket_is_full_is_only_a_cursor_and_a_frame),
        STREAMING(streams_that_are_cut_in_the_same_frame_share_it),
        STREAMING(a_frame_that_is_cut_through_is_not_interrupted_by_a_heartbeat),
        STREAMING(a_stream_catches_up_a_page_at_a_time),
        STREAMING(while_much_is_not_taken_streams_get_their_news_in_their_turn),
        STREAMING(a_stream_ends_with_its_time_less_up_to_a_tenth),
        STREAMING(a_stream_that_lasts_forever_has_no_end),
        STREAMING(a_stream_whose_time_is_over_in_the_middle_of_a_frame_is_cut_off),
        STREAMING(a_client_that_leaves_is_counted_no_more),
        STREAMING(a_drain_ends_all_streams_but_in_the_middle_of_a_frame),
        STREAMING(a_drain_ends_a_stream_that_is_between_two_pages),
        STREAMING(a_partner_hears_what_comes_while_its_stream_is_live),
        STREAMING(a_partner_is_asked_before_its_stream_catches_up),
        STREAMING(a_partner_ends_its_stream_in_its_own_way),
        STREAMING(a_client_that_its_partner_takes_for_dead_is_cut_off),
        STREAMING(a_stream_that_is_set_aside_gets_no_more_news),
        STREAMING(whatever_allocation_fails_a_stream_goes_on_or_ends),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}

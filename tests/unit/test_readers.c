/* Streams and WebSockets on a real log, and what is left of them once they have gone. */
#include "tests/unit/support_readers.h"

#include <string.h>
#include <sys/socket.h>

#include "fcgi/readers/stream.h"
#include "fcgi/readers/talk.h"

static struct peer stream_channel(const char *channel, uint64_t wait_ms)
{
    struct peer peer;
    const struct wanted wanted = want(channel, FORMAT_LINES, from_now, wait_ms);
    stream_open(&readers, peer_connect_and_ask(&peer), &wanted, NULL, NULL);
    return peer;
}

/* ---- streams ---- */

static void a_live_stream_gets_the_news(void **state)
{
    struct peer peer = stream_channel("a", STREAM_MS);
    assert_int_equal(readers.streams[STREAM_LINES], 1);
    assert_int_equal(readers.streams_behind, 0);
    publish_word("b", "not this");
    publish_word("a", "one");
    publish_word("a", "two");
    assert_true(peer_has_heard(&peer, "one") && peer_has_heard(&peer, "two"));
    assert_false(peer_has_heard(&peer, "not this"));
    peer_leave(&peer);
}

static void a_stream_that_is_quiet_gets_heartbeats_until_its_time_is_over(void **state)
{
    struct peer peer = stream_channel("a", STREAM_MS);
    peer_hear(&peer);
    size_t begun = peer.heard.len;
    pass(HEARTBEAT_MS);
    peer_hear(&peer);
    assert_true(peer.heard.len > begun);
    for (uint64_t ms = 0; ms < STREAM_MS; ms += HEARTBEAT_MS)
        pass(HEARTBEAT_MS);
    assert_int_equal(readers.streams[STREAM_LINES], 0);
    assert_true(peer.conn->idle); /* the answer is whole */
    peer_leave(&peer);
}

static void a_stream_whose_socket_is_full_is_only_a_cursor_and_catches_up(void **state)
{
    static char data[60000];
    struct peer slow = stream_channel("a", STREAM_MS), quick = stream_channel("a", STREAM_MS);
    memset(data, 'x', sizeof data);
    for (int i = 0; i < 100 && readers.streams_behind == 0; i++) {
        publish("a", data, sizeof data);
        peer_hear(&quick);
    }
    assert_int_equal(readers.streams_behind, 1);
    size_t unsent = conns.unsent.bytes;
    for (int i = 0; i < 10; i++) {
        publish("a", data, sizeof data);
        peer_hear(&quick);
    }
    publish_word("a", "the last one");
    assert_int_equal(conns.unsent.bytes, unsent); /* nothing is queued for it */
    assert_true(peer_has_heard(&quick, "the last one"));
    for (int i = 0; i < 1000 && readers.streams_behind > 0; i++) {
        peer_hear(&slow);
        loop_round(&loop, 0);
    }
    assert_true(peer_has_heard(&slow, "the last one"));
    assert_int_equal(readers.streams_behind, 0);
    assert_int_equal(conns.unsent.bytes, 0);
    peer_leave(&slow);
    peer_leave(&quick);
}

static void what_the_client_of_a_plain_stream_says_ends_it(void **state)
{
    struct peer peer = stream_channel("a", STREAM_MS);
    assert_int_equal(send(peer.fd, "x", 1, 0), 1);
    loop_round(&loop, 0);
    assert_int_equal(conns.count, 0);
    peer_leave(&peer);
}

static void a_drain_ends_all_streams(void **state)
{
    struct peer peer = stream_channel("a", STREAM_MS);
    groups_release(&readers.groups);
    assert_true(peer.conn->idle);
    assert_int_equal(readers.streams[STREAM_LINES], 0);
    peer_leave(&peer);
}

/* ---- WebSockets ---- */

static struct peer websocket_on(const char *channel)
{
    struct peer peer;
    struct conn *conn = peer_connect_and_ask(&peer);
    struct wanted wanted = want(channel, FORMAT_FRAMES, from_now, STREAM_FOREVER);
    const struct talk_rules rules = {
        .publisher = &publisher, .may_create = true, .frames_per_s = 100};
    static const struct request request;
    const char *complaint;
    conn->websocket = true;
    conn->request_id = wanted.shape.request_id = 0;
    struct partner *talk = talk_new(&rules, &request, &wanted, &complaint);
    assert_non_null(talk);
    stream_open(&readers, conn, &wanted, "", talk);
    return peer;
}

static void say(struct peer *peer, const char *text)
{
    char frame[128] = {(char)0x81, (char)(0x80 | strlen(text))}; /* and a mask of zeros */
    memcpy(frame + 6, text, strlen(text));
    assert_int_equal(send(peer->fd, frame, 6 + strlen(text), 0), 6 + strlen(text));
}

static void a_text_is_published_and_answered_with_its_cursor(void **state)
{
    struct peer speaker = websocket_on("a"), listener = stream_channel("a", STREAM_MS);
    uint64_t head = log_head(store->log);
    say(&speaker, "hello");
    say(&speaker, "and more"); /* which is read only once the first has been answered */
    loop_round(&loop, 0);
    assert_false(peer_has_heard(&speaker, "created"));
    drain_past(head);
    assert_true(peer_has_heard(&speaker, "\"created\":") && peer_has_heard(&speaker, "hello"));
    assert_true(peer_has_heard(&listener, "hello"));
    drain_past(head + 1);
    assert_true(peer_has_heard(&listener, "and more"));
    peer_leave(&speaker);
    peer_leave(&listener);
}

static void what_a_client_said_right_before_it_left_is_published(void **state)
{
    struct peer speaker = websocket_on("a"), listener = stream_channel("a", STREAM_MS);
    uint64_t head = log_head(store->log);
    say(&speaker, "farewell");
    peer_leave(&speaker);
    assert_int_equal(readers.streams[STREAM_WEBSOCKET], 0);
    drain_past(head);
    assert_true(peer_has_heard(&listener, "farewell"));
    peer_leave(&listener);
}

static void a_websocket_of_which_nothing_is_heard_is_taken_for_dead(void **state)
{
    struct peer peer = websocket_on("a");
    for (int heartbeats = 0; heartbeats < 2; heartbeats++) {
        pass(HEARTBEAT_MS);
        assert_int_equal(readers.streams[STREAM_WEBSOCKET], 1);
    }
    pass(HEARTBEAT_MS);
    assert_int_equal(conns.count, 0);
    peer_leave(&peer);
}

static void a_drain_waits_for_the_text_that_is_under_way(void **state)
{
    struct peer peer = websocket_on("a");
    uint64_t head = log_head(store->log);
    say(&peer, "the last");
    loop_round(&loop, 0);
    groups_release(&readers.groups);
    assert_int_equal(readers.streams[STREAM_WEBSOCKET], 1);
    drain_past(head);
    assert_true(peer_has_heard(&peer, "\"created\":"));
    assert_true(peer_has_heard(&peer, "\x03\xe9")); /* 1001 */
    assert_int_equal(readers.streams[STREAM_WEBSOCKET], 0);
    peer_leave(&peer);
}

#define WITH_READERS(claim) cmocka_unit_test_setup_teardown(claim, readers_setup, readers_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_READERS(a_live_stream_gets_the_news),
        WITH_READERS(a_stream_that_is_quiet_gets_heartbeats_until_its_time_is_over),
        WITH_READERS(a_stream_whose_socket_is_full_is_only_a_cursor_and_catches_up),
        WITH_READERS(what_the_client_of_a_plain_stream_says_ends_it),
        WITH_READERS(a_drain_ends_all_streams),
        WITH_READERS(a_text_is_published_and_answered_with_its_cursor),
        WITH_READERS(what_a_client_said_right_before_it_left_is_published),
        WITH_READERS(a_websocket_of_which_nothing_is_heard_is_taken_for_dead),
        WITH_READERS(a_drain_waits_for_the_text_that_is_under_way),
    };
    return cmocka_run_group_tests_name("readers", tests, NULL, NULL);
}

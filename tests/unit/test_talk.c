/* What the clients of WebSockets say: texts are published and answered, or sent back, or refused;
 * and how both ends part. They are on streams of a real log. */
#include "tests/unit/support_readers.h"

#include <string.h>
#include <sys/socket.h>

#include "fcgi/io/diag.h"
#include "fcgi/readers/stream.h"
#include "fcgi/readers/talk.h"
#include "fcgi/wire/websocket.h"
#include "tests/unit/support_memory.h"

enum { MUCH = 900 * 1000 /* bytes of a message that no socket takes at once */ };

static struct talk_rules rules;

static int set_up(void **state)
{
    rules = (struct talk_rules){.publisher = &publisher, .may_create = true, .frames_per_s = 100};
    diag_level_set(DIAG_ERROR); /* what is told here would be printed */
    return readers_setup(state);
}

static int tear_down(void **state)
{
    diag_level_set(DIAG_INFO);
    return readers_teardown(state);
}

/* ---- opening ---- */

/* What a WebSocket on channel a is asked for with that query. */
static struct partner *talk_by(const char *query, const char **complaint)
{
    static struct request request;
    static char copy[100];
    const struct wanted wanted = want("a", FORMAT_FRAMES, from_now, STREAM_FOREVER);
    size_t len = strlen(query);
    memcpy(copy, query, len + 1);
    form_parse(&request.query, copy, len);
    return talk_new(&rules, &request, &wanted, complaint);
}

static void open_websocket(struct conn *conn, const char *query)
{
    const char *complaint;
    struct wanted wanted = want("a", FORMAT_FRAMES, from_now, STREAM_FOREVER);
    wanted.shape.request_id = conn->request_id = 0;
    conn->websocket = true;
    conn->keep = false;
    struct partner *talk = talk_by(query, &complaint);
    if (talk)
        stream_open(&readers, conn, &wanted, "", talk);
    else
        conn_end(conn);
}

static struct peer websocket(const char *query)
{
    struct peer peer;
    open_websocket(peer_connect_and_ask(&peer), query);
    assert_true(stream_of(peer.conn)->live);
    peer_hear(&peer);
    return peer;
}

static struct peer listener(void)
{
    struct peer peer;
    const struct wanted wanted = want("a", FORMAT_LINES, from_now, STREAM_FOREVER);
    stream_open(&readers, peer_connect_and_ask(&peer), &wanted, NULL, NULL);
    return peer;
}

/* ---- speaking ---- */

/* Appends a short frame of a client's (RFC 6455, 5.2), whose mask is zeros. */
static void put_client_frame(struct buf *out, uint8_t opcode, const char *bytes, size_t len)
{
    const uint8_t head[6] = {0x80 | opcode, (uint8_t)(0x80 | len)};
    assert_in_range(len, 0, 125);
    buf_add(out, head, sizeof head);
    buf_add(out, bytes, len);
}

static void say_frame(struct peer *peer, uint8_t opcode, const char *bytes, size_t len)
{
    struct buf frame = {0};
    put_client_frame(&frame, opcode, bytes, len);
    peer_say(peer, frame.bytes, frame.len);
    buf_free(&frame);
}

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9 };

static void say(struct peer *peer, const char *text)
{
    say_frame(peer, TEXT, text, strlen(text));
}

/* Says three texts at once. */
static void say_three(struct peer *peer)
{
    struct buf frames = {0};
    put_client_frame(&frames, TEXT, "one", 3);
    put_client_frame(&frames, TEXT, "two", 3);
    put_client_frame(&frames, TEXT, "three", 5);
    peer_say(peer, frames.bytes, frames.len);
    buf_free(&frames);
}

/* Hears until nothing more comes. */
static void hear_all(struct peer *peer)
{
    while (peer_hear(peer) > 0)
        go_round();
}

/* A farewell with that code is the last that it has heard, or hears now. */
static bool has_heard_farewell(struct peer *peer, uint16_t code)
{
    const char bytes[] = {(char)0x88, 0, (char)(code >> 8), (char)(code & 0xff)};
    hear_all(peer);
    for (size_t at = 0; at + sizeof bytes <= peer->heard.len; at++) {
        const char *frame = peer->heard.bytes + at;
        if (frame[0] == bytes[0] && memcmp(frame + 2, bytes + 2, 2) == 0 &&
            at + 2 + (uint8_t)frame[1] == peer->heard.len)
            return true;
    }
    return false;
}

/* ---- texts ---- */

static void a_text_is_published_and_answered_with_its_cursor(void **state)
{
    struct peer speaker = websocket(""), other = listener();
    uint64_t head = log_head(store->log);
    say(&speaker, "hello");
    assert_false(peer_has_heard(&speaker, "created")); /* not before it is durable */
    drain_past(head);
    assert_true(peer_has_heard(&speaker, "{\"created\":\"") && peer_has_heard(&speaker, "hello"));
    assert_true(peer_has_heard(&other, "\"data\":\"hello\""));
    peer_leave(&speaker);
    peer_leave(&other);
}

static void texts_are_worked_on_one_at_a_time(void **state)
{
    struct peer speaker = websocket(""), other = listener();
    uint64_t head = log_head(store->log);
    say_three(&speaker);
    say(&speaker, "four");
    assert_int_equal(speaker.conn->watch, WATCH_CLOSE); /* nothing more is read */
    for (uint64_t done = 0; done < 4; done++) {
        drain_past(head + done);
        assert_int_equal(log_head(store->log), head + done + 1);
        go_round();
    }
    assert_int_equal(speaker.conn->watch, WATCH_INPUT);
    assert_true(peer_has_heard(&other, "one") && peer_has_heard(&other, "two") &&
                peer_has_heard(&other, "three") && peer_has_heard(&other, "four"));
    peer_leave(&speaker);
    peer_leave(&other);
}

static void a_text_goes_to_the_channel_that_was_named(void **state)
{
    struct peer speaker = websocket("to=b"), other = listener();
    uint64_t head = log_head(store->log);
    say(&speaker, "hello");
    drain_past(head);
    assert_true(peer_has_heard(&speaker, "created"));
    assert_false(peer_has_heard(&other, "hello"));
    peer_leave(&speaker);
    peer_leave(&other);
}

static void with_as_echo_a_text_is_sent_back(void **state)
{
    struct peer speaker = websocket("as=echo");
    say_three(&speaker);
    assert_true(peer_has_heard(&speaker, "You say:one") && peer_has_heard(&speaker, "You say:two"));
    assert_true(peer_has_heard(&speaker, "You say:three"));
    assert_int_equal(log_head(store->log), 0);
    peer_leave(&speaker);
}

/* ---- refusals ---- */

static void a_channel_that_cannot_be_is_a_complaint(void **state)
{
    const char *complaint;
    assert_null(talk_by("to=a/b", &complaint));
    assert_string_equal(complaint, CHANNEL_NAME_RULE);
}

static void a_text_is_refused_where_nobody_may_create(void **state)
{
    rules.may_create = false;
    struct peer speaker = websocket("");
    say(&speaker, "hello");
    assert_true(peer_has_heard(&speaker, "{\"error\":\"this server does not publish"));
    assert_true(stream_of(speaker.conn)->live); /* and the stream goes on */
    peer_leave(&speaker);
    assert_int_equal(log_head(store->log), 0);
}

static void a_text_that_is_no_message_is_refused(void **state)
{
    struct peer speaker = websocket("");
    say_frame(&speaker, TEXT, "a\0b", 3);
    assert_true(peer_has_heard(&speaker, "{\"error\":\"the message contains a NUL byte\"}"));
    peer_leave(&speaker);
}

/* The log's queue takes one message, and another only when that is committed and drained. */
static void a_text_for_which_the_queue_has_no_room_is_refused(void **state)
{
    void *small;
    store_setup(&small);
    ((struct store *)small)->options.queue_bytes = 1;
    store_open(small);
    publisher.log = ((struct store *)small)->log;
    struct peer one = websocket(""), two = websocket("");
    say(&one, "hello");
    say(&two, "hello");
    assert_true(peer_has_heard(&two, "{\"error\":\""));
    assert_true(peer_has_heard(&two, log_status_text(LOG_QUEUE)));
    assert_int_equal(two.conn->watch, WATCH_INPUT); /* it may try again */
    peer_leave(&one);
    peer_leave(&two);
    store_teardown(&small);
}

static void a_ping_is_answered_at_once(void **state)
{
    struct peer speaker = websocket("");
    say_frame(&speaker, PING, "are you there?", 14);
    assert_true(peer_has_heard(&speaker, "\x8a\x0e"
                                         "are you there?"));
    peer_leave(&speaker);
}

static void a_fault_ends_the_stream_once_the_texts_before_it_are_answered(void **state)
{
    struct peer speaker = websocket("");
    struct buf frames = {0};
    uint64_t head = log_head(store->log);
    put_client_frame(&frames, TEXT, "first", 5);
    put_client_frame(&frames, BINARY, "x", 1);
    peer_say(&speaker, frames.bytes, frames.len);
    buf_free(&frames);
    assert_non_null(stream_of(speaker.conn));
    drain_past(head);
    assert_true(peer_has_heard(&speaker, "created"));
    assert_true(has_heard_farewell(&speaker, WEBSOCKET_BINARY));
    assert_false(speaker.closed); /* it may still be sending */
    assert_int_equal(admission.waiting, 0);
    peer_leave(&speaker);
    assert_int_equal(conns.count, 0);
}

/* ---- slow clients ---- */

/* The answer waits until the frame is out that was cut through before it. */
static void an_answer_that_meets_a_full_socket_is_given_later(void **state)
{
    struct peer speaker = websocket("");
    say(&speaker, "hello");
    publish_much("a", "the end", MUCH);
    while (log_head(store->log) < 2)
        drain_past(log_head(store->log));
    assert_false(stream_of(speaker.conn)->live);
    hear_all(&speaker);
    assert_true(peer_has_heard(&speaker, "xthe end\"") && peer_has_heard(&speaker, "created"));
    assert_true(stream_of(speaker.conn)->live);
    peer_leave(&speaker);
}

static void what_is_said_while_the_stream_is_behind_is_read_later(void **state)
{
    struct peer speaker = websocket("as=echo");
    publish_much("a", "the end", MUCH);
    say(&speaker, "hello");
    assert_int_equal(speaker.conn->watch, WATCH_LATER);
    hear_all(&speaker);
    assert_true(peer_has_heard(&speaker, "xthe end\"") &&
                peer_has_heard(&speaker, "You say:hello"));
    peer_leave(&speaker);
}

/* A WebSocket whose opening and first words come together. */
static void what_came_with_the_handshake_is_heard(void **state)
{
    struct peer speaker = websocket("as=echo");
    struct buf frame = {0};
    put_client_frame(&frame, TEXT, "hello", 5);
    talk_hear(speaker.conn, (const uint8_t *)frame.bytes, frame.len);
    buf_free(&frame);
    assert_true(peer_has_heard(&speaker, "You say:hello"));
    peer_leave(&speaker);
}

/* ---- the end ---- */

static void a_close_is_answered_with_the_same_code(void **state)
{
    struct peer speaker = websocket("");
    say_frame(&speaker, CLOSE, "\x0f\xa0", 2);
    assert_true(has_heard_farewell(&speaker, 4000));
    assert_true(speaker.closed);
    assert_int_equal(admission.waiting, 0);
    peer_leave(&speaker);
}

static void a_client_of_which_nothing_is_heard_is_taken_for_dead(void **state)
{
    struct peer speaker = websocket("as=echo");
    for (int i = 0; i < 3; i++) {
        pass(HEARTBEAT_MS);
        pass(HEARTBEAT_MS);
        assert_non_null(stream_of(speaker.conn));
        say(&speaker, "here I am");
    }
    pass(HEARTBEAT_MS);
    pass(HEARTBEAT_MS);
    assert_non_null(stream_of(speaker.conn));
    pass(HEARTBEAT_MS);
    hear_all(&speaker);
    assert_true(speaker.closed);
    assert_int_equal(conns.count, 0);
    peer_leave(&speaker);
}

static void while_its_text_is_under_way_no_client_is_taken_for_dead(void **state)
{
    struct peer speaker = websocket("");
    uint64_t head = log_head(store->log);
    say(&speaker, "hello");
    for (int i = 0; i < 5; i++)
        pass(HEARTBEAT_MS);
    drain_past(head);
    assert_true(peer_has_heard(&speaker, "created"));
    peer_leave(&speaker);
}

static void what_a_client_said_right_before_it_left_is_published(void **state)
{
    struct peer speaker = websocket(""), other = listener();
    struct buf frames = {0};
    uint64_t head = log_head(store->log);
    put_client_frame(&frames, TEXT, "farewell", 8);
    put_client_frame(&frames, TEXT, "and more", 8);
    put_client_frame(&frames, TEXT, "in part", 7);
    assert_int_equal(send(speaker.fd, frames.bytes, frames.len - 2, 0), frames.len - 2);
    buf_free(&frames);
    peer_leave(&speaker);
    assert_int_equal(readers.streams[STREAM_WEBSOCKET], 0);
    while (log_head(store->log) < head + 2)
        drain_past(log_head(store->log));
    assert_true(peer_has_heard(&other, "farewell") && peer_has_heard(&other, "and more"));
    assert_false(peer_has_heard(&other, "in part"));
    peer_leave(&other);
}

static void what_waited_for_its_turn_when_the_client_left_is_published(void **state)
{
    struct peer speaker = websocket(""), other = listener();
    uint64_t head = log_head(store->log);
    say_three(&speaker); /* one is under way */
    peer_leave(&speaker);
    while (log_head(store->log) < head + 3)
        drain_past(log_head(store->log));
    assert_true(peer_has_heard(&other, "one") && peer_has_heard(&other, "two") &&
                peer_has_heard(&other, "three"));
    peer_leave(&other);
}

static void what_a_client_leaves_to_be_echoed_is_not_published(void **state)
{
    struct peer speaker = websocket("as=echo");
    struct buf frame = {0};
    put_client_frame(&frame, TEXT, "farewell", 8);
    assert_int_equal(send(speaker.fd, frame.bytes, frame.len, 0), frame.len);
    buf_free(&frame);
    peer_leave(&speaker);
    publish_word("a", "the only one");
    assert_int_equal(log_head(store->log), 1);
}

static void a_drain_says_farewell_at_once_when_nothing_is_under_way(void **state)
{
    struct peer speaker = websocket("");
    groups_release(&readers.groups);
    assert_true(has_heard_farewell(&speaker, WEBSOCKET_GOING_AWAY));
    assert_int_equal(admission.waiting, 0);
    peer_leave(&speaker);
}

static void a_drain_waits_for_the_text_that_is_under_way(void **state)
{
    struct peer speaker = websocket("");
    uint64_t head = log_head(store->log);
    say(&speaker, "the last");
    groups_release(&readers.groups);
    assert_int_equal(readers.streams[STREAM_WEBSOCKET], 1);
    assert_false(has_heard_farewell(&speaker, WEBSOCKET_GOING_AWAY));
    drain_past(head);
    assert_true(peer_has_heard(&speaker, "created"));
    assert_true(has_heard_farewell(&speaker, WEBSOCKET_GOING_AWAY));
    assert_int_equal(readers.streams[STREAM_WEBSOCKET], 0);
    peer_leave(&speaker);
}

/* ---- memory ---- */

static uint64_t head;

static void ask_only(struct peer *peer)
{
    (void)peer_connect_and_ask(peer);
}

static void open_speaker(struct peer *peer)
{
    open_websocket(peer->conn, "");
}

static void open_and_prepare(struct peer *peer)
{
    *peer = websocket("");
    buf_reset(&conns.scratch);
}

/* Its own allocations would be counted, so the frame is static. */
static void speak(struct peer *peer)
{
    static const char frame[] = "\x81\x85\0\0\0\0hello";
    head = log_head(store->log);
    peer_say(peer, frame, sizeof frame - 1);
}

static void open_and_speak(struct peer *peer)
{
    *peer = websocket("");
    speak(peer);
}

static void take_news(struct peer *peer)
{
    (void)peer;
    drain_past(head);
}

/* Whichever allocation fails in `step`, which comes after `before`: the stream goes on, or its
 * connection ends. In any case nothing is left in the end. */
static void fail_each_allocation(void (*before)(struct peer *peer), void (*step)(struct peer *peer))
{
    unsigned nth = 0;
    bool failed;
    do {
        struct peer peer;
        before(&peer);
        memory_fail(++nth);
        step(&peer);
        wait_for_reads();
        failed = memory_has_failed();
        hear_all(&peer);
        assert_true(peer.closed || admission.waiting == 1 || peer.heard.len > 0);
        assert_true(failed || admission.waiting == 1);
        peer_leave(&peer);
        pass(TIMEOUT_MS); /* if it lingered */
        assert_no_readers_left();
    } while (failed);
    assert_in_range(nth, 4, 100);
}

static void whatever_allocation_fails_a_websocket_goes_on_or_ends(void **state)
{
    fail_each_allocation(ask_only, open_speaker);
    fail_each_allocation(open_and_prepare, speak);
    publish_word("a", "what was on its way");
    fail_each_allocation(open_and_speak, take_news);
}

#define TALKING(claim) cmocka_unit_test_setup_teardown(claim, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TALKING(a_text_is_published_and_answered_with_its_cursor),
        TALKING(texts_are_worked_on_one_at_a_time),
        TALKING(a_text_goes_to_the_channel_that_was_named),
        TALKING(with_as_echo_a_text_is_sent_back),
        TALKING(a_channel_that_cannot_be_is_a_complaint),
        TALKING(a_text_is_refused_where_nobody_may_create),
        TALKING(a_text_that_is_no_message_is_refused),
        TALKING(a_text_for_which_the_queue_has_no_room_is_refused),
        TALKING(a_ping_is_answered_at_once),
        TALKING(a_fault_ends_the_stream_once_the_texts_before_it_are_answered),
        TALKING(an_answer_that_meets_a_full_socket_is_given_later),
        TALKING(what_is_said_while_the_stream_is_behind_is_read_later),
        TALKING(what_came_with_the_handshake_is_heard),
        TALKING(a_close_is_answered_with_the_same_code),
        TALKING(a_client_of_which_nothing_is_heard_is_taken_for_dead),
        TALKING(while_its_text_is_under_way_no_client_is_taken_for_dead),
        TALKING(what_a_client_said_right_before_it_left_is_published),
        TALKING(what_waited_for_its_turn_when_the_client_left_is_published),
        TALKING(what_a_client_leaves_to_be_echoed_is_not_published),
        TALKING(a_drain_says_farewell_at_once_when_nothing_is_under_way),
        TALKING(a_drain_waits_for_the_text_that_is_under_way),
        TALKING(whatever_allocation_fails_a_websocket_goes_on_or_ends),
    };
    return cmocka_run_group_tests_name("talk", tests, NULL, NULL);
}

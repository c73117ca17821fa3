/* Readers: long polls and streams on a real log, and what is left of them once they have gone.
 * Their connections are socketpairs, and the time of the deadlines is the tests' own. */
#include "tests/unit/support_store.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fcgi/readers/hold.h"
#include "fcgi/readers/publish.h"
#include "fcgi/readers/readers.h"
#include "fcgi/readers/stream.h"
#include "fcgi/readers/talk.h"

enum { HOLDS_MAX = 3, HOLD_MS = 5000, HEARTBEAT_MS = 2000, STREAM_MS = 20000 };

static struct store *store;
static struct loop loop;
static struct conns conns;
static struct admission admission;
static struct readers readers;
static struct publisher publisher;
static uint64_t now_ms;

static uint64_t clock_of_tests(void)
{
    return now_ms;
}

static void settle_nothing(struct loop *of)
{
    (void)of;
}

static void ignore_room(struct conns *of)
{
    (void)of;
}

static const struct wait first_wait = {.name = "first"};

static int set_up(void **state)
{
    store_setup(state);
    store = *state;
    store_open(store);
    now_ms = 1000;
    timer_clock_set(clock_of_tests);
    assert_int_equal(loop_init(&loop), 0);
    loop.settle = settle_nothing;
    memset(&conns, 0, sizeof conns);
    conns_init(&conns, &loop, 16 << 20);
    conns.count_max = 100;
    conns.first = &first_wait;
    conns.request_timeout_ms = HOLD_MS;
    conns.room_made = ignore_room;
    admission = (struct admission){.waiting_max = HOLDS_MAX, .bytes_max = 1 << 20};
    memset(&readers, 0, sizeof readers);
    readers_init(&readers, store->log, &conns, &admission);
    readers.heartbeat_ms = HEARTBEAT_MS;
    readers.stream_ms = STREAM_MS;
    publisher = (struct publisher){.log = store->log, .max_message = 1 << 20};
    return 0;
}

/* Whatever a test did: in the end nothing is left. */
static int tear_down(void **state)
{
    conns_end_all(&conns);
    readers_free(&readers);
    assert_int_equal(conns.count, 0);
    assert_int_equal(conns.unsent.bytes, 0);
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(admission.bytes, 0);
    assert_int_equal(readers.streams_behind, 0);
    for (int kind = 0; kind < STREAM_KINDS; kind++)
        assert_int_equal(readers.streams[kind], 0);
    assert_int_equal(loop.timers.count, 0);
    buf_free(&conns.scratch);
    loop_free(&loop);
    return store_teardown(state);
}

/* ---- clients ---- */

struct client {
    int fd;
    struct conn *conn;
    struct buf heard;
};

static struct client connect_client(void)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    struct client client = {.fd = fds[0], .conn = conn_new(&conns, fds[1], false)};
    assert_non_null(client.conn);
    client.conn->request_id = 1;
    client.conn->keep = true;
    conn_watch(client.conn, WATCH_INPUT);
    return client;
}

static void leave(struct client *client)
{
    close(client->fd);
    buf_free(&client->heard);
    while (loop_round(&loop, 0) > 0)
        ;
}

/* Reads all that is there. */
static void hear(struct client *client)
{
    static char bytes[65536];
    ssize_t got;
    while ((got = recv(client->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        buf_add(&client->heard, bytes, (size_t)got);
}

static bool has_heard(struct client *client, const char *text)
{
    hear(client);
    return client->heard.len > 0 &&
           memmem(client->heard.bytes, client->heard.len, text, strlen(text)) != NULL;
}

static struct wanted want(const char *channel, enum format format, struct cursor cursor,
                          uint64_t wait_ms)
{
    return (struct wanted){.channels = {channel},
                           .count = 1,
                           .cursor = cursor,
                           .shape = {.format = format,
                                     .limit = format_streams(format) ? 0 : 100,
                                     .request_id = format_streams(format) ? 1 : 0,
                                     .callback = ""},
                           .wait_ms = wait_ms};
}

static const struct cursor at_start = {.kind = CURSOR_START}, from_now = {.kind = CURSOR_NOW};

static struct client poll_channel(const char *channel, struct cursor cursor)
{
    struct client client = connect_client();
    const struct wanted wanted = want(channel, FORMAT_JSON, cursor, HOLD_MS);
    hold_poll(&readers, client.conn, &wanted);
    return client;
}

static struct client stream_channel(const char *channel, uint64_t wait_ms)
{
    struct client client = connect_client();
    const struct wanted wanted = want(channel, FORMAT_LINES, from_now, wait_ms);
    stream_open(&readers, client.conn, &wanted, NULL, NULL);
    return client;
}

/* ---- news ---- */

/* Hands over the news until the head is no longer there. */
static void drain_past(uint64_t head)
{
    struct log_news news;
    while (log_head(store->log) == head) {
        store_wait(store);
        log_drain(store->log, &news);
        publish_done(&publisher, &news);
        readers_news(&readers, &news);
        publish_delivered(&news);
        log_news_free(&news);
    }
}

static void publish(const char *channel, const char *data, size_t len)
{
    struct append *append;
    uint64_t head = log_head(store->log);
    assert_int_equal(
        publish_text(&publisher, channel, (struct text){data, len}, NULL, NULL, &append), LOG_OK);
    drain_past(head);
}

static void publish_word(const char *channel, const char *word)
{
    publish(channel, word, strlen(word));
}

static void pass(uint64_t ms)
{
    now_ms += ms + 2 * TIMER_TICK_MS;
    loop_round(&loop, 0);
}

/* ---- long polls ---- */

static void a_poll_gets_what_is_newer_than_its_cursor_at_once(void **state)
{
    publish_word("a", "first");
    struct client client = poll_channel("a", at_start);
    assert_true(has_heard(&client, "\"data\":\"first\""));
    assert_int_equal(admission.waiting, 0);
    assert_true(client.conn->idle);
    leave(&client);
}

static void a_poll_at_the_head_is_held_until_there_is_news(void **state)
{
    struct client one = poll_channel("a", from_now), two = poll_channel("a", from_now);
    assert_int_equal(admission.waiting, 2);
    publish_word("b", "not this");
    assert_int_equal(admission.waiting, 2);
    publish_word("a", "but this");
    assert_int_equal(admission.waiting, 0);
    assert_true(has_heard(&one, "but this") && has_heard(&two, "but this"));
    assert_false(has_heard(&one, "not this"));
    assert_true(one.heard.len == two.heard.len &&
                memcmp(one.heard.bytes, two.heard.bytes, one.heard.len) == 0);
    leave(&one);
    leave(&two);
}

static void a_hold_ends_with_its_time_and_says_so(void **state)
{
    struct client client = poll_channel("a", from_now);
    pass(HOLD_MS);
    assert_true(has_heard(&client, "\"messages\":[]"));
    assert_int_equal(admission.waiting, 0);
    leave(&client);
}

static void a_held_client_that_goes_away_is_counted_no_more(void **state)
{
    struct client client = poll_channel("a", from_now);
    leave(&client);
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(conns.count, 0);
    assert_int_equal(groups_channels(&readers.groups), 1);
    groups_sweep(&readers.groups, 0);
    assert_int_equal(groups_channels(&readers.groups), 0);
}

static void too_many_holds_are_refused(void **state)
{
    struct client clients[HOLDS_MAX + 1];
    admission.told = true; /* or it would be said */
    for (int i = 0; i <= HOLDS_MAX; i++)
        clients[i] = poll_channel("a", from_now);
    assert_int_equal(admission.waiting, HOLDS_MAX);
    assert_int_equal(admission.refused, 1);
    assert_true(has_heard(&clients[HOLDS_MAX], "Status: 503"));
    for (int i = 0; i <= HOLDS_MAX; i++)
        leave(&clients[i]);
}

static void a_drain_answers_all_holds(void **state)
{
    struct client client = poll_channel("a", from_now);
    groups_release(&readers.groups);
    assert_true(has_heard(&client, "\"messages\":[]"));
    assert_int_equal(admission.waiting, 0);
    leave(&client);
}

/* Makes this round of the loop one that has given as much as it may. */
static void exhaust_round(void)
{
    readers.polls_round = loop.rounds;
    readers.polls_round_bytes = 1 << 20;
}

static void a_poll_is_deferred_when_the_round_has_given_much(void **state)
{
    publish_word("a", "first");
    exhaust_round();
    struct client client = poll_channel("a", at_start);
    assert_false(has_heard(&client, "first"));
    assert_int_equal(admission.waiting, 0); /* it is not held */
    loop_round(&loop, 0);
    assert_true(has_heard(&client, "first"));
    leave(&client);
}

static void a_deferred_poll_for_which_there_is_nothing_is_held(void **state)
{
    publish_word("b", "another channel's");
    exhaust_round();
    struct client client = poll_channel("a", at_start);
    loop_round(&loop, 0);
    assert_int_equal(admission.waiting, 1);
    publish_word("a", "news");
    assert_true(has_heard(&client, "news"));
    leave(&client);
}

static void those_still_deferred_in_the_end_are_refused(void **state)
{
    publish_word("a", "first");
    exhaust_round();
    struct client client = poll_channel("a", at_start);
    hold_refuse_deferred(&readers);
    assert_true(has_heard(&client, "Status: 503"));
    leave(&client);
}

/* ---- streams ---- */

static void a_live_stream_gets_the_news(void **state)
{
    struct client client = stream_channel("a", STREAM_MS);
    assert_int_equal(readers.streams[STREAM_LINES], 1);
    assert_int_equal(readers.streams_behind, 0);
    publish_word("b", "not this");
    publish_word("a", "one");
    publish_word("a", "two");
    assert_true(has_heard(&client, "one") && has_heard(&client, "two"));
    assert_false(has_heard(&client, "not this"));
    leave(&client);
}

static void a_stream_that_is_quiet_gets_heartbeats_until_its_time_is_over(void **state)
{
    struct client client = stream_channel("a", STREAM_MS);
    hear(&client);
    size_t begun = client.heard.len;
    pass(HEARTBEAT_MS);
    hear(&client);
    assert_true(client.heard.len > begun);
    for (uint64_t ms = 0; ms < STREAM_MS; ms += HEARTBEAT_MS)
        pass(HEARTBEAT_MS);
    assert_int_equal(readers.streams[STREAM_LINES], 0);
    assert_true(client.conn->idle); /* the answer is whole */
    leave(&client);
}

static void a_stream_whose_socket_is_full_is_only_a_cursor_and_catches_up(void **state)
{
    static char data[60000];
    struct client slow = stream_channel("a", STREAM_MS), quick = stream_channel("a", STREAM_MS);
    memset(data, 'x', sizeof data);
    for (int i = 0; i < 100 && readers.streams_behind == 0; i++) {
        publish("a", data, sizeof data);
        hear(&quick);
    }
    assert_int_equal(readers.streams_behind, 1);
    size_t unsent = conns.unsent.bytes;
    for (int i = 0; i < 10; i++) {
        publish("a", data, sizeof data);
        hear(&quick);
    }
    publish_word("a", "the last one");
    assert_int_equal(conns.unsent.bytes, unsent); /* nothing is queued for it */
    assert_true(has_heard(&quick, "the last one"));
    for (int i = 0; i < 1000 && readers.streams_behind > 0; i++) {
        hear(&slow);
        loop_round(&loop, 0);
    }
    assert_true(has_heard(&slow, "the last one"));
    assert_int_equal(readers.streams_behind, 0);
    assert_int_equal(conns.unsent.bytes, 0);
    leave(&slow);
    leave(&quick);
}

static void what_the_client_of_a_plain_stream_says_ends_it(void **state)
{
    struct client client = stream_channel("a", STREAM_MS);
    assert_int_equal(send(client.fd, "x", 1, 0), 1);
    loop_round(&loop, 0);
    assert_int_equal(conns.count, 0);
    leave(&client);
}

static void a_drain_ends_all_streams(void **state)
{
    struct client client = stream_channel("a", STREAM_MS);
    groups_release(&readers.groups);
    assert_true(client.conn->idle);
    assert_int_equal(readers.streams[STREAM_LINES], 0);
    leave(&client);
}

/* ---- WebSockets ---- */

static struct client websocket_on(const char *channel)
{
    struct client client = connect_client();
    struct wanted wanted = want(channel, FORMAT_FRAMES, from_now, STREAM_FOREVER);
    const struct talk_rules rules = {
        .publisher = &publisher, .may_create = true, .frames_per_s = 100};
    static const struct request request;
    const char *complaint;
    client.conn->websocket = true;
    client.conn->request_id = wanted.shape.request_id = 0;
    struct partner *talk = talk_new(&rules, &request, &wanted, &complaint);
    assert_non_null(talk);
    stream_open(&readers, client.conn, &wanted, "", talk);
    return client;
}

static void say(struct client *client, const char *text)
{
    char frame[128] = {(char)0x81, (char)(0x80 | strlen(text))}; /* and a mask of zeros */
    memcpy(frame + 6, text, strlen(text));
    assert_int_equal(send(client->fd, frame, 6 + strlen(text), 0), 6 + strlen(text));
}

static void a_text_is_published_and_answered_with_its_cursor(void **state)
{
    struct client speaker = websocket_on("a"), listener = stream_channel("a", STREAM_MS);
    uint64_t head = log_head(store->log);
    say(&speaker, "hello");
    say(&speaker, "and more"); /* which is read only once the first has been answered */
    loop_round(&loop, 0);
    assert_false(has_heard(&speaker, "created"));
    drain_past(head);
    assert_true(has_heard(&speaker, "\"created\":") && has_heard(&speaker, "hello"));
    assert_true(has_heard(&listener, "hello"));
    drain_past(head + 1);
    assert_true(has_heard(&listener, "and more"));
    leave(&speaker);
    leave(&listener);
}

static void what_a_client_said_right_before_it_left_is_published(void **state)
{
    struct client speaker = websocket_on("a"), listener = stream_channel("a", STREAM_MS);
    uint64_t head = log_head(store->log);
    say(&speaker, "farewell");
    leave(&speaker);
    assert_int_equal(readers.streams[STREAM_WEBSOCKET], 0);
    drain_past(head);
    assert_true(has_heard(&listener, "farewell"));
    leave(&listener);
}

static void a_websocket_of_which_nothing_is_heard_is_taken_for_dead(void **state)
{
    struct client client = websocket_on("a");
    for (int heartbeats = 0; heartbeats < 2; heartbeats++) {
        pass(HEARTBEAT_MS);
        assert_int_equal(readers.streams[STREAM_WEBSOCKET], 1);
    }
    pass(HEARTBEAT_MS);
    assert_int_equal(conns.count, 0);
    leave(&client);
}

static void a_drain_waits_for_the_text_that_is_under_way(void **state)
{
    struct client client = websocket_on("a");
    uint64_t head = log_head(store->log);
    say(&client, "the last");
    loop_round(&loop, 0);
    groups_release(&readers.groups);
    assert_int_equal(readers.streams[STREAM_WEBSOCKET], 1);
    drain_past(head);
    assert_true(has_heard(&client, "\"created\":"));
    assert_true(has_heard(&client, "\x03\xe9")); /* 1001 */
    assert_int_equal(readers.streams[STREAM_WEBSOCKET], 0);
    leave(&client);
}

#define ON_A_LOG(claim) cmocka_unit_test_setup_teardown(claim, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_LOG(a_poll_gets_what_is_newer_than_its_cursor_at_once),
        ON_A_LOG(a_poll_at_the_head_is_held_until_there_is_news),
        ON_A_LOG(a_hold_ends_with_its_time_and_says_so),
        ON_A_LOG(a_held_client_that_goes_away_is_counted_no_more),
        ON_A_LOG(too_many_holds_are_refused),
        ON_A_LOG(a_drain_answers_all_holds),
        ON_A_LOG(a_poll_is_deferred_when_the_round_has_given_much),
        ON_A_LOG(a_deferred_poll_for_which_there_is_nothing_is_held),
        ON_A_LOG(those_still_deferred_in_the_end_are_refused),
        ON_A_LOG(a_live_stream_gets_the_news),
        ON_A_LOG(a_stream_that_is_quiet_gets_heartbeats_until_its_time_is_over),
        ON_A_LOG(a_stream_whose_socket_is_full_is_only_a_cursor_and_catches_up),
        ON_A_LOG(what_the_client_of_a_plain_stream_says_ends_it),
        ON_A_LOG(a_drain_ends_all_streams),
        ON_A_LOG(a_text_is_published_and_answered_with_its_cursor),
        ON_A_LOG(what_a_client_said_right_before_it_left_is_published),
        ON_A_LOG(a_websocket_of_which_nothing_is_heard_is_taken_for_dead),
        ON_A_LOG(a_drain_waits_for_the_text_that_is_under_way),
    };
    return cmocka_run_group_tests_name("readers", tests, NULL, NULL);
}

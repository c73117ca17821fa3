/* Polls and streams whose messages are no longer in memory: they wait for the disk, and nobody else
 * does. They are on a real log, which keeps nothing in memory. */
#include "tests/unit/support_readers.h"
#include "tests/unit/support_vfs.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/io/diag.h"
#include "fcgi/readers/hold.h"
#include "fcgi/readers/stream.h"
#include "tests/unit/support_memory.h"

enum {
    MANY = 100,
    PAGE = 60 * 1000,  /* bytes of a message, of which two make a page of a stream */
    MUCH = 900 * 1000, /* bytes of a message that no socket takes at once */
    READS_BYTES = 100 * 1000
};

static int set_up(void **state)
{
    shim_install();
    if (store_setup(state) != 0)
        return -1;
    ((struct store *)*state)->options.memory_bytes = 0;
    ((struct store *)*state)->options.reads_bytes = READS_BYTES;
    diag_level_set(DIAG_ERROR); /* what is told here would be printed */
    if (readers_start(state) != 0)
        return -1;
    conns.count_max = 1000;
    admission.waiting_max = 1000;
    return 0;
}

static int tear_down(void **state)
{
    shim_install();
    diag_level_set(DIAG_INFO);
    return readers_teardown(state);
}

static struct cursor at(uint64_t seq)
{
    return (struct cursor){CURSOR_AT, seq};
}

/* Messages "1." to "COUNT." on channel a, none of which is in the reader's cache. */
static void publish_old(unsigned count)
{
    char word[20];
    for (unsigned i = 1; i <= count; i++) {
        snprintf(word, sizeof word, "%u.", i);
        publish_word("a", word);
    }
}

static uint64_t waiting(void)
{
    struct log_stats stats;
    log_stats(store->log, &stats);
    return stats.reads;
}

static struct peer stream_channel(const char *channel, struct cursor cursor)
{
    struct peer peer;
    const struct wanted wanted = want(channel, FORMAT_LINES, cursor, STREAM_MS);
    stream_open(&readers, peer_connect_and_ask(&peer), &wanted, NULL, NULL);
    return peer;
}

/* A kept connection has got a whole answer, and its peer has been heard. */
static bool is_answered(struct peer *peer, const char *text)
{
    return peer_has_heard(peer, text) && peer->conn->idle;
}

static unsigned times_heard(const struct peer *peer, const char *text)
{
    unsigned times = 0;
    const char *from = peer->heard.bytes, *end = from + peer->heard.len;
    while (from && (from = memmem(from, (size_t)(end - from), text, strlen(text))) != NULL) {
        times++;
        from += strlen(text);
    }
    return times;
}

/* Hears what comes, until the stream is live or nothing comes any more. */
static void hear_until_live(struct peer *peer)
{
    do
        wait_for_reads();
    while (peer_hear(peer) > 0);
}

/* ---- meanwhile ---- */

static void while_a_hundred_polls_wait_for_the_disk_all_else_goes_on(void **state)
{
    struct peer peers[MANY], held = poll_channel("b", from_now);
    struct peer live = stream_channel("b", from_now);
    publish_old(MANY);
    shim_stop();
    for (unsigned i = 0; i < MANY; i++)
        peers[i] = poll_for("a", at(i), 1, HOLD_MS);
    shim_wait();
    assert_int_equal(waiting(), MANY);
    for (int i = 0; i < 3; i++) {
        publish_word("b", "news");
        assert_true(is_answered(&held, "news"));
        assert_true(peer_has_heard(&live, "news"));
        peer_leave(&held);
        held = poll_channel("b", from_now);
        peer_hear(&live);
        buf_reset(&live.heard);
    }
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(peer_hear(&peers[i]), 0);
    shim_go();
    wait_for_reads();
    for (unsigned i = 0; i < MANY; i++) {
        char data[20];
        snprintf(data, sizeof data, "\"data\":\"%u.\"", i + 1);
        assert_true(is_answered(&peers[i], data));
        peer_leave(&peers[i]);
    }
    peer_leave(&held);
    peer_leave(&live);
}

static void a_poll_that_waits_for_the_disk_is_not_held(void **state)
{
    publish_old(3);
    shim_stop();
    struct peer peer = poll_channel("a", at_start);
    shim_wait();
    assert_int_equal(admission.waiting, 0);
    pass(HOLD_MS);
    assert_int_equal(peer_hear(&peer), 0);
    shim_go();
    wait_for_reads();
    assert_true(is_answered(&peer, "3."));
    peer_leave(&peer);
}

static void a_poll_for_which_the_disk_has_nothing_is_held(void **state)
{
    publish_old(3);
    struct peer held = poll_channel("b", at_start), quick = poll_for("b", at_start, 100, 0);
    wait_for_reads();
    assert_int_equal(admission.waiting, 1);
    assert_true(is_answered(&quick, "\"messages\":[]"));
    groups_sweep(&readers.groups, 0); /* it is still in its group */
    publish_word("b", "news");
    assert_true(is_answered(&held, "news"));
    peer_leave(&held);
    peer_leave(&quick);
}

/* What comes while the disk is read is in the answer. */
static void a_poll_misses_nothing_that_comes_meanwhile(void **state)
{
    publish_old(3);
    shim_stop();
    struct peer peer = poll_channel("a", at(1)), other = poll_channel("b", at_start);
    shim_wait();
    publish_word("a", "meanwhile");
    publish_word("b", "and here");
    shim_go();
    wait_for_reads();
    assert_true(is_answered(&peer, "3.") && is_answered(&peer, "meanwhile"));
    assert_true(is_answered(&other, "and here"));
    peer_leave(&peer);
    peer_leave(&other);
}

static void clients_that_leave_are_forgotten(void **state)
{
    publish_old(3);
    shim_stop();
    struct peer poll = poll_channel("a", at_start), stream = stream_channel("a", at(1));
    shim_wait();
    peer_leave(&poll);
    peer_leave(&stream);
    assert_int_equal(waiting(), 0);
    shim_go();
    assert_no_readers_left();
    assert_int_equal(conns.deliveries, 0);
}

/* A deferred poll has its turn when a round of the loop has given enough to others (hold.h). */
static void a_poll_that_was_deferred_waits_for_the_disk_too(void **state)
{
    struct peer peer;
    const struct wanted wanted = want("a", FORMAT_JSON, at_start, HOLD_MS);
    publish_old(3);
    struct conn *conn = peer_connect_and_ask(&peer);
    readers.polls_round = loop.rounds;
    readers.polls_round_bytes = SIZE_MAX;
    hold_poll(&readers, conn, &wanted);
    assert_int_equal(waiting(), 0);
    assert_int_equal(conn->watch, WATCH_LATER);
    shim_stop();
    go_round();
    assert_int_equal(waiting(), 1);
    assert_int_equal(conn->watch, WATCH_INPUT); /* or the loop would go round all the time */
    shim_go();
    wait_for_reads();
    assert_true(is_answered(&peer, "3."));
    peer_leave(&peer);
}

/* ---- refused ---- */

static void when_too_many_wait_for_the_disk_the_next_are_refused(void **state)
{
    enum { MOST = 1000 };
    static struct peer peers[MOST];
    publish_old(3);
    shim_stop();
    unsigned count = 0;
    do
        peers[count] = poll_for("a", at_start, count + 1, HOLD_MS);
    while (!peer_has_heard(&peers[count++], "Status: 503"));
    assert_in_range(count, READS_BYTES / 1000, READS_BYTES / 200);
    assert_true(peer_has_heard(&peers[count - 1], "Retry-After"));
    struct peer stream = stream_channel("a", at(1));
    peer_hear(&stream);
    assert_true(stream.closed);
    shim_go();
    wait_for_reads();
    for (unsigned i = 0; i < count - 1; i++)
        assert_true(is_answered(&peers[i], "\"data\":"));
    for (unsigned i = 0; i < count; i++)
        peer_leave(&peers[i]);
    peer_leave(&stream);
}

static void a_log_that_is_locked_is_told_and_passes(void **state)
{
    publish_old(3);
    shim_arm(SHIM_READ, 1, SQLITE_BUSY, true);
    struct peer poll = poll_channel("a", at_start), stream = stream_channel("a", at(1));
    wait_for_reads();
    assert_true(is_answered(&poll, "Status: 503") && is_answered(&poll, "Retry-After"));
    peer_hear(&stream);
    assert_true(stream.closed);
    shim_disarm();
    struct peer again = poll_channel("a", at_start);
    wait_for_reads();
    assert_true(is_answered(&again, "3."));
    peer_leave(&poll);
    peer_leave(&stream);
    peer_leave(&again);
}

static void a_log_that_cannot_be_read_is_told_and_has_failed(void **state)
{
    publish_old(3);
    shim_arm(SHIM_READ, 1, SQLITE_IOERR_READ, true);
    shim_stop();
    struct peer poll = poll_channel("a", at_start), stream = stream_channel("a", at(1));
    shim_go();
    wait_for_reads();
    assert_true(is_answered(&poll, "Status: 500"));
    peer_hear(&stream);
    assert_true(stream.closed);
    shim_disarm();
    struct log_news news;
    store_wait(store);
    log_drain(store->log, &news);
    assert_true(news.failed);
    log_news_free(store->log, &news);
    peer_leave(&poll);
    peer_leave(&stream);
}

/* ---- streams ---- */

static void publish_pages(unsigned pages)
{
    char word[20];
    for (unsigned i = 1; i <= 2 * pages; i++) {
        snprintf(word, sizeof word, "x%u.", i);
        publish_much("a", word, PAGE);
    }
}

static void a_stream_gets_each_message_from_the_disk_once_and_then_the_news(void **state)
{
    enum { PAGES = 10 };
    publish_pages(PAGES);
    struct peer peer = stream_channel("a", at_start);
    assert_true(peer_has_heard(&peer, "application/x-ndjson")); /* at once */
    hear_until_live(&peer);
    assert_true(stream_of(peer.conn)->live);
    publish_word("a", "news");
    assert_true(peer_has_heard(&peer, "news"));
    for (unsigned i = 1; i <= 2 * PAGES; i++) {
        char word[20];
        snprintf(word, sizeof word, "x%u.\"", i);
        assert_int_equal(times_heard(&peer, word), 1);
    }
    assert_in_range(shim_pages(), PAGES, PAGES + 1);
    assert_int_equal(readers.streams_behind, 0);
    peer_leave(&peer);
}

static void readers_that_page_in_step_have_each_page_read_once(void **state)
{
    enum { PAGES = 3 };
    struct peer peers[MANY];
    publish_pages(PAGES);
    for (int i = 0; i < MANY; i++)
        peers[i] = stream_channel("a", at_start);
    for (bool more = true; more;) {
        wait_for_reads();
        more = false;
        for (int i = 0; i < MANY; i++)
            more = peer_hear(&peers[i]) > 0 || more;
    }
    for (int i = 0; i < MANY; i++) {
        assert_true(stream_of(peers[i].conn)->live);
        assert_int_equal(times_heard(&peers[i], "x6.\""), 1);
        peer_leave(&peers[i]);
    }
    assert_int_equal(shim_pages(), PAGES);
}

static void while_a_stream_waits_for_the_disk_its_socket_is_not_looked_at(void **state)
{
    publish_pages(1);
    shim_stop();
    struct peer peer = stream_channel("a", at_start);
    shim_wait();
    assert_int_equal(peer.conn->watch, WATCH_CLOSE); /* or the loop would go round all the time */
    assert_int_equal(readers.streams_behind, 1);
    pass(HEARTBEAT_MS); /* none is sent: it is behind */
    assert_int_equal(times_heard(&peer, "\"id\":"), 0);
    shim_go();
    hear_until_live(&peer);
    assert_int_equal(times_heard(&peer, "x2.\""), 1);
    peer_leave(&peer);
}

static void a_stream_without_a_cursor_is_told_one_if_the_disk_has_nothing_for_it(void **state)
{
    publish_old(3);
    struct peer peer = stream_channel("b", at_start);
    assert_false(peer_has_heard(&peer, "{\"id\":\""));
    wait_for_reads();
    assert_true(peer_has_heard(&peer, "-3\"}"));
    assert_true(stream_of(peer.conn)->live);
    peer_leave(&peer);
}

static void a_cursor_of_another_log_is_told_as_a_reset(void **state)
{
    publish_old(3);
    struct peer peer = stream_channel("a", (struct cursor){.kind = CURSOR_UNKNOWN});
    wait_for_reads();
    assert_true(peer_has_heard(&peer, "{\"reset\":true}") && peer_has_heard(&peer, "3."));
    peer_leave(&peer);
}

static void a_stream_whose_time_is_over_ends_whatever_the_disk_does(void **state)
{
    publish_pages(1);
    shim_stop();
    struct peer peer = stream_channel("a", at_start);
    shim_wait();
    for (uint64_t end = timer_now_ms() + STREAM_MS + HEARTBEAT_MS; timer_now_ms() < end;)
        pass(0);
    peer_hear(&peer);
    assert_true(peer.conn->idle);
    assert_int_equal(waiting(), 0);
    shim_go();
    peer_leave(&peer);
}

static struct frame *frame_of(size_t len, const char *word)
{
    char *bytes = calloc(1, len);
    memset(bytes, '.', len);
    memcpy(bytes + len - strlen(word), word, strlen(word));
    struct frame *frame = frame_raw(bytes, len);
    free(bytes);
    return frame;
}

/* As an answer to the client of a WebSocket. */
static void what_is_said_meanwhile_comes_first(void **state)
{
    publish_pages(1);
    shim_stop();
    struct peer peer = stream_channel("a", at_start);
    shim_wait();
    assert_true(stream_say(peer.conn, frame_of(10, "said")));
    assert_true(peer_has_heard(&peer, "said"));
    assert_false(stream_say(peer.conn, frame_of(MUCH, "much")));
    shim_go();
    hear_until_live(&peer);
    assert_true(peer_has_heard(&peer, "much"));
    assert_int_equal(times_heard(&peer, "x1.\""), 1);
    assert_int_equal(times_heard(&peer, "x2.\""), 1);
    assert_true(stream_of(peer.conn)->live);
    peer_leave(&peer);
}

static void a_stream_that_is_set_aside_gets_no_page(void **state)
{
    publish_pages(1);
    shim_stop();
    struct peer peer = stream_channel("a", at_start);
    shim_wait();
    stream_set_aside(peer.conn);
    assert_int_equal(waiting(), 0);
    shim_go();
    wait_for_reads();
    assert_false(peer_has_heard(&peer, "x1."));
    peer_leave(&peer);
}

/* ---- the end ---- */

static void a_drain_waits_for_no_disk(void **state)
{
    publish_old(3);
    shim_stop();
    struct peer poll = poll_channel("a", at_start), stream = stream_channel("a", at(1));
    shim_wait();
    conns.draining = true;
    groups_release(&readers.groups);
    stream_release_behind(&readers);
    hold_refuse_reads(&readers);
    assert_true(is_answered(&poll, "Status: 503") && is_answered(&poll, "about to stop"));
    peer_hear(&stream);
    assert_true(stream.conn->idle);
    struct peer late = poll_channel("a", at(2));
    assert_true(peer_has_heard(&late, "Status: 503"));
    assert_int_equal(waiting(), 0);
    shim_go();
    peer_leave(&poll);
    peer_leave(&stream);
    peer_leave(&late);
}

/* ---- memory ---- */

static void poll_from_disk(struct peer *peer, uint32_t limit)
{
    struct wanted wanted = want("a", FORMAT_JSON, at_start, HOLD_MS);
    wanted.shape.limit = limit;
    hold_poll(&readers, peer->conn, &wanted);
}

static void stream_from_disk(struct peer *peer, uint32_t nth)
{
    const struct wanted wanted = want("a", FORMAT_LINES, at(nth % 2), STREAM_MS);
    stream_open(&readers, peer->conn, &wanted, NULL, NULL);
}

/* Whichever allocation of one thread fails: the poll is answered, the stream goes on, or the
 * connection ends; and nothing is left. */
static void fail_each_allocation(void (*read)(struct peer *peer, uint32_t nth),
                                 void (*let_fail)(unsigned nth))
{
    unsigned nth = 0;
    bool failed;
    do {
        struct peer peer;
        publish_word("b", "what was kept is out of date");
        (void)peer_connect_and_ask(&peer);
        let_fail(++nth);
        read(&peer, nth);
        wait_for_reads();
        failed = memory_has_failed();
        peer_hear(&peer);
        assert_int_equal(waiting(), 0);
        assert_true(peer.closed || peer.heard.len > 0);
        assert_true(failed || peer_has_heard(&peer, "3."));
        peer_leave(&peer);
        assert_no_readers_left();
    } while (failed);
    assert_true(nth > 3);
}

static void whatever_allocation_fails_a_reader_is_answered_or_its_connection_ends(void **state)
{
    publish_old(3);
    fail_each_allocation(poll_from_disk, memory_fail);
    fail_each_allocation(stream_from_disk, memory_fail);
    fail_each_allocation(stream_from_disk, memory_fail_elsewhere);
}

#define OLD(claim) cmocka_unit_test_setup_teardown(claim, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OLD(while_a_hundred_polls_wait_for_the_disk_all_else_goes_on),
        OLD(a_poll_that_waits_for_the_disk_is_not_held),
        OLD(a_poll_for_which_the_disk_has_nothing_is_held),
        OLD(a_poll_misses_nothing_that_comes_meanwhile),
        OLD(clients_that_leave_are_forgotten),
        OLD(a_poll_that_was_deferred_waits_for_the_disk_too),
        OLD(when_too_many_wait_for_the_disk_the_next_are_refused),
        OLD(a_log_that_is_locked_is_told_and_passes),
        OLD(a_log_that_cannot_be_read_is_told_and_has_failed),
        OLD(a_stream_gets_each_message_from_the_disk_once_and_then_the_news),
        OLD(readers_that_page_in_step_have_each_page_read_once),
        OLD(while_a_stream_waits_for_the_disk_its_socket_is_not_looked_at),
        OLD(a_stream_without_a_cursor_is_told_one_if_the_disk_has_nothing_for_it),
        OLD(a_cursor_of_another_log_is_told_as_a_reset),
        OLD(a_stream_whose_time_is_over_ends_whatever_the_disk_does),
        OLD(what_is_said_meanwhile_comes_first),
        OLD(a_stream_that_is_set_aside_gets_no_page),
        OLD(a_drain_waits_for_no_disk),
        OLD(whatever_allocation_fails_a_reader_is_answered_or_its_connection_ends),
    };
    return cmocka_run_group_tests_name("old pages", tests, NULL, NULL);
}

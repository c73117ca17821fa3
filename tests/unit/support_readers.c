#include "support_readers.h"

#include <string.h>

#include "fcgi/readers/hold.h"
#include "fcgi/readers/stream.h"

struct store *store;
struct admission admission;
struct readers readers;
struct publisher publisher;

const struct cursor at_start = {.kind = CURSOR_START}, from_now = {.kind = CURSOR_NOW};

static struct source reads_source;

static void tell_reads(struct source *source, uint32_t events)
{
    log_tell_reads(store->log, 0);
}

int readers_setup(void **state)
{
    return store_setup(state) == 0 ? readers_start(state) : -1;
}

int readers_start(void **state)
{
    if (conns_setup(NULL) != 0)
        return -1;
    store = *state;
    store_open(store);
    conns.count_max = 100;
    admission = (struct admission){.waiting_max = HOLDS_MAX, .bytes_max = 1 << 20};
    memset(&readers, 0, sizeof readers);
    readers_init(&readers, store->log, &conns, &admission);
    readers.heartbeat_ms = HEARTBEAT_MS;
    readers.stream_ms = STREAM_MS;
    reads_source.ready = tell_reads;
    assert_int_equal(
        loop_watch(&loop, log_reads_fd(store->log), TURN_LATER, EPOLLIN, &reads_source), 0);
    publisher = (struct publisher){.log = store->log, .max_message = MUCH_MAX};
    return 0;
}

static void assert_nobody_waits(void)
{
    assert_int_equal(admission.waiting, 0);
    assert_int_equal(admission.bytes, 0);
    assert_int_equal(readers.streams_behind, 0);
}

void assert_no_readers_left(void)
{
    groups_sweep(&readers.groups, 0);
    readers_tidy(&readers);
    assert_nobody_waits();
    assert_int_equal(conns.count, 0);
}

int readers_teardown(void **state)
{
    conns_end_all(&conns);
    readers_free(&readers);
    assert_nobody_waits();
    for (int kind = 0; kind < STREAM_KINDS; kind++)
        assert_int_equal(readers.streams[kind], 0);
    conns_teardown(NULL);
    return store_teardown(state);
}

struct wanted want(const char *channel, enum format format, struct cursor cursor, uint64_t wait_ms)
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

struct peer poll_for(const char *channel, struct cursor cursor, uint32_t limit, uint64_t wait_ms)
{
    struct peer peer;
    struct wanted wanted = want(channel, FORMAT_JSON, cursor, wait_ms);
    wanted.shape.limit = limit;
    hold_poll(&readers, peer_connect_and_ask(&peer), &wanted);
    return peer;
}

struct peer poll_channel(const char *channel, struct cursor cursor)
{
    return poll_for(channel, cursor, 100, HOLD_MS);
}

static uint64_t head_before;

void publish_later(const char *channel, const char *word)
{
    struct append *append;
    head_before = log_head(store->log);
    assert_int_equal(
        publish_text(&publisher, channel, (struct text){word, strlen(word)}, NULL, NULL, &append),
        LOG_OK);
}

void take_published(struct peer *peer)
{
    (void)peer;
    drain_past(head_before);
}

void begin_anew(uint64_t floor)
{
    struct log_news news = {0};
    assert_int_equal(log_restart(store->log, "00112233aabb", floor), LOG_OK);
    while (!news.restarted) {
        store_wait(store);
        log_drain(store->log, &news);
        log_news_free(store->log, &news);
    }
    assert_int_equal(news.restart, LOG_OK);
    hold_restart(&readers);
    stream_restart(&readers);
    readers_restart(&readers);
    go_round();
}

void wait_for_reads(void)
{
    struct log_stats stats;
    go_round();
    for (log_stats(store->log, &stats); stats.reads > 0; log_stats(store->log, &stats)) {
        assert_true(loop_round(&loop, PATIENCE_MS) > 0);
        go_round();
    }
}

void drain_past(uint64_t head)
{
    struct log_news news;
    while (log_head(store->log) == head) {
        store_wait(store);
        log_drain(store->log, &news);
        publish_done(&publisher, &news);
        readers_news(&readers, &news);
        publish_delivered(&news);
        log_news_free(store->log, &news);
    }
}

void publish(const char *channel, const char *data, size_t len)
{
    struct append *append;
    uint64_t head = log_head(store->log);
    assert_int_equal(
        publish_text(&publisher, channel, (struct text){data, len}, NULL, NULL, &append), LOG_OK);
    drain_past(head);
}

void publish_word(const char *channel, const char *word)
{
    publish(channel, word, strlen(word));
}

void publish_much(const char *channel, const char *word, size_t len)
{
    static char data[MUCH_MAX];
    assert_in_range(len, strlen(word), MUCH_MAX);
    memset(data, 'x', len);
    memcpy(data + len - strlen(word), word, strlen(word));
    publish(channel, data, len);
}

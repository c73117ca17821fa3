/* The log against a model that is too simple to be wrong: an array of all messages ever appended,
 * with a mark on those that retention deleted. Random appends, reads, restarts and limits; every
 * page must be the model's, whether memory, disk or both answered it. */
#include "store/retention.h"
#include "support_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

enum { CHANNELS = 5, ROUNDS = 30, STEPS = 120, ALL = ROUNDS * STEPS };

struct kept {
    int channel;
    size_t size;
    bool deleted;
};

struct model {
    struct kept messages[ALL + 1]; /* by seq, from 1 */
    uint64_t head;
    uint64_t floors[CHANNELS]; /* of channels with messages */
    uint64_t counts[CHANNELS];
    uint64_t forgotten;
    uint64_t bytes;
};

static const char *const names[CHANNELS] = {"a", "bb", "ccc", "dddd", "eeeee"};

/* ---- the model ---- */

static void model_delete(struct model *model, uint64_t seq)
{
    struct kept *kept = &model->messages[seq];
    kept->deleted = true;
    model->counts[kept->channel]--;
    model->bytes -= kept->size;
    model->floors[kept->channel] = seq;
}

static uint64_t model_oldest(const struct model *model, int channel)
{
    uint64_t seq = 1;
    while (model->messages[seq].deleted ||
           (channel >= 0 && model->messages[seq].channel != channel))
        seq++;
    return seq;
}

static void model_count(struct model *model, int channel, uint64_t limit)
{
    while (limit && model->counts[channel] > limit)
        model_delete(model, model_oldest(model, channel));
}

static void model_bytes(struct model *model, uint64_t limit)
{
    struct retention_limits limits = {.keep_bytes = limit};
    if (model->bytes <= retention_most_bytes(&limits))
        return;
    while (limit && model->bytes > limit)
        model_delete(model, model_oldest(model, -1));
}

/* At the end of a transaction: channels that became empty are forgotten. */
static void model_forget(struct model *model)
{
    for (int i = 0; i < CHANNELS; i++)
        if (model->counts[i] == 0 && model->floors[i] > model->forgotten)
            model->forgotten = model->floors[i];
}

static void model_append(struct model *model, const struct log_options *options, int channel,
                         size_t size)
{
    if (model->counts[channel] == 0)
        model->floors[channel] = model->forgotten;
    model->messages[++model->head] = (struct kept){channel, size, false};
    model->counts[channel]++;
    model->bytes += size;
    model_count(model, channel, options->keep_messages);
    model_bytes(model, options->keep_bytes);
    model_forget(model);
}

static void model_restart(struct model *model, const struct log_options *options)
{
    model_bytes(model, options->keep_bytes);
    for (int i = 0; i < CHANNELS; i++)
        model_count(model, i, options->keep_messages);
    model_forget(model);
}

static uint64_t model_messages(const struct model *model)
{
    uint64_t messages = 0;
    for (int i = 0; i < CHANNELS; i++)
        messages += model->counts[i];
    return messages;
}

/* As store_read writes it. */
static const char *model_read(const struct model *model, unsigned channels, struct cursor cursor,
                              size_t limit)
{
    static char text[1 << 16];
    bool at = cursor.kind == CURSOR_AT && cursor.seq <= model->head;
    bool reset = cursor.kind != CURSOR_START && !at;
    uint64_t after = at ? cursor.seq : 0, next = model->head;
    size_t count = 0, len = 0;
    bool more = false;
    if (cursor.kind == CURSOR_NOW) {
        snprintf(text, sizeof text, "next %lu", (unsigned long)model->head);
        return text;
    }
    for (int i = 0; i < CHANNELS; i++)
        if (at && channels & 1u << i &&
            (model->counts[i] ? model->floors[i] : model->forgotten) > after)
            reset = true;
    for (uint64_t seq = after + 1, last = 0; seq <= model->head && !more; seq++) {
        const struct kept *kept = &model->messages[seq];
        if (kept->deleted || !(channels & 1u << kept->channel))
            continue;
        if (count++ == limit) {
            more = true;
            next = last;
        } else {
            len += (size_t)snprintf(text + len, sizeof text - len, "%lu=%lu ", (unsigned long)seq,
                                    (unsigned long)seq);
            last = seq;
        }
    }
    snprintf(text + len, sizeof text - len, "next %lu%s%s", (unsigned long)next,
             more ? " more" : "", reset ? " reset" : "");
    return text;
}

/* ---- the comparison ---- */

static uint64_t below(uint64_t limit)
{
    return (uint64_t)rand() % limit;
}

static void append_to_both(struct store *store, struct model *model)
{
    char data[24], channel = (char)below(CHANNELS);
    /* the first channels are busier, the last is rare */
    channel = (char)below((uint64_t)channel + 1);
    snprintf(data, sizeof data, "%lu", (unsigned long)model->head + 1);
    assert_int_equal(store_put(store, names[(int)channel], data), model->head + 1);
    model_append(model, &store->options, channel,
                 message_size_of(strlen(names[(int)channel]), strlen(data)));
}

static struct cursor random_cursor(const struct model *model)
{
    struct cursor cursor = {.kind = CURSOR_AT};
    switch (below(8)) {
    case 0:
        cursor.kind = CURSOR_START;
        break;
    case 1:
        cursor.kind = below(4) ? CURSOR_UNKNOWN : CURSOR_NOW;
        break;
    case 2:
        cursor.seq = below(model->head + 1);
        break;
    default: /* mostly near the head */
        cursor.seq = model->head + 3 - below(model->head + 3 < 60 ? model->head + 3 : 60);
        break;
    }
    return cursor;
}

static void read_from_both(struct store *store, const struct model *model)
{
    unsigned channels = 1 + (unsigned)below((1u << CHANNELS) - 1);
    struct cursor cursor = random_cursor(model);
    size_t limit = below(2) ? 1000 : 1 + below(10);
    char list[64] = "";
    for (int i = 0; i < CHANNELS; i++)
        if (channels & 1u << i)
            strcat(strcat(list, *list ? " " : ""), names[i]);
    const char *said = store_read(store, list, cursor, limit);
    const char *expected = model_read(model, channels, cursor, limit);
    if (strcmp(said, expected) != 0)
        fail_msg("channels %s, cursor %d at %lu, limit %zu, head %lu:\n got %s\nwant %s", list,
                 cursor.kind, (unsigned long)cursor.seq, limit, (unsigned long)model->head, said,
                 expected);
}

static void random_options(struct log_options *options)
{
    static const size_t memories[] = {0, 150, 1000, 3000, 1 << 20};
    static const uint64_t counts[] = {0, 1, 3, 20};
    static const uint64_t bytes[] = {0, 50, 500, 2000, 8000};
    options->memory_bytes = memories[below(5)];
    options->keep_messages = counts[below(4)];
    options->keep_bytes = bytes[below(5)];
}

static void check_counts(struct store *store, const struct model *model)
{
    struct log_stats stats;
    log_stats(store->log, &stats);
    assert_int_equal(log_head(store->log), model->head);
    assert_int_equal(stats.messages, model_messages(model));
    assert_int_equal(stats.bytes, model->bytes);
}

static void disk_and_memory_answer_as_the_model_does(void **state)
{
    struct store *store = *state;
    struct model *model = calloc(1, sizeof *model);
    const char *seed = getenv("SEED");
    assert_non_null(model);
    srand(seed ? (unsigned)atoi(seed) : 7);
    for (int round = 0; round < ROUNDS; round++) {
        random_options(&store->options);
        store_open(store);
        model_restart(model, &store->options);
        store_settle_at(store, model_messages(model));
        for (int step = 0; step < STEPS; step++) {
            if (below(2))
                append_to_both(store, model);
            else
                read_from_both(store, model);
            check_counts(store, model);
        }
        assert_int_equal(store_close(store), LOG_OK);
    }
    free(model);
}

/* ---- readers that follow ---- */

enum { FOLLOWED = 2, SENT = 1000 };

static const char *const followed[FOLLOWED] = {"a", "bb"};

/* What publishers and a reader know of each channel. A message says its own seq and that of the one
 * before it on its channel. */
struct following {
    uint64_t sent, sent_last[FOLLOWED];
    uint64_t seq, seen_last[FOLLOWED];
    bool told[FOLLOWED];   /* that something may be missing before the next message */
    struct gap *known;     /* by a reader that stays */
    unsigned seen, resets; /* messages, and gaps told */
};

static void send_some(struct store *store, struct following *following)
{
    uint64_t busy = below(FOLLOWED);
    for (uint64_t burst = below(80); burst && following->sent < SENT; burst--) {
        uint64_t channel = below(20) ? busy : below(FOLLOWED);
        char data[48];
        snprintf(data, sizeof data, "%lu %lu", (unsigned long)++following->sent,
                 (unsigned long)following->sent_last[channel]);
        following->sent_last[channel] = following->sent;
        assert_int_equal(store_queue(store, followed[channel], data), LOG_OK);
    }
}

static void see(struct following *following, const struct message *message)
{
    int channel = strcmp(message_channel(message), followed[0]) != 0;
    char *rest;
    uint64_t number = strtoul(message_data(message), &rest, 10);
    uint64_t previous = strtoul(rest, NULL, 10);
    assert_int_equal(message->seq, number);
    assert_true(number > following->seq && number > following->seen_last[channel]);
    if (previous != following->seen_last[channel] && !following->told[channel])
        fail_msg("%lu after %lu, and no word of it", (unsigned long)number,
                 (unsigned long)following->seen_last[channel]);
    following->seen_last[channel] = number;
    following->told[channel] = false;
    following->seen++;
}

/* A reset is for both channels: the page may be full before the one that has the gap has its
 * turn. */
static void read_a_page(struct store *store, struct following *following, bool stays)
{
    struct cursor cursor = {CURSOR_AT, following->seq};
    struct page page;
    assert_int_equal(store_page(store, followed, FOLLOWED, cursor, UP_TO(1 + below(60)), &page),
                     LOG_OK);
    assert_int_equal(page.reset, page.gap != NULL);
    if (page.gap && !gap_is_known(page.gap, following->known, following->seq)) {
        following->told[0] = following->told[1] = true;
        following->resets++;
        gap_drop(following->known);
        following->known = stays ? gap_hold(page.gap) : NULL;
    }
    for (size_t i = 0; i < page.count; i++)
        see(following, page.messages[i]);
    following->seq = page.next;
    page_free(&page);
}

/* While the writer is at work it sees every message of its channels once and in order, or is told
 * of the gap. Returns how often that was. */
static unsigned follow(struct store *store, bool stays)
{
    struct following following = {0};
    srand(3);
    store_open(store);
    while (following.sent < SENT || following.seq < log_head(store->log)) {
        send_some(store, &following);
        if (below(3) || following.sent == SENT)
            store_settle(store);
        for (uint64_t pages = below(4); pages; pages--)
            read_a_page(store, &following, stays);
    }
    gap_drop(following.known);
    assert_true(following.seen > 0);
    store_close(store);
    return following.resets;
}

static void a_reader_that_follows_misses_nothing_silently(void **state)
{
    struct store *store = *state;
    static const uint64_t counts[] = {3, 50, 150};
    static const size_t memories[] = {500, 1500, 10000};
    for (int i = 0; i < 9; i++) {
        store->options.keep_messages = counts[i / 3];
        store->options.memory_bytes = memories[i % 3];
        unsigned resets = follow(store, true);
        unlink(store->path);
        assert_in_range(resets, 1, follow(store, false));
        unlink(store->path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(disk_and_memory_answer_as_the_model_does),
        TEST(a_reader_that_follows_misses_nothing_silently),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

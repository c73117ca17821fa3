/* Keys, several messages at once, seqs and positions from outside, and new beginnings, against a
 * model that is too simple to be wrong; with restarts, and with kills in the middle of a write.
 *
 * ENCKE_MODEL says how many steps there are (make torture: 100,000), SEED which. */
#include "support_store.h"
#include "support_vfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/clock.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, shim_teardown)

enum {
    CHANNELS = 5,
    MOST_CHANNELS = 4,
    KEYS = 30,
    TEXTS = 3,
    ENTRIES = 6,
    KEEP = 20, /* of each channel */
    STEPS = 3000
};

static const char *const names[CHANNELS] = {"a", "bb", "ccc", "dddd", "eeeee"};

/* ---- the model ---- */

struct entry {
    int channel, key, text; /* key -1: none */
};

struct change {
    struct entry entries[ENTRIES];
    size_t count;
    uint64_t seq;      /* 0: the next one */
    char position[20]; /* "": none */
};

struct channel {
    uint64_t seqs[KEEP]; /* of the newest messages, oldest first */
    int texts[KEEP];
    size_t count;
    uint64_t floor;
    struct {
        uint64_t seq; /* 0: not used */
        int text;
    } keys[KEYS];
};

struct model {
    char epoch[EPOCH_LEN + 1];
    uint64_t head, forgotten;
    char position[20];
    struct channel channels[CHANNELS];
    unsigned random;
};

static unsigned below(struct model *model, unsigned limit)
{
    model->random = model->random * 1103515245 + 12345;
    return (model->random >> 16) % limit;
}

static int channels_in_use(const struct model *model)
{
    int used = 0;
    for (int i = 0; i < CHANNELS; i++)
        used += model->channels[i].count > 0;
    return used;
}

static void model_add(struct model *model, const struct entry *entry)
{
    struct channel *channel = &model->channels[entry->channel];
    if (channel->count == 0)
        channel->floor = model->forgotten;
    if (channel->count == KEEP) {
        channel->floor = channel->seqs[0];
        channel->count--;
        memmove(channel->seqs, channel->seqs + 1, channel->count * sizeof *channel->seqs);
        memmove(channel->texts, channel->texts + 1, channel->count * sizeof *channel->texts);
    }
    channel->seqs[channel->count] = ++model->head;
    channel->texts[channel->count++] = entry->text;
    if (entry->key >= 0) {
        channel->keys[entry->key].seq = model->head;
        channel->keys[entry->key].text = entry->text;
    }
}

/* Adds one after the other, in a copy. Returns what the log must report, as outcome_of writes it.
 * Sets *model only if all may be stored. */
static const char *model_append(struct model *model, const struct change *change)
{
    static char said[200];
    struct model next = *model;
    size_t len = 0, added = 0;
    if (change->seq && change->seq <= model->head)
        return "order";
    if (change->seq)
        next.head = change->seq - 1;
    for (size_t i = 0; i < change->count; i++) {
        const struct entry *entry = &change->entries[i];
        struct channel *channel = &next.channels[entry->channel];
        uint64_t first = entry->key >= 0 ? channel->keys[entry->key].seq : 0;
        bool full = channel->count == 0 && channels_in_use(&next) == MOST_CHANNELS;
        if ((first && channel->keys[entry->key].text != entry->text) || (!first && full)) {
            snprintf(said, sizeof said, "%s %zu", first ? "conflict" : "channels", i);
            return said;
        }
        if (!first) {
            model_add(&next, entry);
            added++;
        }
        len += (size_t)snprintf(said + len, sizeof said - len, first ? "%lu dup," : "%lu,",
                                first ? first : next.head);
    }
    if (added == 0)
        next.head = model->head;
    if (change->position[0])
        strcpy(next.position, change->position);
    *model = next;
    return said;
}

static void model_restart(struct model *model, const char *epoch, uint64_t floor)
{
    struct model empty = {.head = floor, .forgotten = floor, .random = model->random};
    *model = empty;
    strcpy(model->epoch, epoch);
}

/* As store_read writes it. */
static const char *model_read(const struct model *model, int channel, uint64_t after)
{
    static char text[2000];
    const struct channel *there = &model->channels[channel];
    size_t len = 0;
    for (size_t i = 0; i < there->count; i++)
        if (there->seqs[i] > after)
            len += (size_t)snprintf(text + len, sizeof text - len, "%lu=%d ", there->seqs[i],
                                    there->texts[i]);
    snprintf(text + len, sizeof text - len, "next %lu%s", model->head,
             (there->count ? there->floor : model->forgotten) > after ? " reset" : "");
    return text;
}

/* ---- what is tried ---- */

static struct change random_change(struct model *model)
{
    struct change change = {.count = 1 + below(model, ENTRIES)};
    for (size_t i = 0; i < change.count; i++) {
        change.entries[i].channel = (int)below(model, 1 + below(model, CHANNELS));
        change.entries[i].key = below(model, 2) ? (int)below(model, KEYS) : -1;
        change.entries[i].text = (int)(below(model, 8) ? 0 : below(model, TEXTS));
    }
    if (below(model, 5) == 0)
        change.seq = model->head + below(model, 6) + (below(model, 10) > 0);
    if (below(model, 3) == 0)
        snprintf(change.position, sizeof change.position, "p%u", below(model, 1000));
    return change;
}

static char outcome[200];

static void outcome_of(struct append *append)
{
    size_t len = 0;
    outcome[0] = '\0';
    if (append->status == LOG_ORDER)
        strcpy(outcome, "order");
    else if (append->status == LOG_CONFLICT || append->status == LOG_CHANNELS)
        snprintf(outcome, sizeof outcome, "%s %u",
                 append->status == LOG_CONFLICT ? "conflict" : "channels", append->refused);
    else if (append->status != LOG_OK)
        snprintf(outcome, sizeof outcome, "%s", log_status_text(append->status));
    for (uint32_t i = 0; i < append->count && append->status == LOG_OK; i++)
        len += (size_t)snprintf(outcome + len, sizeof outcome - len,
                                append->entries[i].duplicate ? "%lu dup," : "%lu,",
                                append->entries[i].message->seq);
}

static const struct append_ops ops = {.done = outcome_of};

static struct message *make_message(const struct entry *entry)
{
    char text[12], key[12];
    int text_len = snprintf(text, sizeof text, "%d", entry->text);
    int key_len = snprintf(key, sizeof key, "%d", entry->key);
    return entry->key < 0 ? message_new(names[entry->channel], text, (size_t)text_len, 0)
                          : message_new_once(names[entry->channel], text, (size_t)text_len,
                                             clock_wall_ms(), key, (size_t)key_len);
}

static void queue_change(struct store *store, const struct change *change)
{
    struct message *messages[ENTRIES];
    for (size_t i = 0; i < change->count; i++)
        assert_non_null(messages[i] = make_message(&change->entries[i]));
    assert_int_equal(log_append_at(store->log, messages, change->count, change->seq,
                                   change->position[0] ? change->position : NULL, &ops, NULL, NULL),
                     LOG_OK);
}

/* Waits for one append, and takes down its outcome; others may be in the same report. */
static void drain_until(struct store *store, char *const *expected, size_t count)
{
    size_t done = 0;
    struct log_news news;
    struct append *append;
    while (done < count) {
        store_wait(store);
        log_drain(store->log, &news);
        STAILQ_FOREACH (append, &news.done, next) {
            append->ops->done(append);
            if (strcmp(outcome, expected[done]) != 0)
                fail_msg("the log says \"%s\", the model \"%s\"", outcome, expected[done]);
            done++;
        }
        log_news_free(store->log, &news);
    }
}

/* Some appends, in one transaction or in several. */
static void append_to_both(struct store *store, struct model *model)
{
    size_t count = below(model, 3) ? 1 : 1 + below(model, 5);
    char *expected[5];
    for (size_t i = 0; i < count; i++) {
        struct change change = random_change(model);
        expected[i] = strdup(model_append(model, &change));
        queue_change(store, &change);
    }
    drain_until(store, expected, count);
    for (size_t i = 0; i < count; i++)
        free(expected[i]);
}

static void compare_a_read(struct store *store, struct model *model)
{
    int channel = (int)below(model, CHANNELS);
    uint64_t after = below(model, 3) ? model->head - below(model, 60) % (model->head + 1)
                                     : below(model, (unsigned)model->head + 1);
    assert_string_equal(store_read_at(store, names[channel], after),
                        model_read(model, channel, after));
}

static bool is_as_the_model(const struct store *store, const struct model *model)
{
    return strcmp(log_epoch(store->log), model->epoch) == 0 &&
           log_head(store->log) == model->head &&
           strcmp(log_position(store->log), model->position) == 0;
}

static void compare_all(struct store *store, struct model *model)
{
    if (!is_as_the_model(store, model))
        fail_msg("head %lu, position %s; the model has %lu, %s", log_head(store->log),
                 log_position(store->log), model->head, model->position);
    for (int i = 0; i < CHANNELS; i++)
        assert_string_equal(store_read_at(store, names[i], model->forgotten),
                            model_read(model, i, model->forgotten));
}

static void restart_both(struct store *store, struct model *model)
{
    char epoch[EPOCH_LEN + 1];
    uint64_t floor = below(model, 1000);
    struct log_news news = {0};
    snprintf(epoch, sizeof epoch, "%012x", below(model, 30000));
    assert_int_equal(log_restart(store->log, epoch, floor), LOG_OK);
    while (!news.restarted) {
        store_wait(store);
        log_drain(store->log, &news);
        log_news_free(store->log, &news);
    }
    assert_int_equal(news.restart, LOG_OK);
    model_restart(model, epoch, floor);
}

/* ---- kills ---- */

/* In a child: appends, and writes a byte for each that is acknowledged, until a write ends it. */
static void append_until_killed(struct store *store, struct model *model, int acknowledge)
{
    shim_arm(SHIM_WRITE | SHIM_SYNC, 1 + below(model, 60), SHIM_CRASH, false);
    store_open(store);
    for (int i = 0; i < 40; i++) {
        struct change change = random_change(model);
        char *expected = strdup(model_append(model, &change));
        queue_change(store, &change);
        drain_until(store, &expected, 1);
        free(expected);
        if (write(acknowledge, "", 1) != 1)
            _exit(4);
    }
    _exit(0);
}

/* All that was acknowledged is there; the append that was under way is there whole, or not at all.
 */
static void kill_and_compare(struct store *store, struct model *model)
{
    int pipe_fd[2];
    char bytes[64];
    assert_int_equal(store_close(store), LOG_OK);
    assert_int_equal(pipe(pipe_fd), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        append_until_killed(store, model, pipe_fd[1]);
    close(pipe_fd[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ssize_t acknowledged = read(pipe_fd[0], bytes, sizeof bytes);
    close(pipe_fd[0]);
    assert_true(acknowledged >= 0);
    below(model, 60); /* as the child drew it */
    for (ssize_t i = 0; i < acknowledged; i++) {
        struct change change = random_change(model);
        model_append(model, &change);
    }
    store_open(store);
    if (!is_as_the_model(store, model)) {
        struct change change = random_change(model);
        model_append(model, &change);
    }
    compare_all(store, model);
}

/* ---- the steps ---- */

static void step(struct store *store, struct model *model)
{
    unsigned kind = below(model, 200);
    if (kind < 120)
        append_to_both(store, model);
    else if (kind < 190)
        compare_a_read(store, model);
    else if (kind < 194)
        store_reopen(store);
    else if (kind < 196)
        store_crash(store), store_open(store);
    else if (kind < 199)
        kill_and_compare(store, model);
    else
        restart_both(store, model);
    if (kind >= 190)
        compare_all(store, model);
}

static unsigned long env_number(const char *name, unsigned long usual)
{
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 10) : usual;
}

/* The steps are many, and each syncs: in memory they take less long. */
static int setup(void **state)
{
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    if (shim_setup(state) != 0)
        return -1;
    struct store *store = *state;
    store->options.once_ms = 3600 * 1000;
    store->options.keep_messages = KEEP;
    store->options.max_channels = MOST_CHANNELS;
    return 0;
}

static void the_log_answers_as_the_model_does(void **state)
{
    struct store *store = *state;
    unsigned long steps = env_number("ENCKE_MODEL", STEPS);
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    model->random = (unsigned)env_number("SEED", 7);
    store->options.memory_bytes = 3000;
    store_open(store);
    strcpy(model->epoch, log_epoch(store->log));
    for (unsigned long i = 0; i < steps; i++)
        step(store, model);
    compare_all(store, model);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_log_answers_as_the_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

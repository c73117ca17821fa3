#include "fcgi/relay/feed.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/io/diag.h"
#include "fcgi/readers/publish.h"
#include "fcgi/relay/backoff.h"
#include "fcgi/wire/escape.h"
#include "store/clock.h"

/* A message on its way to the log. */
struct item {
    struct message *message; /* one reference */
    char *cursor;            /* where the feed is once it is committed; NULL: where it was */
};

/* At any time one of four goes on: the channel is read for a cursor to begin with, a poll is kept,
 * an append waits for its commit, or the timer is set, for the next try of one of these. */
struct feed {
    struct keeper keeper;
    struct feeds *feeds;
    const struct upstream *upstream;
    char *cursor;         /* of the last answer that is committed; NULL: none */
    struct item items[2]; /* to be appended, in order: the word after an outage, and an answer */
    unsigned item_count;
    struct append *append; /* of the first one, under way */
    struct read *read;     /* of an earlier message, under way */
    uint64_t before;       /* the seq before which the next one is looked for; 0: it has begun */
    unsigned looked;       /* so many had no cursor */
    struct timer timer;
    bool polling;       /* a poll is kept */
    uint64_t began_ms;  /* when the latest poll began */
    bool moved;         /* the latest answer had a new cursor */
    bool missed;        /* an answer may have been missed */
    bool told;          /* the operator knows that answers are shortened */
    uint64_t appended;  /* messages */
    uint64_t shortened; /* of these, to the word */
};

struct feeds {
    struct timers *timers;
    struct relay *relay;
    struct publisher *publisher;
    struct buf query; /* the latest that was asked */
    bool stopped;
    size_t count;
    struct feed feeds[];
};

/* ---- what an answer says ---- */

/* A number as text, as short as it can be written. NULL when out of memory. */
static char *number_text(const json_t *number)
{
    for (size_t digits = 15;; digits++) {
        char *text = json_dumps(number, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        if (!text || digits == 17 || json_is_integer(number) ||
            strtod(text, NULL) == json_real_value(number))
            return text;
        free(text);
    }
}

static char *json_cursor(const json_t *value)
{
    if (json_is_string(value) && json_string_length(value) <= FEED_CURSOR_MAX)
        return strdup(json_string_value(value));
    return json_is_number(value) ? number_text(value) : NULL;
}

bool feed_understand(const char *body, size_t len, const char *field, char **cursor)
{
    *cursor = NULL;
    if (len == 0)
        return false;
    json_t *answer = json_loadb(body, len, 0, NULL);
    if (!json_is_object(answer)) {
        json_decref(answer);
        return true;
    }
    const char *word = json_string_value(json_object_get(answer, "ret"));
    const json_t *messages = json_object_get(answer, "messages");
    bool nothing = (word && strcmp(word, "punt") == 0) ||
                   (json_is_array(messages) && json_array_size(messages) == 0);
    *cursor = json_cursor(json_object_get(answer, field));
    json_decref(answer);
    return !nothing;
}

/* ---- polling ---- */

static void look_back(struct feed *feed);

static void set_feed_timer(struct feed *feed, uint64_t ms)
{
    timer_set(feed->feeds->timers, &feed->timer, ms);
}

static void ask_upstream(struct feed *feed)
{
    struct buf *query = &feed->feeds->query;
    upstream_query_from(feed->upstream, feed->cursor, query);
    feed->began_ms = timer_now_ms();
    feed->polling = true;
    if (buf_ok(query) &&
        relay_keep(feed->feeds->relay, &feed->keeper, feed->upstream, query->bytes))
        return;
    feed->polling = false;
    set_feed_timer(feed, FEED_RETRY_MS);
}

/* How long the next poll has to wait, so that an upstream which always answers at once is not asked
 * all the time. */
static uint64_t pause_ms(const struct feed *feed)
{
    uint64_t pace = feed->moved ? FEED_PACE_MS : FEED_IDLE_PACE_MS;
    uint64_t lasted = timer_now_ms() - feed->began_ms;
    return lasted < pace ? pace - lasted : 0;
}

static void ask_after_pause(struct feed *feed)
{
    uint64_t ms = pause_ms(feed);
    if (ms > 0)
        set_feed_timer(feed, ms);
    else
        ask_upstream(feed);
}

/* ---- where to begin ---- */

/* Takes over the cursor of the channel's newest message that has one. */
static void on_feed_message(void *owner, enum log_status status, struct page *page)
{
    struct feed *feed = owner;
    const struct message *message = page->count > 0 ? page->messages[0] : NULL;
    feed->read = NULL;
    if (status != LOG_OK) {
        set_feed_timer(feed, FEED_RETRY_MS);
        return;
    }
    if (message)
        feed_understand(message_data(message), message->data_len, feed->upstream->cursor_field,
                        &feed->cursor);
    feed->before = message && !feed->cursor && ++feed->looked < FEED_LOOK_BACK ? message->seq : 0;
    if (feed->before > 0)
        look_back(feed);
    else
        ask_upstream(feed);
}

static void look_back(struct feed *feed)
{
    if (log_read_newest(feed->feeds->publisher->log, feed->upstream->channel, feed->before,
                        on_feed_message, feed, &feed->read) != LOG_OK)
        set_feed_timer(feed, FEED_RETRY_MS);
}

/* ---- appending ---- */

static void set_feed_cursor(struct feed *feed, char *cursor)
{
    if (!cursor)
        return;
    free(feed->cursor);
    feed->cursor = cursor;
}

static void on_feed_delivered(struct append *append);

static const struct append_ops feed_ops = {.delivered = on_feed_delivered};

static void append_first_item(struct feed *feed)
{
    struct message *message = message_hold(feed->items[0].message);
    if (publish_messages(feed->feeds->publisher, &message, 1, &feed_ops, feed, &feed->append) !=
        LOG_OK)
        set_feed_timer(feed, FEED_RETRY_MS);
}

static void on_feed_timer(struct timer *timer)
{
    struct feed *feed = OWNER(struct feed, timer, timer);
    if (feed->item_count > 0)
        append_first_item(feed);
    else if (feed->before > 0)
        look_back(feed);
    else if (!feed->polling)
        ask_upstream(feed);
}

/* Appends the message, after what is on its way. Takes over both. */
static void append_item(struct feed *feed, struct message *message, char *cursor)
{
    feed->items[feed->item_count++] = (struct item){message, cursor};
    if (feed->item_count == 1)
        append_first_item(feed);
}

static void on_feed_delivered(struct append *append)
{
    struct feed *feed = append->owner;
    feed->append = NULL;
    if (feed->feeds->stopped)
        return;
    if (append->status != LOG_OK) {
        set_feed_timer(feed, FEED_RETRY_MS);
        return;
    }
    message_drop(feed->items[0].message);
    set_feed_cursor(feed, feed->items[0].cursor);
    feed->appended++;
    feed->items[0] = feed->items[1];
    if (--feed->item_count > 0)
        append_first_item(feed);
    else if (!feed->polling)
        ask_after_pause(feed);
}

/* A message that only says that something changed, with the cursor, if there is one. */
static struct message *word_message(const struct feed *feed, const char *cursor)
{
    const char *field = feed->upstream->cursor_field;
    struct message *message = NULL;
    struct buf text = {0};
    buf_puts(&text, "{\"ret\":\"new\"");
    if (cursor) {
        buf_puts(&text, ",");
        escape_json(&text, field, strlen(field));
        buf_puts(&text, ":");
        escape_json(&text, cursor, strlen(cursor));
    }
    buf_puts(&text, "}");
    if (buf_ok(&text))
        message = message_new(feed->upstream->channel, text.bytes, text.len, clock_wall_ms());
    buf_free(&text);
    return message;
}

static void note_shortened(struct feed *feed)
{
    feed->shortened++;
    if (!feed->told)
        diag(
            DIAG_WARN,
            "upstream %s: an answer is no text, or longer than --max-message: channel %s gets only "
            "the word that there is one",
            feed->upstream->name, feed->upstream->channel);
    feed->told = true;
}

/* An answer as a message; or the word that there is one, if it is unfit for a message. */
static struct message *answer_message(struct feed *feed, const struct buf *body, const char *cursor)
{
    struct text text = {body->bytes, body->len};
    size_t most = feed->feeds->publisher->max_message;
    if (text.len > most || publish_complaint(text)) {
        note_shortened(feed);
        return word_message(feed, cursor);
    }
    feed->told = false;
    return message_new(feed->upstream->channel, text.bytes, text.len, clock_wall_ms());
}

/* ---- what the relay says ---- */

/* What is wrong with an answer, or NULL. It is parsed on the loop's thread, so it must not be
 * large.
 */
static const char *feed_complaint(const struct feed *feed, const struct fetch *fetch)
{
    size_t max_message = feed->feeds->publisher->max_message;
    if (fetch->status >= 400)
        return "it answered the feed with an error (4xx)";
    if (fetch->body.len > (max_message > FEED_ANSWER_MAX ? max_message : FEED_ANSWER_MAX))
        return "its answer is too large for a feed: let its URL ask for less, as with limit=10, or "
               "raise --max-message";
    return NULL;
}

/* Takes an answer with which nothing is wrong. Returns false when out of memory. */
static bool take_answer(struct feed *feed, const struct fetch *fetch)
{
    char *cursor;
    bool news = feed_understand(fetch->body.bytes, fetch->body.len, feed->upstream->cursor_field,
                                &cursor) &&
                fetch->status < 300;
    bool gap = feed->missed && !feed->cursor;
    struct message *message = news  ? answer_message(feed, &fetch->body, cursor)
                              : gap ? word_message(feed, cursor)
                                    : NULL;
    if (!message && (news || gap)) {
        free(cursor);
        return false;
    }
    feed->missed = false;
    feed->moved = cursor && (!feed->cursor || strcmp(cursor, feed->cursor) != 0);
    if (message) {
        append_item(feed, message, cursor);
        return true;
    }
    set_feed_cursor(feed, cursor);
    if (feed->item_count == 0)
        set_feed_timer(feed, pause_ms(feed));
    return true;
}

static const char *on_feed_answered(struct keeper *keeper, const struct fetch *fetch)
{
    struct feed *feed = OWNER(struct feed, keeper, keeper);
    const char *fault = feed_complaint(feed, fetch);
    feed->polling = false;
    if (!fault && !take_answer(feed, fetch))
        fault = "there is no memory for its answer";
    if (!fault) {
        keeper->wrong_ms = 0;
        return NULL;
    }
    feed->missed = true;
    keeper->lasted_ms = timer_now_ms() - feed->began_ms;
    if (keeper->wrong_ms == 0)
        keeper->wrong_ms = timer_now_ms();
    if (feed->item_count == 0)
        set_feed_timer(feed, backoff_ms(keeper->wrong_ms));
    return fault;
}

static void on_feed_failed(struct keeper *keeper)
{
    OWNER(struct feed, keeper, keeper)->missed = true;
}

static void on_feed_reached(struct keeper *keeper)
{
    struct feed *feed = OWNER(struct feed, keeper, keeper);
    keeper->wrong_ms = 0;
    struct message *message =
        feed->missed && !feed->cursor && feed->item_count == 0 ? word_message(feed, NULL) : NULL;
    if (!message)
        return; /* the next answer will tell */
    feed->missed = false;
    append_item(feed, message, NULL);
}

/* ---- life ---- */

struct feeds *feeds_open(struct loop *loop, struct relay *relay, struct publisher *publisher,
                         const struct upstreams *upstreams, char *why, size_t why_size)
{
    struct feeds *feeds = calloc(1, sizeof *feeds + upstreams->count * sizeof *feeds->feeds);
    if (!feeds) {
        snprintf(why, why_size, "out of memory");
        return NULL;
    }
    feeds->timers = &loop->timers;
    feeds->relay = relay;
    feeds->publisher = publisher;
    for (size_t i = 0; i < upstreams->count; i++) {
        if (!upstreams->items[i].channel)
            continue;
        struct feed *feed = &feeds->feeds[feeds->count++];
        *feed = (struct feed){.keeper = {.answered = on_feed_answered,
                                         .failed = on_feed_failed,
                                         .reached = on_feed_reached},
                              .feeds = feeds,
                              .upstream = &upstreams->items[i],
                              .before = UINT64_MAX,
                              .timer.fire = on_feed_timer};
        look_back(feed);
    }
    return feeds;
}

void feeds_stop(struct feeds *feeds)
{
    feeds->stopped = true;
    for (size_t i = 0; i < feeds->count; i++) {
        struct feed *feed = &feeds->feeds[i];
        timer_clear(feeds->timers, &feed->timer);
        if (feed->read)
            log_read_cancel(feeds->publisher->log, feed->read);
        feed->read = NULL;
    }
}

void feeds_close(struct feeds *feeds)
{
    if (!feeds)
        return;
    feeds_stop(feeds);
    for (size_t i = 0; i < feeds->count; i++) {
        struct feed *feed = &feeds->feeds[i];
        if (feed->append)
            publish_forget(feed->append);
        for (unsigned item = 0; item < feed->item_count; item++) {
            message_drop(feed->items[item].message);
            free(feed->items[item].cursor);
        }
        free(feed->cursor);
    }
    buf_free(&feeds->query);
    free(feeds);
}

void feed_stats(const struct feeds *feeds, const struct upstream *upstream,
                struct feed_stats *stats)
{
    *stats = (struct feed_stats){0};
    for (size_t i = 0; i < feeds->count; i++)
        if (feeds->feeds[i].upstream == upstream)
            *stats = (struct feed_stats){.channel = upstream->channel,
                                         .cursor = feeds->feeds[i].cursor,
                                         .appended = feeds->feeds[i].appended,
                                         .shortened = feeds->feeds[i].shortened};
}

#include "fcgi/feed.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/diag.h"
#include "fcgi/form.h"
#include "fcgi/server.h"

/* Either a poll is kept, or a message waits for its commit, or the timer is set: for the next poll,
 * or for the next try to append. */
struct feed {
    struct keeper keeper;
    struct feeds *feeds;
    const struct upstream *upstream;
    char *cursor;            /* of the last answer that is committed; NULL: none */
    char *next_cursor;       /* the cursor once `message` is committed; NULL: as it is */
    struct message *message; /* to be appended, one reference; NULL: nothing */
    struct append *append;   /* under way */
    struct timer timer;
    uint64_t began_ms; /* of the latest poll */
    bool moved;        /* the latest answer's cursor was a new one */
    bool missed;       /* something may have been, for want of a cursor */
    uint64_t appended;
};

struct feeds {
    struct server *server;
    struct relay *relay;
    bool stopped;
    size_t count;
    struct feed feeds[];
};

#define OWNER(pointer, member) ((struct feed *)((char *)(pointer)-offsetof(struct feed, member)))

/* ---- what an answer says ---- */

static char *cursor_of(const json_t *value)
{
    char digits[24];
    const char *text = json_string_value(value);
    if (json_is_integer(value)) {
        snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        text = digits;
    }
    return text && strlen(text) <= FEED_CURSOR_MAX ? strdup(text) : NULL;
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
    *cursor = cursor_of(json_object_get(answer, field));
    json_decref(answer);
    return !nothing;
}

/* ---- polling ---- */

static void set_timer(struct feed *feed, uint64_t ms)
{
    timer_set(&feed->feeds->server->loop.timers, &feed->timer, ms);
}

static void ask(struct feed *feed)
{
    struct buf *query = &feed->feeds->server->scratch;
    upstream_query_from(feed->upstream, feed->cursor, query);
    feed->began_ms = timer_now_ms();
    if (!buf_ok(query) ||
        !relay_keep(feed->feeds->relay, &feed->keeper, feed->upstream, query->bytes))
        set_timer(feed, RELAY_RETRY_MS);
}

/* How long the next poll has to wait: an upstream that always answers at once is not asked as fast
 * as it can. */
static uint64_t pause_ms(const struct feed *feed)
{
    uint64_t pace = feed->moved ? FEED_PACE_MS : FEED_IDLE_PACE_MS;
    uint64_t lasted = timer_now_ms() - feed->began_ms;
    return lasted < pace ? pace - lasted : 0;
}

static void ask_in_time(struct feed *feed)
{
    uint64_t ms = pause_ms(feed);
    if (ms > 0)
        set_timer(feed, ms);
    else
        ask(feed);
}

/* ---- appending ---- */

static void move_on(struct feed *feed)
{
    if (!feed->next_cursor)
        return;
    free(feed->cursor);
    feed->cursor = feed->next_cursor;
    feed->next_cursor = NULL;
}

static void append(struct feed *feed)
{
    struct server *server = feed->feeds->server;
    enum log_status status =
        log_append(server->log, message_hold(feed->message), NULL, &feed->append);
    if (status == LOG_OK)
        return;
    feed->append = NULL;
    message_drop(feed->message);
    server_note_create(server, status);
    set_timer(feed, RELAY_RETRY_MS);
}

static void on_timer(struct timer *timer)
{
    struct feed *feed = OWNER(timer, timer);
    if (feed->message)
        append(feed);
    else
        ask(feed);
}

/* The message that says no more than that something changed, and the cursor, if there is one. */
static struct message *word(const struct feed *feed, const char *cursor)
{
    const char *field = feed->upstream->cursor_field;
    json_t *json = cursor ? json_pack("{s:s,s:s}", "ret", "new", field, cursor)
                          : json_pack("{s:s}", "ret", "new");
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    struct message *message =
        text ? message_new(feed->upstream->channel, text, strlen(text), message_time_now()) : NULL;
    free(text);
    json_decref(json);
    return message;
}

/* An answer as a message; or as the word, if the log does not take such messages from anybody. */
static struct message *message_of(const struct feed *feed, const struct fetch *fetch,
                                  const char *cursor)
{
    struct text body = {fetch->body.bytes, fetch->body.len};
    size_t most = (size_t)feed->feeds->server->options->max_message;
    if (body.len > most || memchr(body.bytes, '\0', body.len) || !text_is_utf8(body))
        return word(feed, cursor);
    return message_new(feed->upstream->channel, body.bytes, body.len, message_time_now());
}

static const char *on_answered(struct keeper *keeper, const struct fetch *fetch)
{
    struct feed *feed = OWNER(keeper, keeper);
    char *cursor;
    if (fetch->status >= 400)
        return "it answered the feed with an error (4xx)";
    bool news = feed_understand(fetch->body.bytes, fetch->body.len, feed->upstream->cursor_field,
                                &cursor) &&
                fetch->status < 300;
    bool gap = feed->missed && !feed->cursor;
    struct message *message = NULL;
    if (news)
        message = message_of(feed, fetch, cursor);
    else if (gap)
        message = word(feed, cursor);
    if (!message && (news || gap)) {
        free(cursor);
        return "there is no memory for its answer";
    }
    feed->missed = false;
    feed->moved = cursor && (!feed->cursor || strcmp(cursor, feed->cursor) != 0);
    free(feed->next_cursor);
    feed->next_cursor = cursor;
    feed->message = message;
    if (message) {
        append(feed);
    } else {
        move_on(feed);
        set_timer(feed, pause_ms(feed)); /* the poll at hand has not ended yet */
    }
    return NULL;
}

static void on_failed(struct keeper *keeper)
{
    struct feed *feed = OWNER(keeper, keeper);
    feed->missed = true;
}

static void on_reached(struct keeper *keeper)
{
    struct feed *feed = OWNER(keeper, keeper);
    if (feed->missed && !feed->cursor && (feed->message = word(feed, NULL)) != NULL) {
        feed->missed = false;
        append(feed);
    } else {
        ask(feed);
    }
}

static void on_committed(struct feed *feed, enum log_status status)
{
    feed->append = NULL;
    if (feed->feeds->stopped)
        return;
    if (status != LOG_OK) {
        set_timer(feed, RELAY_RETRY_MS);
        return;
    }
    message_drop(feed->message);
    feed->message = NULL;
    feed->appended++;
    move_on(feed);
    ask_in_time(feed);
}

void feeds_committed(struct feeds *feeds, const struct append_list *done)
{
    for (size_t i = 0; i < feeds->count; i++) {
        struct feed *feed = &feeds->feeds[i];
        const struct append *append;
        if (!feed->append)
            continue;
        STAILQ_FOREACH (append, done, next)
            if (append == feed->append) {
                on_committed(feed, append->status);
                break;
            }
    }
}

/* ---- life ---- */

/* Reads where the feed stood from the channel's newest message. */
static int resume(struct feed *feed, char *why, size_t why_size)
{
    struct log *log = feed->feeds->server->log;
    const char *channel = feed->upstream->channel;
    struct message *newest;
    enum log_status status = log_newest(log, channel, &newest);
    if (status != LOG_OK) {
        const char *error = log_error(log);
        snprintf(why, why_size, "cannot read channel %s: %s", channel,
                 error ? error : log_status_text(status));
        return -1;
    }
    if (newest)
        feed_understand(message_data(newest), newest->data_len, feed->upstream->cursor_field,
                        &feed->cursor);
    message_drop(newest);
    return 0;
}

struct feeds *feeds_open(struct server *server, struct relay *relay,
                         const struct upstreams *upstreams, char *why, size_t why_size)
{
    struct feeds *feeds = calloc(1, sizeof *feeds + upstreams->count * sizeof *feeds->feeds);
    if (!feeds) {
        snprintf(why, why_size, "out of memory");
        return NULL;
    }
    feeds->server = server;
    feeds->relay = relay;
    for (size_t i = 0; i < upstreams->count; i++) {
        if (!upstreams->items[i].channel)
            continue;
        struct feed *feed = &feeds->feeds[feeds->count++];
        *feed = (struct feed){.keeper = {on_answered, on_failed, on_reached},
                              .feeds = feeds,
                              .upstream = &upstreams->items[i],
                              .timer.fire = on_timer};
        if (resume(feed, why, why_size) != 0) {
            feeds_close(feeds);
            return NULL;
        }
    }
    for (size_t i = 0; i < feeds->count; i++)
        ask(&feeds->feeds[i]);
    return feeds;
}

void feeds_stop(struct feeds *feeds)
{
    feeds->stopped = true;
    for (size_t i = 0; i < feeds->count; i++)
        timer_clear(&feeds->server->loop.timers, &feeds->feeds[i].timer);
}

void feeds_close(struct feeds *feeds)
{
    if (!feeds)
        return;
    feeds_stop(feeds);
    for (size_t i = 0; i < feeds->count; i++) {
        message_drop(feeds->feeds[i].message);
        free(feeds->feeds[i].cursor);
        free(feeds->feeds[i].next_cursor);
    }
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
                                         .appended = feeds->feeds[i].appended};
}

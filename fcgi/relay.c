/* see group.c */
#define HASH_NONFATAL_OOM 1

#include "fcgi/relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "fcgi/diag.h"
#include "fcgi/render.h"
#include "fcgi/server.h"

struct line;

struct poll {
    UT_hash_handle hh; /* by query, among its line's */
    struct line *line;
    struct fetch fetch;
    struct conn_list conns;
    unsigned clients;      /* in conns */
    struct keeper *keeper; /* NULL: only clients want it */
    uint64_t began_ms;     /* of the latest request; 0: none yet */
    uint64_t failing_ms;   /* since when its requests fail; 0: they do not */
    bool busy;             /* its clients are being answered: it must not be freed yet */
    struct timer timer;    /* under way: the proof; unwanted: the end of its memory */
    char query[];
};

/* An upstream, and how it is doing. */
struct line {
    struct relay *relay;
    const struct upstream *upstream;
    struct target target;
    struct poll *polls;
    uint64_t down_ms; /* since when it is out of reach; 0: it is not */
    struct fetch probe;
    struct timer retry_timer;
    bool failing;     /* the latest request was no success */
    bool troubled;    /* and the operator has been told */
    uint64_t told_ms; /* when; 0: never */
    unsigned clients;
    uint64_t asked, requests, coalesced, answers, errors[RELAY_ERRORS];
    char last_error[96];
};

struct relay {
    struct server *server;
    struct fetcher fetcher;
    const struct upstreams *upstreams;
    unsigned polls, polls_max;
    bool stopped;
    struct line lines[]; /* as many as upstreams */
};

#define OWNER(type, pointer, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static struct timers *timers_of(struct relay *relay)
{
    return &relay->server->loop.timers;
}

static struct line *line_to(struct relay *relay, const struct upstream *upstream)
{
    return &relay->lines[upstream - relay->upstreams->items];
}

/* ---- what the operator hears ---- */

/* Says it, unless a line on this upstream was said a minute ago. */
static void note_trouble(struct line *line, enum relay_error error, const char *what)
{
    enum { MINUTE_MS = 60000 };
    uint64_t now = timer_now_ms();
    line->errors[error]++;
    line->failing = true;
    snprintf(line->last_error, sizeof line->last_error, "%s", what);
    if (line->troubled || (line->told_ms != 0 && now - line->told_ms < MINUTE_MS))
        return;
    line->troubled = true;
    line->told_ms = now;
    diag(DIAG_WARN, "upstream %s: %s; clients are told to look for themselves",
         line->upstream->name, what);
}

static void note_recovery(struct line *line)
{
    if (line->troubled)
        diag(DIAG_INFO, "upstream %s answers again", line->upstream->name);
    line->troubled = line->failing = false;
}

/* ---- the life of a poll ---- */

static void on_fetched(struct fetch *fetch, enum fetch_end end);
static void on_poll_timer(struct timer *timer);

static void poll_free(struct poll *poll)
{
    struct line *line = poll->line;
    fetch_cancel(&poll->fetch);
    timer_clear(timers_of(line->relay), &poll->timer);
    HASH_DEL(line->polls, poll);
    line->relay->polls--;
    free(poll);
}

/* Nobody waits for it any more. One that failed is remembered for a while, or whoever asks again
 * would always be the first. */
static void poll_unwanted(struct poll *poll)
{
    if (poll->busy || poll->clients > 0 || poll->keeper)
        return;
    fetch_cancel(&poll->fetch);
    if (poll->failing_ms != 0 && !poll->line->relay->stopped)
        timer_set(timers_of(poll->line->relay), &poll->timer, RELAY_MEMORY_MS);
    else
        poll_free(poll);
}

/* Makes room by forgetting a failed poll that nobody waits for. */
static void forget_one(struct relay *relay)
{
    for (size_t i = 0; i < relay->upstreams->count; i++)
        for (struct poll *poll = relay->lines[i].polls; poll; poll = poll->hh.next)
            if (poll->clients == 0 && !poll->keeper && !poll->busy) {
                poll_free(poll);
                return;
            }
}

static struct poll *poll_new(struct line *line, const char *query)
{
    struct relay *relay = line->relay;
    size_t len = strlen(query);
    struct poll *poll = calloc(1, sizeof *poll + len + 1);
    if (!poll)
        return NULL;
    poll->line = line;
    poll->fetch.done = on_fetched;
    poll->timer.fire = on_poll_timer;
    LIST_INIT(&poll->conns);
    memcpy(poll->query, query, len + 1);
    HASH_ADD_STR(line->polls, query, poll);
    if (!poll->hh.tbl) {
        free(poll);
        return NULL;
    }
    relay->polls++;
    return poll;
}

/* How long to wait with saying so of what has been failing since then: a client that asks again at
 * once waits 1, 2, 4 … 30 seconds. */
static uint64_t wait_ms(uint64_t since_ms)
{
    uint64_t ms = RELAY_WAIT_MS + timer_now_ms() - since_ms;
    return timer_jittered(ms < RELAY_WAIT_MAX_MS ? ms : RELAY_WAIT_MAX_MS);
}

static uint64_t failing_since(const struct poll *poll)
{
    return poll->line->down_ms != 0 ? poll->line->down_ms : poll->failing_ms;
}

/* ---- requests ---- */

static bool start(struct poll *poll)
{
    struct line *line = poll->line;
    char *url = upstream_url(line->upstream, poll->query);
    bool started = url && fetch_start(&line->target, &poll->fetch, url);
    curl_free(url);
    poll->began_ms = timer_now_ms();
    if (started && poll->failing_ms != 0)
        timer_set(timers_of(line->relay), &poll->timer, RELAY_PROOF_MS);
    line->requests += started;
    return started;
}

/* Hands everybody the frame, of which it takes over the caller's reference. The poll stays. */
static void answer_all(struct poll *poll, struct frame *frame)
{
    bool was_busy = poll->busy;
    poll->busy = true;
    for (unsigned left = poll->clients; left > 0; left--)
        conn_answer(LIST_FIRST(&poll->conns), frame ? frame_hold(frame) : NULL);
    poll->busy = was_busy;
    frame_drop(frame);
}

/* Has what waits on the line tried again, soon. */
static void retry_soon(struct line *line)
{
    if (line->retry_timer.due_tick == 0)
        timer_set(timers_of(line->relay), &line->retry_timer, RELAY_RETRY_MS);
}

/* The poll has failed: whoever waits is answered after a while. */
static void fail(struct poll *poll)
{
    struct timers *timers = timers_of(poll->line->relay);
    struct conn *conn;
    timer_clear(timers, &poll->timer);
    fetch_cancel(&poll->fetch); /* what came of it is of no use */
    LIST_FOREACH (conn, &poll->conns, link)
        timer_hasten(timers, &conn->timer, wait_ms(failing_since(poll)));
    if (poll->keeper)
        poll->keeper->failed(poll->keeper);
    retry_soon(poll->line);
    poll_unwanted(poll);
}

static void fail_alone(struct poll *poll, enum relay_error error, const char *what)
{
    note_trouble(poll->line, error, what);
    /* a request that was held for long before it failed was no failure of this kind */
    uint64_t now = timer_now_ms();
    if (poll->failing_ms == 0 || now - poll->began_ms > RELAY_WAIT_MAX_MS)
        poll->failing_ms = now;
    fail(poll);
}

static void go_down(struct line *line, const char *what)
{
    note_trouble(line, RELAY_UNREACHABLE, what);
    if (line->down_ms == 0)
        line->down_ms = timer_now_ms();
    retry_soon(line);
}

/* Makes the request of a poll that somebody wants. */
static void try(struct poll *poll)
{
    if (!start(poll))
        fail_alone(poll, RELAY_BROKEN, "there is no memory for a request");
}

/* The same, unless it has to wait for its line, or was made just now. */
static void pursue(struct poll *poll)
{
    bool just_now = timer_now_ms() - poll->began_ms < RELAY_RETRY_MS;
    if (poll->line->down_ms != 0 || (poll->failing_ms != 0 && just_now))
        retry_soon(poll->line);
    else
        try(poll);
}

/* ---- the way back ---- */

static bool waits(const struct poll *poll)
{
    return !fetch_under_way(&poll->fetch) && !poll->busy && (poll->clients > 0 || poll->keeper);
}

/* Of the polls that wait, the one that was tried the longest time ago. */
static struct poll *next_to_try(const struct line *line)
{
    struct poll *next = NULL;
    for (struct poll *poll = line->polls; poll; poll = poll->hh.next)
        if (waits(poll) && (!next || poll->began_ms < next->began_ms))
            next = poll;
    return next;
}

/* Once a second: a connection, if the line is down, or else one request. */
static void on_retry_timer(struct timer *timer)
{
    struct line *line = OWNER(struct line, timer, retry_timer);
    struct poll *poll = next_to_try(line);
    if (!poll || fetch_under_way(&line->probe))
        return;
    if (line->down_ms == 0) {
        pursue(poll);
        retry_soon(line);
        return;
    }
    char *url = upstream_url(line->upstream, "");
    if (!url || !fetch_probe(&line->target, &line->probe, url))
        retry_soon(line);
    curl_free(url);
}

/* The upstream does again what it failed to do: all who wait have their request made at once. */
static void try_all(struct line *line)
{
    for (struct poll *poll = line->polls; poll; poll = poll->hh.next)
        if (waits(poll))
            pursue(poll);
}

/* The line can be reached again: tells all who waited for that. */
static void come_back(struct line *line)
{
    line->down_ms = 0;
    struct frame *frame = render_word(true);
    struct keeper *keeper = NULL; /* an upstream has but one */
    struct poll *next;
    for (struct poll *poll = line->polls; poll; poll = next) {
        next = poll->hh.next;
        if (!waits(poll))
            continue;
        answer_all(poll, frame ? frame_hold(frame) : NULL);
        if (poll->keeper)
            keeper = poll->keeper;
        poll->keeper = NULL;
        poll_unwanted(poll);
    }
    frame_drop(frame);
    if (keeper)
        keeper->reached(keeper);
}

static void on_probed(struct fetch *fetch, enum fetch_end end)
{
    struct line *line = OWNER(struct line, fetch, probe);
    if (end == FETCH_ANSWERED) {
        note_recovery(line);
        come_back(line);
    } else {
        go_down(line, fetch->why);
    }
}

/* Either a request that used to fail is held by the upstream, as a good one is: whoever waited for
 * that may look now. Or it is time to forget a poll that nobody wants. */
static void on_poll_timer(struct timer *timer)
{
    struct poll *poll = OWNER(struct poll, timer, timer);
    struct line *line = poll->line;
    struct keeper *keeper = NULL;
    if (fetch_under_way(&poll->fetch)) {
        note_recovery(line);
        poll->failing_ms = 0;
        answer_all(poll, render_word(true));
        keeper = poll->keeper;
        poll->keeper = NULL;
        try_all(line);
    }
    poll_unwanted(poll);
    if (keeper)
        keeper->reached(keeper);
}

/* ---- answers ---- */

static void give(struct poll *poll)
{
    struct line *line = poll->line;
    struct fetch *fetch = &poll->fetch;
    bool recovered = poll->failing_ms != 0;
    line->answers++;
    note_recovery(line);
    poll->failing_ms = 0;
    timer_clear(timers_of(line->relay), &poll->timer);
    answer_all(poll, frame_relayed(fetch->status, fetch->reason, fetch->type, fetch->body.bytes,
                                   fetch->body.len));
    if (poll->keeper) {
        struct keeper *keeper = poll->keeper;
        const char *fault = keeper->answered(keeper, fetch);
        if (fault) {
            fail_alone(poll, RELAY_STATUS, fault);
            return;
        }
        poll->keeper = NULL;
    }
    poll_unwanted(poll);
    if (recovered)
        try_all(line);
}

static void on_fetched(struct fetch *fetch, enum fetch_end end)
{
    static const enum relay_error errors[] = {[FETCH_TIMED_OUT] = RELAY_TIMEOUT,
                                              [FETCH_BROKEN] = RELAY_BROKEN,
                                              [FETCH_REFUSED] = RELAY_REFUSED};
    struct poll *poll = OWNER(struct poll, fetch, fetch);
    struct line *line = poll->line;
    if (end == FETCH_UNREACHABLE) {
        go_down(line, fetch->why);
        fail(poll);
        return;
    }
    if (line->down_ms != 0) {
        poll->busy = true; /* what came for it is for its own clients */
        come_back(line);
        poll->busy = false;
    }
    char what[64];
    if (end == FETCH_ANSWERED && fetch->status < 500) {
        give(poll);
    } else if (end == FETCH_ANSWERED) {
        snprintf(what, sizeof what, "it answered %d", fetch->status);
        fail_alone(poll, RELAY_STATUS, what);
    } else {
        fail_alone(poll, errors[end], fetch->why);
    }
}

/* ---- who asks ---- */

/* The poll of that query, perhaps a new one. NULL: there are too many, or there is no memory. */
static struct poll *poll_for(struct line *line, const char *query)
{
    struct relay *relay = line->relay;
    struct poll *poll;
    HASH_FIND_STR(line->polls, query, poll);
    if (!poll && relay->polls >= relay->polls_max)
        forget_one(relay);
    if (!poll && relay->polls < relay->polls_max)
        poll = poll_new(line, query);
    if (poll && !fetch_under_way(&poll->fetch))
        timer_clear(timers_of(relay), &poll->timer); /* it is wanted again */
    return poll;
}

static void refuse(struct conn *conn, bool too_many)
{
    char header[RETRY_AFTER_SIZE];
    conn->server->refused += too_many;
    conn_refuse(conn, 503, retry_after(header),
                too_many ? "too many different requests to upstreams are under way"
                         : "out of memory");
}

void relay_ask(struct relay *relay, struct conn *conn, const struct upstream *upstream,
               const char *query, uint64_t ms)
{
    struct server *server = relay->server;
    struct line *line = line_to(relay, upstream);
    line->asked++;
    if (!server_admit(conn))
        return;
    struct poll *poll = poll_for(line, query);
    if (!poll) {
        refuse(conn, relay->polls >= relay->polls_max);
        return;
    }
    server->held++;
    line->clients++;
    poll->clients++;
    conn_relay(conn, poll, &poll->conns, ms);
    if (fetch_under_way(&poll->fetch)) {
        line->coalesced++;
        return;
    }
    pursue(poll);
    if (!fetch_under_way(&poll->fetch))
        timer_hasten(timers_of(relay), &conn->timer, wait_ms(failing_since(poll)));
}

bool relay_keep(struct relay *relay, struct keeper *keeper, const struct upstream *upstream,
                const char *query)
{
    struct poll *poll = relay->stopped ? NULL : poll_for(line_to(relay, upstream), query);
    if (!poll)
        return false;
    poll->keeper = keeper;
    if (!fetch_under_way(&poll->fetch))
        pursue(poll);
    return true;
}

void relay_expired(struct conn *conn)
{
    conn_answer(conn, render_word(failing_since(conn->u.poll) != 0));
}

void relay_left(struct server *server, struct poll *poll)
{
    server->held--;
    poll->line->clients--;
    poll->clients--;
    poll_unwanted(poll);
    server_left(server);
}

/* ---- life ---- */

static int open_line(struct line *line, struct relay *relay, const struct upstream *upstream)
{
    *line = (struct line){.relay = relay,
                          .upstream = upstream,
                          .probe.done = on_probed,
                          .retry_timer.fire = on_retry_timer};
    char *url = upstream_url(upstream, "");
    int rc = url ? target_open(&line->target, &relay->fetcher, url) : -1;
    curl_free(url);
    return rc;
}

struct relay *relay_open(struct server *server, const struct upstreams *upstreams,
                         unsigned polls_max)
{
    struct relay *relay = calloc(1, sizeof *relay + upstreams->count * sizeof *relay->lines);
    if (!relay)
        return NULL;
    relay->server = server;
    relay->upstreams = upstreams;
    relay->polls_max = polls_max;
    int rc = fetcher_open(&relay->fetcher, &server->loop, server->options,
                          polls_max + (unsigned)upstreams->count); /* each has a probe, too */
    for (size_t i = 0; rc == 0 && i < upstreams->count; i++)
        rc = open_line(&relay->lines[i], relay, &upstreams->items[i]);
    if (rc == 0)
        return relay;
    relay_close(relay);
    return NULL;
}

/* Ends all that is under way, once `end` has made its clients leave. */
static void stop(struct relay *relay, void (*end)(struct poll *poll))
{
    relay->stopped = true;
    for (size_t i = 0; i < relay->upstreams->count; i++) {
        struct line *line = &relay->lines[i];
        fetch_cancel(&line->probe);
        timer_clear(timers_of(relay), &line->retry_timer);
        struct poll *next;
        for (struct poll *poll = line->polls; poll; poll = next) {
            next = poll->hh.next;
            poll->busy = true;
            end(poll);
            poll_free(poll);
        }
    }
}

static void say_punt(struct poll *poll)
{
    answer_all(poll, render_word(false));
}

void relay_release(struct relay *relay)
{
    stop(relay, say_punt);
}

static void hang_up(struct poll *poll)
{
    while (!LIST_EMPTY(&poll->conns))
        conn_end(LIST_FIRST(&poll->conns));
}

void relay_close(struct relay *relay)
{
    if (!relay)
        return;
    stop(relay, hang_up);
    for (size_t i = 0; i < relay->upstreams->count; i++)
        target_close(&relay->lines[i].target);
    fetcher_close(&relay->fetcher);
    free(relay);
}

void relay_stats(struct relay *relay, const struct upstream *upstream, struct relay_stats *stats)
{
    const struct line *line = line_to(relay, upstream);
    *stats = (struct relay_stats){.tried = line->requests > 0,
                                  .failing = line->failing,
                                  .down_ms = line->down_ms ? timer_now_ms() - line->down_ms : 0,
                                  .clients = line->clients,
                                  .asked = line->asked,
                                  .requests = line->requests,
                                  .coalesced = line->coalesced,
                                  .answers = line->answers,
                                  .last_error = *line->last_error ? line->last_error : NULL};
    memcpy(stats->errors, line->errors, sizeof stats->errors);
    for (struct poll *poll = line->polls; poll; poll = poll->hh.next)
        stats->under_way += fetch_under_way(&poll->fetch);
}

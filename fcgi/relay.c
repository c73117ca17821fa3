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

/* An uplink is up or down, and each of its polls is fine or failing:
 *
 *     up      -- a request finds no connection -----------------------> down
 *     down    -- a request connects, or an older one is answered -----> up
 *     fine    -- a request ends in any other error -------------------> failing
 *     failing -- a good answer; or a request is held for longer than
 *                the one before took to fail -------------------------> fine
 *
 * While an uplink is down, or a poll is failing, a request is made once a second, as long as
 * somebody waits. When it is up again, all who wait are told; when a poll is fine again, its
 * clients are, and the others that fail are tried at once. */

struct uplink;

struct poll {
    UT_hash_handle hh; /* by query, among its uplink's */
    struct uplink *uplink;
    struct fetch fetch;
    struct conn_list conns;
    unsigned clients;      /* in conns */
    struct keeper *keeper; /* NULL: only clients want it; see set_keeper */
    uint64_t began_ms;     /* of the latest request; 0: none yet */
    uint64_t lasted_ms;    /* how long the latest failure took */
    uint64_t failing_ms;   /* since when its requests fail; 0: it is fine */
    bool owed;             /* a client has waited since before the request under way */
    bool busy;             /* it must not be freed yet */
    struct timer timer;    /* under way: see on_poll_timer; unwanted: the end of its memory */
    char query[];
};

/* An upstream, and how it is doing. */
struct uplink {
    struct relay *relay;
    const struct upstream *upstream;
    struct target target;
    struct poll *polls;
    uint64_t down_ms;    /* since when it is out of reach; 0: it is up */
    uint64_t trouble_ms; /* since when there was no success; 0: all is well */
    uint64_t tried_ms;   /* when its latest request was made */
    struct timer retry_timer;
    bool warned;      /* the operator knows of the trouble */
    uint64_t told_ms; /* when the latest warning was; 0: never */
    unsigned clients;
    uint64_t asked, requests, coalesced, answers, turned_away, errors[RELAY_ERRORS];
    char last_error[160];
};

struct relay {
    struct server *server;
    struct fetcher fetcher;
    const struct upstreams *upstreams;
    unsigned polls;     /* all */
    unsigned kept;      /* those with a keeper, which are not limited */
    unsigned polls_max; /* those without */
    bool full;          /* they were too many, and the operator has been told */
    bool stopped;
    struct uplink uplinks[]; /* as many as upstreams */
};

static struct timers *timers_of(struct relay *relay)
{
    return &relay->server->loop.timers;
}

static struct uplink *uplink_to(struct relay *relay, const struct upstream *upstream)
{
    return &relay->uplinks[upstream - relay->upstreams->items];
}

/* ---- what the operator hears ---- */

/* Copies what may hold bytes of the upstream's. */
static void copy_printable(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
    for (; *to; to++)
        if (*to < ' ' || *to > '~')
            *to = '?';
}

/* Says it, unless something was said of this upstream a minute ago. */
static void note_trouble(struct uplink *uplink, enum relay_error error, const char *what)
{
    enum { MINUTE_MS = 60000 };
    uint64_t now = timer_now_ms();
    uplink->errors[error]++;
    if (uplink->trouble_ms == 0)
        uplink->trouble_ms = now;
    copy_printable(uplink->last_error, sizeof uplink->last_error, what);
    if (uplink->warned || (uplink->told_ms != 0 && now - uplink->told_ms < MINUTE_MS))
        return;
    uplink->warned = true;
    uplink->told_ms = now;
    diag(DIAG_WARN, "upstream %s: %s; clients are told to look for themselves",
         uplink->upstream->name, uplink->last_error);
}

static void note_recovery(struct uplink *uplink)
{
    if (uplink->warned)
        diag(DIAG_INFO, "upstream %s answers again", uplink->upstream->name);
    uplink->warned = false;
    uplink->trouble_ms = 0;
}

/* Told once, and again only after it had become better by a tenth. */
static void note_too_many(struct uplink *uplink)
{
    struct relay *relay = uplink->relay;
    uplink->turned_away++;
    if (!relay->full)
        diag(DIAG_WARN,
             "%u different requests to upstreams are under way, the limit (--upstream-requests): "
             "refusing more",
             relay->polls_max);
    relay->full = true;
}

/* ---- the life of a poll ---- */

static void on_fetched(struct fetch *fetch, enum fetch_end end);
static void on_poll_timer(struct timer *timer);

static void set_keeper(struct poll *poll, struct keeper *keeper)
{
    struct relay *relay = poll->uplink->relay;
    relay->kept += (keeper != NULL);
    relay->kept -= (poll->keeper != NULL);
    poll->keeper = keeper;
}

static void poll_free(struct poll *poll)
{
    struct uplink *uplink = poll->uplink;
    struct relay *relay = uplink->relay;
    fetch_cancel(&poll->fetch);
    timer_clear(timers_of(relay), &poll->timer);
    set_keeper(poll, NULL);
    HASH_DEL(uplink->polls, poll);
    relay->polls--;
    if (relay->polls < relay->polls_max - relay->polls_max / 10)
        relay->full = false;
    free(poll);
}

/* Nobody waits for it any more. One that failed is remembered for a while, or whoever asks again
 * would always be the first. */
static void poll_unwanted(struct poll *poll)
{
    if (poll->busy || poll->clients > 0 || poll->keeper)
        return;
    fetch_cancel(&poll->fetch);
    if (poll->failing_ms != 0 && !poll->uplink->relay->stopped)
        timer_set(timers_of(poll->uplink->relay), &poll->timer, RELAY_MEMORY_MS);
    else
        poll_free(poll);
}

/* Makes room by forgetting a failed poll that nobody waits for. */
static void forget_one(struct relay *relay)
{
    for (size_t i = 0; i < relay->upstreams->count; i++)
        for (struct poll *poll = relay->uplinks[i].polls; poll; poll = poll->hh.next)
            if (poll->clients == 0 && !poll->keeper && !poll->busy) {
                poll_free(poll);
                return;
            }
}

static struct poll *poll_new(struct uplink *uplink, const char *query)
{
    size_t len = strlen(query);
    struct poll *poll = calloc(1, sizeof *poll + len + 1);
    if (!poll)
        return NULL;
    poll->uplink = uplink;
    poll->fetch.done = on_fetched;
    poll->timer.fire = on_poll_timer;
    LIST_INIT(&poll->conns);
    memcpy(poll->query, query, len + 1);
    HASH_ADD_STR(uplink->polls, query, poll);
    if (!poll->hh.tbl) {
        free(poll);
        return NULL;
    }
    uplink->relay->polls++;
    return poll;
}

/* ---- requests ---- */

uint64_t relay_wait_ms(uint64_t since_ms)
{
    uint64_t ms = RELAY_WAIT_MS + timer_now_ms() - since_ms;
    return timer_jittered(ms < RELAY_WAIT_MAX_MS ? ms : RELAY_WAIT_MAX_MS);
}

/* How long those who wait for the poll have to. */
static uint64_t wait_ms(const struct poll *poll)
{
    return relay_wait_ms(poll->uplink->down_ms != 0 ? poll->uplink->down_ms : poll->failing_ms);
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

/* Has what waits on the uplink tried again, soon. */
static void retry_soon(struct uplink *uplink)
{
    if (uplink->retry_timer.due_tick == 0)
        timer_set(timers_of(uplink->relay), &uplink->retry_timer, RELAY_RETRY_MS);
}

/* Nothing is under way for the poll, and will not be at once: whoever waits is answered after a
 * while, or when it works again. */
static void put_off(struct poll *poll)
{
    struct timers *timers = timers_of(poll->uplink->relay);
    struct conn *conn;
    LIST_FOREACH (conn, &poll->conns, link)
        timer_hasten(timers, &conn->timer, wait_ms(poll));
    poll->owed = poll->clients > 0;
    if (poll->keeper)
        poll->keeper->failed(poll->keeper);
    retry_soon(poll->uplink);
}

/* The poll's request has failed. */
static void fail(struct poll *poll)
{
    poll->lasted_ms = timer_now_ms() - poll->began_ms;
    timer_clear(timers_of(poll->uplink->relay), &poll->timer);
    fetch_cancel(&poll->fetch); /* what came of it is of no use */
    put_off(poll);
    poll_unwanted(poll);
}

/* So has it, but not for want of a connection. */
static void fail_alone(struct poll *poll, enum relay_error error, const char *what)
{
    note_trouble(poll->uplink, error, what);
    /* a request that was held for long before it failed was no failure of this kind */
    uint64_t now = timer_now_ms();
    if (poll->failing_ms == 0 || now - poll->began_ms > RELAY_WAIT_MAX_MS)
        poll->failing_ms = now;
    fail(poll);
}

static void go_down(struct uplink *uplink, const char *what)
{
    note_trouble(uplink, RELAY_UNREACHABLE, what);
    if (uplink->down_ms == 0)
        uplink->down_ms = timer_now_ms();
}

/* Makes the poll's request. */
static void request(struct poll *poll)
{
    struct uplink *uplink = poll->uplink;
    char *url = upstream_url(uplink->upstream, poll->query);
    bool started = url && fetch_start(&uplink->target, &poll->fetch, url);
    curl_free(url);
    poll->began_ms = uplink->tried_ms = timer_now_ms();
    if (!started) {
        fail_alone(poll, RELAY_BROKEN, "there is no memory for a request");
        return;
    }
    uplink->requests++;
    if (uplink->down_ms != 0 || poll->failing_ms != 0)
        timer_set(timers_of(uplink->relay), &poll->timer, RELAY_LOOK_MS);
}

/* Whether some request of the uplink is still connecting. */
static bool is_connecting(const struct uplink *uplink)
{
    for (struct poll *poll = uplink->polls; poll; poll = poll->hh.next)
        if (fetch_under_way(&poll->fetch) && !poll->fetch.connected)
            return true;
    return false;
}

static bool is_just_now(uint64_t ms)
{
    return timer_now_ms() - ms < RELAY_RETRY_MS;
}

/* Makes the poll's request, or puts it off: if it fails and was made just now, or if the uplink is
 * down and any was. */
static void pursue(struct poll *poll)
{
    const struct uplink *uplink = poll->uplink;
    if ((poll->failing_ms != 0 && is_just_now(poll->began_ms)) ||
        (uplink->down_ms != 0 && (is_just_now(uplink->tried_ms) || is_connecting(uplink))))
        put_off(poll);
    else
        request(poll);
}

/* ---- the way back ---- */

static bool waits(const struct poll *poll)
{
    return !fetch_under_way(&poll->fetch) && !poll->busy && (poll->clients > 0 || poll->keeper);
}

/* Once a second: of the polls that wait, the one that was tried the longest time ago. */
static void on_retry_timer(struct timer *timer)
{
    struct uplink *uplink = OWNER(struct uplink, timer, retry_timer);
    struct poll *next = NULL;
    for (struct poll *poll = uplink->polls; poll; poll = poll->hh.next)
        if (waits(poll) && (!next || poll->began_ms < next->began_ms))
            next = poll;
    if (!next)
        return;
    retry_soon(uplink);
    if (uplink->down_ms != 0 ? !is_connecting(uplink) : !is_just_now(next->began_ms))
        request(next);
}

/* Tells those who have waited for it that the poll works again. */
static void tell_owed(struct poll *poll)
{
    if (poll->owed)
        answer_all(poll, render_word(true));
}

/* The uplink is up again: tells all who waited for that. */
static void come_back(struct uplink *uplink)
{
    uplink->down_ms = 0;
    note_recovery(uplink);
    struct keeper *keeper = NULL; /* an upstream has but one */
    struct poll *next;
    for (struct poll *poll = uplink->polls; poll; poll = next) {
        next = poll->hh.next;
        if (!waits(poll))
            continue;
        tell_owed(poll);
        keeper = poll->keeper ? poll->keeper : keeper;
        if (poll->keeper)
            request(poll);
        poll_unwanted(poll);
    }
    if (keeper)
        keeper->reached(keeper);
}

/* A poll that was failing is fine: what else fails is tried at once. */
static void be_fine(struct poll *poll)
{
    struct uplink *uplink = poll->uplink;
    poll->failing_ms = 0;
    note_recovery(uplink);
    for (struct poll *other = uplink->polls; other; other = other->hh.next)
        if (waits(other) && !is_just_now(other->began_ms))
            request(other);
}

/* Looks at a request under way on an uplink that is down, or of a poll that was failing. */
static void look(struct poll *poll)
{
    struct uplink *uplink = poll->uplink;
    uint64_t held_ms = timer_now_ms() - poll->began_ms;
    bool connected = poll->fetch.connected;
    bool proven = connected && held_ms > RELAY_PROOF_MS + 2 * poll->lasted_ms;
    if (!connected || (poll->failing_ms != 0 && !proven))
        timer_set(timers_of(uplink->relay), &poll->timer, RELAY_LOOK_MS);
    if (!connected)
        return;
    poll->busy = true;
    bool back = uplink->down_ms != 0;
    if (back)
        come_back(uplink);
    if (proven && poll->failing_ms != 0) {
        be_fine(poll);
        back = true;
    }
    if (back && poll->failing_ms == 0) {
        tell_owed(poll);
        if (poll->keeper)
            poll->keeper->reached(poll->keeper);
    }
    poll->busy = false;
    poll_unwanted(poll);
}

static void on_poll_timer(struct timer *timer)
{
    struct poll *poll = OWNER(struct poll, timer, timer);
    if (fetch_under_way(&poll->fetch))
        look(poll);
    else
        poll_free(poll); /* it has been remembered for long enough */
}

/* ---- answers ---- */

static void give(struct poll *poll)
{
    struct uplink *uplink = poll->uplink;
    struct fetch *fetch = &poll->fetch;
    struct keeper *keeper = poll->keeper;
    timer_clear(timers_of(uplink->relay), &poll->timer);
    set_keeper(poll, NULL);
    const char *fault = keeper ? keeper->answered(keeper, fetch) : NULL;
    poll->busy = true;
    if (fault)
        note_trouble(uplink, RELAY_STATUS, fault);
    else
        uplink->answers++;
    answer_all(poll, frame_relayed(fetch->status, fetch->reason, fetch->type, fetch->body.bytes,
                                   fetch->body.len));
    if (!fault && poll->failing_ms != 0)
        be_fine(poll);
    else if (!fault)
        note_recovery(uplink);
    poll->failing_ms = 0;
    poll->busy = false;
    poll_unwanted(poll);
}

static void on_fetched(struct fetch *fetch, enum fetch_end end)
{
    static const enum relay_error errors[] = {[FETCH_TIMED_OUT] = RELAY_TIMEOUT,
                                              [FETCH_BROKEN] = RELAY_BROKEN,
                                              [FETCH_REFUSED] = RELAY_REFUSED};
    struct poll *poll = OWNER(struct poll, fetch, fetch);
    struct uplink *uplink = poll->uplink;
    if (end == FETCH_UNREACHABLE) {
        go_down(uplink, fetch->why);
        fail(poll);
        return;
    }
    if (uplink->down_ms != 0 && (end == FETCH_ANSWERED || end == FETCH_REFUSED)) {
        poll->busy = true; /* what came for it is for its own clients */
        come_back(uplink);
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

/* The poll of that query, perhaps a new one. NULL: there is no memory; or there are too many, if
 * they are limited. */
static struct poll *poll_for(struct uplink *uplink, const char *query, bool limited)
{
    struct relay *relay = uplink->relay;
    struct poll *poll;
    HASH_FIND_STR(uplink->polls, query, poll);
    if (!poll && limited && relay->polls - relay->kept >= relay->polls_max)
        forget_one(relay);
    if (!poll && limited && relay->polls - relay->kept >= relay->polls_max)
        note_too_many(uplink);
    else if (!poll)
        poll = poll_new(uplink, query);
    if (poll && !fetch_under_way(&poll->fetch))
        timer_clear(timers_of(relay), &poll->timer); /* it is wanted again */
    return poll;
}

void relay_ask(struct relay *relay, struct conn *conn, const struct upstream *upstream,
               const char *query, uint64_t ms)
{
    struct server *server = relay->server;
    struct uplink *uplink = uplink_to(relay, upstream);
    uplink->asked++;
    if (!server_admit(conn))
        return;
    struct poll *poll = poll_for(uplink, query, true);
    if (!poll) {
        char header[RETRY_AFTER_SIZE];
        conn_refuse(conn, 503, retry_after(header), "too many different requests are under way");
        return;
    }
    server->held++;
    uplink->clients++;
    poll->clients++;
    conn_relay(conn, poll, &poll->conns, ms);
    if (fetch_under_way(&poll->fetch))
        uplink->coalesced++;
    else
        pursue(poll);
}

bool relay_keep(struct relay *relay, struct keeper *keeper, const struct upstream *upstream,
                const char *query)
{
    struct poll *poll = relay->stopped ? NULL : poll_for(uplink_to(relay, upstream), query, false);
    if (!poll)
        return false;
    set_keeper(poll, keeper);
    if (fetch_under_way(&poll->fetch))
        return true;
    if (keeper->wrong_ms != 0 && poll->failing_ms == 0) {
        poll->failing_ms = keeper->wrong_ms;
        poll->lasted_ms = keeper->lasted_ms;
    }
    pursue(poll);
    return true;
}

/* What is under way as it should is told the truth: there was nothing so far. */
void relay_expired(struct conn *conn)
{
    const struct poll *poll = conn->u.poll;
    bool well = fetch_under_way(&poll->fetch) && poll->failing_ms == 0 && !poll->owed;
    conn_answer(conn, render_word(!well));
}

void relay_left(struct server *server, struct poll *poll)
{
    server->held--;
    poll->uplink->clients--;
    if (--poll->clients == 0)
        poll->owed = false;
    poll_unwanted(poll);
    server_left(server);
}

/* ---- life ---- */

static int open_uplink(struct uplink *uplink, struct relay *relay, const struct upstream *upstream)
{
    *uplink =
        (struct uplink){.relay = relay, .upstream = upstream, .retry_timer.fire = on_retry_timer};
    char *url = upstream_url(upstream, "");
    int rc = url ? target_open(&uplink->target, &relay->fetcher, url) : -1;
    curl_free(url);
    return rc;
}

struct relay *relay_open(struct server *server, const struct upstreams *upstreams,
                         unsigned polls_max)
{
    struct relay *relay = calloc(1, sizeof *relay + upstreams->count * sizeof *relay->uplinks);
    if (!relay)
        return NULL;
    relay->server = server;
    relay->upstreams = upstreams;
    relay->polls_max = polls_max;
    int rc = fetcher_open(&relay->fetcher, &server->loop, server->options,
                          polls_max + (unsigned)upstreams->count); /* each may have a keeper */
    for (size_t i = 0; rc == 0 && i < upstreams->count; i++)
        rc = open_uplink(&relay->uplinks[i], relay, &upstreams->items[i]);
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
        struct uplink *uplink = &relay->uplinks[i];
        timer_clear(timers_of(relay), &uplink->retry_timer);
        struct poll *next;
        for (struct poll *poll = uplink->polls; poll; poll = next) {
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
        target_close(&relay->uplinks[i].target);
    fetcher_close(&relay->fetcher);
    free(relay);
}

void relay_stats(struct relay *relay, const struct upstream *upstream, struct relay_stats *stats)
{
    const struct uplink *uplink = uplink_to(relay, upstream);
    uint64_t trouble_ms = uplink->trouble_ms ? timer_now_ms() - uplink->trouble_ms + 1 : 0;
    *stats = (struct relay_stats){.tried = uplink->requests > 0,
                                  .down = uplink->down_ms != 0,
                                  .trouble_ms = trouble_ms,
                                  .clients = uplink->clients,
                                  .asked = uplink->asked,
                                  .requests = uplink->requests,
                                  .coalesced = uplink->coalesced,
                                  .answers = uplink->answers,
                                  .turned_away = uplink->turned_away,
                                  .last_error = *uplink->last_error ? uplink->last_error : NULL};
    memcpy(stats->errors, uplink->errors, sizeof stats->errors);
    for (struct poll *poll = uplink->polls; poll; poll = poll->hh.next)
        stats->under_way += fetch_under_way(&poll->fetch);
}

#include "fcgi/relay/uplink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/io/diag.h"
#include "fcgi/readers/render.h"
#include "fcgi/server.h"

static struct timers *relay_timers(struct relay *relay)
{
    return &relay->server->loop.timers;
}

/* ---- what the operator hears ---- */

/* Says it, unless something was said of this upstream a minute ago. */
static void note_trouble(struct uplink *uplink, enum relay_error error, const char *what)
{
    enum { MINUTE_MS = 60000 };
    uint64_t now = timer_now_ms();
    uplink->errors[error]++;
    if (uplink->trouble_ms == 0)
        uplink->trouble_ms = now;
    snprintf(uplink->last_error, sizeof uplink->last_error, "%s", what);
    diag_printable(uplink->last_error); /* it may hold bytes of the upstream's */
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

void poll_set_keeper(struct poll *poll, struct keeper *keeper)
{
    struct relay *relay = poll->uplink->relay;
    relay->kept += (keeper != NULL);
    relay->kept -= (poll->keeper != NULL);
    poll->keeper = keeper;
}

void poll_free(struct poll *poll)
{
    struct uplink *uplink = poll->uplink;
    struct relay *relay = uplink->relay;
    fetch_cancel(&poll->fetch);
    timer_clear(relay_timers(relay), &poll->timer);
    poll_set_keeper(poll, NULL);
    HASH_DEL(uplink->polls, poll);
    relay->polls--;
    if (relay->polls < relay->polls_max - relay->polls_max / 10)
        relay->full = false;
    free(poll);
}

/* Nobody waits for it any more. One that failed is remembered for a while, or whoever asks again
 * would always be the first. */
void poll_unwanted(struct poll *poll)
{
    if (poll->busy || poll->clients > 0 || poll->keeper)
        return;
    fetch_cancel(&poll->fetch);
    if (poll->failing_ms != 0 && !poll->uplink->relay->stopped)
        timer_set(relay_timers(poll->uplink->relay), &poll->timer, RELAY_MEMORY_MS);
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

void poll_answer(struct poll *poll, struct frame *frame)
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
        timer_set(relay_timers(uplink->relay), &uplink->retry_timer, RELAY_RETRY_MS);
}

/* Lets a client wait for no longer than makes sense with what fails. */
static void shorten_wait(struct poll *poll, struct conn *conn)
{
    timer_hasten(relay_timers(poll->uplink->relay), &conn->timer, wait_ms(poll));
}

/* Nothing is under way for the poll, and will not be at once: the latest client, and the keeper,
 * are to wait, as the others do already. */
static void put_off(struct poll *poll)
{
    if (poll->clients > 0)
        shorten_wait(poll, LIST_FIRST(&poll->conns));
    poll->owed = poll->clients > 0;
    if (poll->keeper)
        poll->keeper->failed(poll->keeper);
    retry_soon(poll->uplink);
}

/* The poll's request has failed. */
static void fail(struct poll *poll)
{
    poll->lasted_ms = timer_now_ms() - poll->began_ms;
    timer_clear(relay_timers(poll->uplink->relay), &poll->timer);
    fetch_cancel(&poll->fetch); /* what came of it is of no use */
    struct conn *conn;
    LIST_FOREACH (conn, &poll->conns, link)
        shorten_wait(poll, conn);
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
    poll->held_ms = 0;
    if (!started) {
        fail_alone(poll, RELAY_BROKEN, "there is no memory for a request");
        return;
    }
    uplink->requests++;
    if (uplink->down_ms != 0 || poll->failing_ms != 0)
        timer_set(relay_timers(uplink->relay), &poll->timer, RELAY_LOOK_MS);
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

void poll_pursue(struct poll *poll)
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

/* Whether that poll is to be tried before the other: a keeper's, unless it was tried just now, and
 * else the one that was tried the longest time ago. */
static bool is_sooner(const struct poll *poll, const struct poll *other)
{
    bool first = poll->keeper && !is_just_now(poll->began_ms);
    bool other_first = other->keeper && !is_just_now(other->began_ms);
    return first != other_first ? first : poll->began_ms < other->began_ms;
}

/* Once a second. */
static void on_retry_timer(struct timer *timer)
{
    struct uplink *uplink = OWNER(struct uplink, timer, retry_timer);
    struct poll *next = NULL;
    for (struct poll *poll = uplink->polls; poll; poll = poll->hh.next)
        if (waits(poll) && (!next || is_sooner(poll, next)))
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
        poll_answer(poll, render_word(true));
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
    struct timers *timers = relay_timers(uplink->relay);
    if (!poll->fetch.connected) {
        timer_set(timers, &poll->timer, RELAY_LOOK_MS);
        return;
    }
    if (poll->held_ms == 0)
        poll->held_ms = timer_now_ms();
    uint64_t held_ms = timer_now_ms() - poll->held_ms;
    uint64_t proof_ms = RELAY_PROOF_MS + 2 * poll->lasted_ms;
    if (proof_ms > RELAY_WAIT_MAX_MS)
        proof_ms = RELAY_WAIT_MAX_MS;
    bool proven = held_ms >= proof_ms;
    if (poll->failing_ms != 0 && !proven)
        timer_set(timers, &poll->timer, proof_ms - held_ms);
    poll->busy = true;
    if (uplink->down_ms != 0)
        come_back(uplink);
    if (proven && poll->failing_ms != 0)
        be_fine(poll);
    if (poll->failing_ms == 0) {
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
    timer_clear(relay_timers(uplink->relay), &poll->timer);
    poll_set_keeper(poll, NULL);
    const char *fault = keeper ? keeper->answered(keeper, fetch) : NULL;
    poll->busy = true;
    if (fault)
        note_trouble(uplink, RELAY_STATUS, fault);
    else
        uplink->answers++;
    poll_answer(poll, frame_relayed(fetch->status, fetch->reason, fetch->type, fetch->body.bytes,
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
    bool is_try = fetch->connected && poll->began_ms >= uplink->down_ms;
    if (uplink->down_ms != 0 && (end == FETCH_ANSWERED || end == FETCH_REFUSED || is_try)) {
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

/* ---- for relay.c ---- */

bool relay_is_full(const struct relay *relay)
{
    return relay->polls - relay->kept >= relay->polls_max;
}

struct poll *poll_for(struct uplink *uplink, const char *query, bool limited)
{
    struct relay *relay = uplink->relay;
    struct poll *poll;
    HASH_FIND_STR(uplink->polls, query, poll);
    if (!poll && limited && relay_is_full(relay))
        forget_one(relay);
    if (!poll && limited && relay_is_full(relay))
        note_too_many(uplink);
    else if (!poll)
        poll = poll_new(uplink, query);
    if (poll && !fetch_under_way(&poll->fetch))
        timer_clear(relay_timers(relay), &poll->timer); /* it is wanted again */
    return poll;
}

int uplink_open(struct uplink *uplink, struct relay *relay, const struct upstream *upstream)
{
    *uplink =
        (struct uplink){.relay = relay, .upstream = upstream, .retry_timer.fire = on_retry_timer};
    char *url = upstream_url(upstream, "");
    int rc = url ? target_open(&uplink->target, &relay->fetcher, url) : -1;
    curl_free(url);
    return rc;
}

#include "fcgi/relay/uplink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/conn/answer.h"
#include "fcgi/io/diag.h"
#include "fcgi/readers/render.h"
#include "fcgi/relay/backoff.h"

/* ---- what the operator hears ---- */

/* Counts it, and warns the operator, unless of this upstream that was done within a minute. */
static void note_uplink_trouble(struct uplink *uplink, enum relay_error error, const char *what)
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

static void note_uplink_recovery(struct uplink *uplink)
{
    if (uplink->warned)
        diag(DIAG_INFO, "upstream %s answers again", uplink->upstream->name);
    uplink->warned = false;
    uplink->trouble_ms = 0;
}

/* Told once, and again only after it had become better by a tenth. */
static void note_polls_full(struct uplink *uplink)
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

static void on_poll_fetched(struct fetch *fetch, enum fetch_end end);
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
    timer_clear(relay->timers, &poll->timer);
    poll_set_keeper(poll, NULL);
    HASH_DEL(uplink->polls, poll);
    relay->polls--;
    if (relay->polls < relay->polls_max - relay->polls_max / 10)
        relay->full = false;
    free(poll);
}

/* One that failed is remembered for a while: otherwise a client that asks again would always be the
 * first, and wait the shortest time. */
void poll_unwanted(struct poll *poll)
{
    if (poll->busy || poll->clients > 0 || poll->keeper)
        return;
    fetch_cancel(&poll->fetch);
    if (poll->failing_ms != 0 && !poll->uplink->relay->stopped)
        timer_set(poll->uplink->relay->timers, &poll->timer, RELAY_MEMORY_MS);
    else
        poll_free(poll);
}

/* Makes room by freeing a failed poll that nobody waits for. */
static void forget_failed_poll(struct relay *relay)
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
    poll->fetch.done = on_poll_fetched;
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

/* How long clients of a poll that fails have to wait. */
static uint64_t poll_wait_ms(const struct poll *poll)
{
    return backoff_ms(poll->uplink->down_ms != 0 ? poll->uplink->down_ms : poll->failing_ms);
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

/* Has the polls that wait on the uplink tried again soon. */
static void schedule_retry(struct uplink *uplink)
{
    if (uplink->retry_timer.due_tick == 0)
        timer_set(uplink->relay->timers, &uplink->retry_timer, RELAY_RETRY_MS);
}

/* Lets a client of a poll that fails wait for no longer than poll_wait_ms. */
static void shorten_client_wait(struct poll *poll, struct conn *conn)
{
    timer_hasten(poll->uplink->relay->timers, &conn->timer, poll_wait_ms(poll));
}

/* Nothing is under way for the poll, and will not be at once: the latest client and the keeper wait
 * too, as the other clients do already. */
static void poll_put_off(struct poll *poll)
{
    if (poll->clients > 0)
        shorten_client_wait(poll, LIST_FIRST(&poll->conns));
    poll->owed = poll->clients > 0;
    if (poll->keeper)
        poll->keeper->failed(poll->keeper);
    schedule_retry(poll->uplink);
}

/* The poll's request has failed. */
static void poll_drop_request(struct poll *poll)
{
    poll->lasted_ms = timer_now_ms() - poll->began_ms;
    timer_clear(poll->uplink->relay->timers, &poll->timer);
    fetch_cancel(&poll->fetch); /* what has arrived of an answer is of no use */
    struct conn *conn;
    LIST_FOREACH (conn, &poll->conns, link)
        shorten_client_wait(poll, conn);
    poll_put_off(poll);
    poll_unwanted(poll);
}

/* The poll's request has failed, though there was a connection. */
static void poll_become_failing(struct poll *poll, enum relay_error error, const char *what)
{
    note_uplink_trouble(poll->uplink, error, what);
    /* what comes after a request that was held for long is a new failure */
    uint64_t now = timer_now_ms();
    if (poll->failing_ms == 0 || now - poll->began_ms > RELAY_WAIT_MAX_MS)
        poll->failing_ms = now;
    poll_drop_request(poll);
}

static void uplink_go_down(struct uplink *uplink, const char *what)
{
    note_uplink_trouble(uplink, RELAY_UNREACHABLE, what);
    if (uplink->down_ms == 0)
        uplink->down_ms = timer_now_ms();
}

/* Makes the poll's request. */
static void poll_request(struct poll *poll)
{
    struct uplink *uplink = poll->uplink;
    char *url = upstream_url(uplink->upstream, poll->query);
    bool started = url && fetch_start(&uplink->target, &poll->fetch, url);
    curl_free(url);
    poll->began_ms = uplink->tried_ms = timer_now_ms();
    poll->held_ms = 0;
    if (!started) {
        poll_become_failing(poll, RELAY_BROKEN, "there is no memory for a request");
        return;
    }
    uplink->requests++;
    if (uplink->down_ms != 0 || poll->failing_ms != 0)
        timer_set(uplink->relay->timers, &poll->timer, RELAY_LOOK_MS);
}

/* Whether some request of the uplink is still connecting. */
static bool is_uplink_connecting(const struct uplink *uplink)
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
        (uplink->down_ms != 0 && (is_just_now(uplink->tried_ms) || is_uplink_connecting(uplink))))
        poll_put_off(poll);
    else
        poll_request(poll);
}

/* ---- the way back ---- */

static bool poll_waits(const struct poll *poll)
{
    return !fetch_under_way(&poll->fetch) && !poll->busy && (poll->clients > 0 || poll->keeper);
}

/* Whether the poll is to be tried before the other: first a keeper's, unless it was tried just now;
 * then the one that was tried the longest time ago. */
static bool is_poll_sooner(const struct poll *poll, const struct poll *other)
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
        if (poll_waits(poll) && (!next || is_poll_sooner(poll, next)))
            next = poll;
    if (!next)
        return;
    schedule_retry(uplink);
    if (uplink->down_ms != 0 ? !is_uplink_connecting(uplink) : !is_just_now(next->began_ms))
        poll_request(next);
}

/* Tells the clients that have waited for the poll that it works again. */
static void poll_tell_owed(struct poll *poll)
{
    if (poll->owed)
        poll_answer(poll, render_word(true));
}

/* The uplink is up again: tells all clients that waited for that. */
static void uplink_come_back(struct uplink *uplink)
{
    uplink->down_ms = 0;
    note_uplink_recovery(uplink);
    struct keeper *keeper = NULL; /* an upstream has but one */
    struct poll *next;
    for (struct poll *poll = uplink->polls; poll; poll = next) {
        next = poll->hh.next;
        if (!poll_waits(poll))
            continue;
        poll_tell_owed(poll);
        keeper = poll->keeper ? poll->keeper : keeper;
        if (poll->keeper)
            poll_request(poll);
        poll_unwanted(poll);
    }
    if (keeper)
        keeper->reached(keeper);
}

/* A poll that was failing is fine: the others that fail are tried at once. */
static void poll_be_fine(struct poll *poll)
{
    struct uplink *uplink = poll->uplink;
    poll->failing_ms = 0;
    note_uplink_recovery(uplink);
    for (struct poll *other = uplink->polls; other; other = other->hh.next)
        if (poll_waits(other) && !is_just_now(other->began_ms))
            poll_request(other);
}

/* Looks at a request under way on an uplink that is down, or of a poll that was failing. */
static void poll_look(struct poll *poll)
{
    struct uplink *uplink = poll->uplink;
    struct timers *timers = uplink->relay->timers;
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
        uplink_come_back(uplink);
    if (proven && poll->failing_ms != 0)
        poll_be_fine(poll);
    if (poll->failing_ms == 0) {
        poll_tell_owed(poll);
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
        poll_look(poll);
    else
        poll_free(poll); /* it has been remembered long enough */
}

/* ---- answers ---- */

static void poll_give_answer(struct poll *poll)
{
    struct uplink *uplink = poll->uplink;
    struct fetch *fetch = &poll->fetch;
    struct keeper *keeper = poll->keeper;
    timer_clear(uplink->relay->timers, &poll->timer);
    poll_set_keeper(poll, NULL);
    const char *fault = keeper ? keeper->answered(keeper, fetch) : NULL;
    poll->busy = true;
    if (fault)
        note_uplink_trouble(uplink, RELAY_STATUS, fault);
    else
        uplink->answers++;
    poll_answer(poll, frame_relayed(fetch->status, fetch->reason, fetch->type, fetch->body.bytes,
                                    fetch->body.len));
    if (!fault && poll->failing_ms != 0)
        poll_be_fine(poll);
    else if (!fault)
        note_uplink_recovery(uplink);
    poll->failing_ms = 0;
    poll->busy = false;
    poll_unwanted(poll);
}

static void on_poll_fetched(struct fetch *fetch, enum fetch_end end)
{
    static const enum relay_error errors[] = {[FETCH_TIMED_OUT] = RELAY_TIMEOUT,
                                              [FETCH_BROKEN] = RELAY_BROKEN,
                                              [FETCH_REFUSED] = RELAY_REFUSED};
    struct poll *poll = OWNER(struct poll, fetch, fetch);
    struct uplink *uplink = poll->uplink;
    if (end == FETCH_UNREACHABLE) {
        uplink_go_down(uplink, fetch->why);
        poll_drop_request(poll);
        return;
    }
    bool is_try = fetch->connected && poll->began_ms >= uplink->down_ms;
    if (uplink->down_ms != 0 && (end == FETCH_ANSWERED || end == FETCH_REFUSED || is_try)) {
        poll->busy = true; /* its answer is for its own clients, who must not be told "new" now */
        uplink_come_back(uplink);
        poll->busy = false;
    }
    char what[64];
    if (end == FETCH_ANSWERED && fetch->status < 500) {
        poll_give_answer(poll);
    } else if (end == FETCH_ANSWERED) {
        snprintf(what, sizeof what, "it answered %d", fetch->status);
        poll_become_failing(poll, RELAY_STATUS, what);
    } else {
        poll_become_failing(poll, errors[end], fetch->why);
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
        forget_failed_poll(relay);
    if (!poll && limited && relay_is_full(relay))
        note_polls_full(uplink);
    else if (!poll)
        poll = poll_new(uplink, query);
    if (poll && !fetch_under_way(&poll->fetch))
        timer_clear(relay->timers, &poll->timer); /* it is wanted again */
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

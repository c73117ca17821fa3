#include "fcgi/relay/uplink.h"

#include <stdio.h>

#include "fcgi/conn/answer.h"
#include "fcgi/readers/render.h"
#include "fcgi/relay/backoff.h"

static void uplink_take_event(struct uplink *uplink, enum uplink_event event);
static void poll_take_event(struct poll *poll, enum poll_event event);
static void on_poll_fetched(struct fetch *fetch, enum fetch_end end);
static void on_poll_timer(struct timer *timer);

/* ---- polls that nobody wants ---- */

/* One that failed is remembered for a while: otherwise a client that asks again would always be the
 * first, and wait the shortest time. */
static void remember_poll(struct poll *poll)
{
    fetch_cancel(&poll->fetch);
    timer_set(poll->uplink->relay->timers, &poll->timer, RELAY_MEMORY_MS);
}

/* It is freed as soon as nothing is being done with it. */
static void give_poll_up(struct poll *poll)
{
    fetch_cancel(&poll->fetch);
}

/* ---- waiting ---- */

/* How long those who wait for the poll have to. */
static uint64_t poll_wait_ms(const struct poll *poll)
{
    const struct uplink *uplink = poll->uplink;
    return backoff_ms(uplink->state == UPLINK_DOWN ? uplink->down_ms : poll->failing_ms);
}

/* Lets a client of a poll that fails wait for no longer than poll_wait_ms. */
static void shorten_client_wait(struct poll *poll, struct conn *conn)
{
    timer_hasten(poll->uplink->relay->timers, &conn->timer, poll_wait_ms(poll));
}

/* Has the polls that wait on the uplink tried again soon. */
static void schedule_retry(struct uplink *uplink)
{
    if (uplink->retry_timer.due_tick == 0)
        timer_set(uplink->relay->timers, &uplink->retry_timer, RELAY_RETRY_MS);
}

/* Clients and keeper wait for the next request. */
static void wait_for_turn(struct poll *poll)
{
    timer_clear(poll->uplink->relay->timers, &poll->timer);
    poll->owed = poll->clients > 0;
    if (poll->keeper)
        poll->keeper->failed(poll->keeper);
    schedule_retry(poll->uplink);
}

/* The latest client waits too, as the others do already. */
static void put_off(struct poll *poll)
{
    if (poll->clients > 0)
        shorten_client_wait(poll, LIST_FIRST(&poll->conns));
    wait_for_turn(poll);
}

static void adopt_keepers_trouble(struct poll *poll)
{
    poll->failing_ms = poll->keeper->wrong_ms;
    poll->lasted_ms = poll->keeper->lasted_ms;
}

/* ---- failures ---- */

/* The poll's request has failed. */
static void drop_request(struct poll *poll)
{
    poll->lasted_ms = timer_now_ms() - poll->began_ms;
    fetch_cancel(&poll->fetch); /* what has arrived of an answer is of no use */
    struct conn *conn;
    LIST_FOREACH (conn, &poll->conns, link)
        shorten_client_wait(poll, conn);
    wait_for_turn(poll);
}

static void begin_to_fail(struct poll *poll)
{
    poll->failing_ms = timer_now_ms();
    drop_request(poll);
}

static void fail_again(struct poll *poll)
{
    /* what comes after a request that was held for long is a new failure */
    if (timer_now_ms() - poll->began_ms > RELAY_WAIT_MAX_MS)
        poll->failing_ms = timer_now_ms();
    drop_request(poll);
}

/* The poll's request has failed, though there was a connection. */
static void poll_fail(struct poll *poll, enum relay_error error, const char *what)
{
    trouble_note(&poll->uplink->trouble, poll->uplink->upstream->name, error, what);
    poll_take_event(poll, POLL_FAILED);
}

/* ---- requests ---- */

static void make_request(struct poll *poll)
{
    struct uplink *uplink = poll->uplink;
    char *url = upstream_url(uplink->upstream, poll->query);
    bool started = url && fetch_start(&uplink->target, &poll->fetch, url);
    curl_free(url);
    poll->began_ms = uplink->tried_ms = timer_now_ms();
    if (!started) {
        poll_fail(poll, RELAY_BROKEN, "there is no memory for a request");
        return;
    }
    uplink->requests++;
    if (poll->state != POLL_ASKING)
        timer_set(uplink->relay->timers, &poll->timer, RELAY_LOOK_MS);
}

static void poll_take_turn(struct poll *poll)
{
    poll_take_event(poll, poll->uplink->state == UPLINK_UP ? POLL_DUE : POLL_DUE_DOWN);
}

void poll_pursue(struct poll *poll)
{
    const struct uplink *uplink = poll->uplink;
    bool fails = poll->state == POLL_FAILING || poll->state == POLL_REMEMBERED;
    if ((fails && tried_just_now(poll->began_ms)) ||
        (uplink->state == UPLINK_DOWN &&
         (tried_just_now(uplink->tried_ms) || uplink_is_connecting(uplink))))
        poll_take_event(poll, POLL_TOO_SOON);
    else
        poll_take_turn(poll);
}

/* Once a second. */
static void on_retry_timer(struct timer *timer)
{
    struct uplink *uplink = OWNER(struct uplink, timer, retry_timer);
    struct poll *next = uplink_next_poll(uplink);
    if (!next)
        return;
    schedule_retry(uplink);
    if (uplink->state == UPLINK_DOWN ? !uplink_is_connecting(uplink)
                                     : !tried_just_now(next->began_ms))
        poll_take_turn(next);
}

/* ---- the way back ---- */

void poll_answer(struct poll *poll, struct frame *frame)
{
    for (unsigned left = poll->clients; left > 0; left--)
        conn_answer(LIST_FIRST(&poll->conns), frame ? frame_hold(frame) : NULL);
    frame_drop(frame);
}

/* Tells the clients that have waited for the poll that it works again. */
static void tell_owed_clients(struct poll *poll)
{
    if (poll->owed)
        poll_answer(poll, render_word(true));
}

static void tell_all_it_works(struct poll *poll)
{
    tell_owed_clients(poll);
    if (poll->keeper)
        poll->keeper->reached(poll->keeper);
}

/* The request is connected, but that does not mean that it will be answered. */
static void begin_proof(struct poll *poll)
{
    uint64_t proof_ms = RELAY_PROOF_MS + 2 * poll->lasted_ms;
    timer_set(poll->uplink->relay->timers, &poll->timer,
              proof_ms < RELAY_WAIT_MAX_MS ? proof_ms : RELAY_WAIT_MAX_MS);
}

/* A poll that was failing is fine: the others that fail are tried at once. */
static void retry_other_polls(struct uplink *uplink)
{
    trouble_end(&uplink->trouble, uplink->upstream->name);
    struct poll *other, *next;
    HASH_ITER (hh, uplink->polls, other, next)
        if (poll_waits(other) && !tried_just_now(other->began_ms))
            poll_take_turn(other);
}

static void pass_proof(struct poll *poll)
{
    retry_other_polls(poll->uplink);
    tell_all_it_works(poll);
}

/* The uplink is up again. */
static void go_on_after_outage(struct poll *poll)
{
    tell_owed_clients(poll);
    if (poll->keeper)
        poll_take_turn(poll);
}

static void on_poll_timer(struct timer *timer)
{
    struct poll *poll = OWNER(struct poll, timer, timer);
    if (poll->state == POLL_REMEMBERED) {
        poll_take_event(poll, POLL_FORGOTTEN);
    } else if (!poll->fetch.connected) {
        timer_set(poll->uplink->relay->timers, timer, RELAY_LOOK_MS);
    } else {
        uplink_take_event(poll->uplink, UPLINK_REACHED);
        poll_take_event(poll, poll->state == POLL_PROVING ? POLL_PROVEN : POLL_CONNECTED);
    }
}

/* ---- answers ---- */

/* Gives the answer to keeper and clients. Returns whether it is as the keeper expects. */
static bool give_answer(struct poll *poll)
{
    struct uplink *uplink = poll->uplink;
    const struct fetch *fetch = &poll->fetch;
    struct keeper *keeper = poll->keeper;
    poll_set_keeper(poll, NULL);
    const char *fault = keeper ? keeper->answered(keeper, fetch) : NULL;
    if (fault)
        trouble_note(&uplink->trouble, uplink->upstream->name, RELAY_STATUS, fault);
    else
        uplink->answers++;
    poll_answer(poll, frame_relayed(fetch->status, fetch->reason, fetch->type, fetch->body.bytes,
                                    fetch->body.len));
    return fault == NULL;
}

static void pass_answer(struct poll *poll)
{
    if (give_answer(poll))
        trouble_end(&poll->uplink->trouble, poll->uplink->upstream->name);
}

static void pass_answer_after_failures(struct poll *poll)
{
    if (give_answer(poll))
        retry_other_polls(poll->uplink);
}

/* Whether the end of the poll's request shows that the uplink is up: an answer does, and so does a
 * connection, if the request was made since the uplink went down. */
static bool shows_uplink_up(const struct poll *poll, enum fetch_end end)
{
    return end == FETCH_ANSWERED || end == FETCH_REFUSED ||
           (poll->fetch.connected && poll->began_ms >= poll->uplink->down_ms);
}

static void on_poll_fetched(struct fetch *fetch, enum fetch_end end)
{
    static const enum relay_error errors[] = {[FETCH_UNREACHABLE] = RELAY_UNREACHABLE,
                                              [FETCH_TIMED_OUT] = RELAY_TIMEOUT,
                                              [FETCH_BROKEN] = RELAY_BROKEN,
                                              [FETCH_REFUSED] = RELAY_REFUSED};
    struct poll *poll = OWNER(struct poll, fetch, fetch);
    struct uplink *uplink = poll->uplink;
    char what[64];
    if (end == FETCH_UNREACHABLE) {
        trouble_note(&uplink->trouble, uplink->upstream->name, errors[end], fetch->why);
        uplink_take_event(uplink, UPLINK_LOST);
        poll_take_event(poll, POLL_UNREACHED);
        return;
    }
    if (shows_uplink_up(poll, end))
        uplink_take_event(uplink, UPLINK_REACHED);
    if (end == FETCH_ANSWERED && fetch->status < 500) {
        poll_take_event(poll, POLL_ANSWERED);
    } else if (end == FETCH_ANSWERED) {
        snprintf(what, sizeof what, "it answered %d", fetch->status);
        poll_fail(poll, RELAY_STATUS, what);
    } else {
        poll_fail(poll, errors[end], fetch->why);
    }
}

/* ---- what happens to a poll ---- */

struct poll_step {
    enum poll_state next;
    void (*action)(struct poll *poll); /* in the next state. NULL: nothing happens */
};

/* The table of uplink.h. */
static const struct poll_step poll_steps[POLL_STATES][POLL_EVENTS] = {
    [POLL_NEW] = {[POLL_DUE] = {POLL_ASKING, make_request},
                  [POLL_DUE_DOWN] = {POLL_REACHING, make_request},
                  [POLL_TOO_SOON] = {POLL_WAITING, put_off},
                  [POLL_WRONG] = {POLL_FAILING, adopt_keepers_trouble},
                  [POLL_UNWANTED] = {POLL_OVER, give_poll_up}},
    [POLL_ASKING] = {[POLL_ANSWERED] = {POLL_OVER, pass_answer},
                     [POLL_UNREACHED] = {POLL_WAITING, drop_request},
                     [POLL_FAILED] = {POLL_FAILING, begin_to_fail},
                     [POLL_UNWANTED] = {POLL_OVER, give_poll_up}},
    [POLL_REACHING] = {[POLL_CONNECTED] = {POLL_ASKING, tell_all_it_works},
                       [POLL_ANSWERED] = {POLL_OVER, pass_answer},
                       [POLL_UNREACHED] = {POLL_WAITING, drop_request},
                       [POLL_FAILED] = {POLL_FAILING, begin_to_fail},
                       [POLL_UNWANTED] = {POLL_OVER, give_poll_up}},
    [POLL_RETRYING] = {[POLL_CONNECTED] = {POLL_PROVING, begin_proof},
                       [POLL_ANSWERED] = {POLL_OVER, pass_answer_after_failures},
                       [POLL_UNREACHED] = {POLL_FAILING, drop_request},
                       [POLL_FAILED] = {POLL_FAILING, fail_again},
                       [POLL_UNWANTED] = {POLL_REMEMBERED, remember_poll}},
    [POLL_PROVING] = {[POLL_PROVEN] = {POLL_ASKING, pass_proof},
                      [POLL_ANSWERED] = {POLL_OVER, pass_answer_after_failures},
                      [POLL_UNREACHED] = {POLL_FAILING, drop_request},
                      [POLL_FAILED] = {POLL_FAILING, fail_again},
                      [POLL_UNWANTED] = {POLL_REMEMBERED, remember_poll}},
    [POLL_WAITING] = {[POLL_DUE] = {POLL_ASKING, make_request},
                      [POLL_DUE_DOWN] = {POLL_REACHING, make_request},
                      [POLL_TOO_SOON] = {POLL_WAITING, put_off},
                      [POLL_WRONG] = {POLL_FAILING, adopt_keepers_trouble},
                      [POLL_BACK] = {POLL_WAITING, go_on_after_outage},
                      [POLL_UNWANTED] = {POLL_OVER, give_poll_up}},
    [POLL_FAILING] = {[POLL_DUE] = {POLL_RETRYING, make_request},
                      [POLL_DUE_DOWN] = {POLL_RETRYING, make_request},
                      [POLL_TOO_SOON] = {POLL_FAILING, put_off},
                      [POLL_BACK] = {POLL_FAILING, go_on_after_outage},
                      [POLL_UNWANTED] = {POLL_REMEMBERED, remember_poll}},
    [POLL_REMEMBERED] = {[POLL_DUE] = {POLL_RETRYING, make_request},
                         [POLL_DUE_DOWN] = {POLL_RETRYING, make_request},
                         [POLL_TOO_SOON] = {POLL_FAILING, put_off},
                         [POLL_FORGOTTEN] = {POLL_OVER, give_poll_up}},
};

/* An action may lead to further events of the same poll, which are done within it; but only when
 * all is done the poll is freed. */
static void poll_take_event(struct poll *poll, enum poll_event event)
{
    const struct poll_step *step = &poll_steps[poll->state][event];
    if (!step->action)
        return;
    bool within = poll->moving;
    poll->moving = true;
    poll->state = step->next;
    step->action(poll);
    poll->moving = within;
    if (within)
        return;
    if (poll->state == POLL_OVER)
        poll_free(poll);
    else
        poll_left(poll);
}

void poll_left(struct poll *poll)
{
    if (!poll->moving && poll->clients == 0 && !poll->keeper)
        poll_take_event(poll, POLL_UNWANTED);
}

void poll_keep(struct poll *poll, struct keeper *keeper)
{
    poll_set_keeper(poll, keeper);
    if (keeper->wrong_ms != 0)
        poll_take_event(poll, POLL_WRONG);
}

void poll_end(struct poll *poll, void (*end)(struct poll *poll))
{
    poll->state = POLL_OVER;
    end(poll);
    poll_free(poll);
}

/* ---- what happens to an uplink ---- */

static void uplink_go_down(struct uplink *uplink)
{
    uplink->down_ms = timer_now_ms();
}

static void uplink_come_back(struct uplink *uplink)
{
    trouble_end(&uplink->trouble, uplink->upstream->name);
    struct keeper *keeper = NULL; /* an upstream has but one */
    struct poll *poll, *next;
    HASH_ITER (hh, uplink->polls, poll, next) {
        if (!poll_waits(poll))
            continue;
        keeper = poll->keeper ? poll->keeper : keeper;
        poll_take_event(poll, POLL_BACK);
    }
    if (keeper)
        keeper->reached(keeper);
}

struct uplink_step {
    enum uplink_state next;
    void (*action)(struct uplink *uplink); /* as above */
};

static const struct uplink_step uplink_steps[UPLINK_STATES][UPLINK_EVENTS] = {
    [UPLINK_UP] = {[UPLINK_LOST] = {UPLINK_DOWN, uplink_go_down}},
    [UPLINK_DOWN] = {[UPLINK_REACHED] = {UPLINK_UP, uplink_come_back}},
};

static void uplink_take_event(struct uplink *uplink, enum uplink_event event)
{
    const struct uplink_step *step = &uplink_steps[uplink->state][event];
    if (!step->action)
        return;
    uplink->state = step->next;
    step->action(uplink);
}

/* ---- for relay.c ---- */

struct poll *poll_for(struct uplink *uplink, const char *query, bool limited)
{
    struct poll *poll = poll_find_or_make(uplink, query, limited);
    if (poll) {
        poll->fetch.done = on_poll_fetched;
        poll->timer.fire = on_poll_timer;
    }
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

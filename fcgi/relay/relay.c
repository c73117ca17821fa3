#include "fcgi/relay/relay.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fcgi/conn/answer.h"
#include "fcgi/conn/refusal.h"
#include "fcgi/io/diag.h"
#include "fcgi/readers/render.h"
#include "fcgi/relay/trust.h"
#include "fcgi/relay/uplink.h"

static struct uplink *uplink_to(struct relay *relay, const struct upstream *upstream)
{
    return &relay->uplinks[upstream - relay->upstreams->items];
}

/* ---- who asks ---- */

/* A client's time is over. What is under way as it should is told the truth: there was nothing so
 * far. */
static void expire_relayed(struct conn *conn)
{
    const struct poll *poll = conn->in;
    conn_answer(conn, render_word(!poll_is_well(poll)));
}

static void leave_relayed(struct conn *conn, void *in)
{
    (void)conn;
    struct poll *poll = in;
    struct admission *admission = poll->uplink->relay->admission;
    poll->uplink->clients--;
    if (--poll->clients == 0)
        poll->owed = false;
    poll_left(poll);
    admission_leave(admission);
}

/* Held for the answer of an upstream: in a struct poll. */
static const struct wait relayed_wait = {
    .name = "relayed", .expired = expire_relayed, .left = leave_relayed};

void relay_ask(struct relay *relay, struct conn *conn, const struct upstream *upstream,
               const char *query, uint64_t ms)
{
    struct uplink *uplink = uplink_to(relay, upstream);
    uplink->asked++;
    if (!admission_check(relay->admission, conn))
        return;
    struct poll *poll = poll_for(uplink, query, true);
    if (!poll && !relay_is_full(relay)) {
        conn_refuse_for_log(conn, LOG_NO_MEMORY);
        return;
    }
    if (!poll) {
        conn_refuse_for_now(conn, "too many different requests are under way");
        return;
    }
    admission_enter(relay->admission);
    uplink->clients++;
    poll->clients++;
    conn_wait(conn, &poll->conns, &relayed_wait, poll, ms);
    if (poll_under_way(poll))
        uplink->coalesced++;
    else
        poll_pursue(poll);
}

bool relay_keep(struct relay *relay, struct keeper *keeper, const struct upstream *upstream,
                const char *query)
{
    struct poll *poll = relay->stopped ? NULL : poll_for(uplink_to(relay, upstream), query, false);
    if (!poll)
        return false;
    poll_keep(poll, keeper);
    if (!poll_under_way(poll))
        poll_pursue(poll);
    return true;
}

/* ---- life ---- */

static bool is_https(const char *url)
{
    return url && strncasecmp(url, "https:", 6) == 0;
}

static bool some_use_tls(const struct upstreams *upstreams, const struct fetch_options *options)
{
    bool some = is_https(options->proxy);
    for (size_t i = 0; i < upstreams->count; i++)
        some = some || is_https(upstreams->items[i].shown);
    return some;
}

/* Before there are requests. What is wrong is told now, and again when it meets one. */
static void load_certificates(struct fetcher *fetcher)
{
    const char *ca = fetcher->options.ca;
    const char *fault = trust_load(fetcher->curl_loop.multi, ca);
    if (fault)
        diag(DIAG_WARN, "no upstream can prove who it is over https, by %s: %s",
             ca ? ca : "the system's certificates", fault);
}

struct relay *relay_open(struct loop *loop, struct admission *admission,
                         const struct upstreams *upstreams, const struct relay_options *options)
{
    struct relay *relay = calloc(1, sizeof *relay + upstreams->count * sizeof *relay->uplinks);
    if (!relay)
        return NULL;
    relay->timers = &loop->timers;
    relay->admission = admission;
    relay->upstreams = upstreams;
    relay->polls_max = options->polls_max;
    unsigned fetches_max = options->polls_max + (unsigned)upstreams->count; /* keepers' too */
    int rc = fetcher_open(&relay->fetcher, loop, &options->fetch, fetches_max);
    if (rc == 0 && some_use_tls(upstreams, &options->fetch))
        load_certificates(&relay->fetcher);
    for (size_t i = 0; rc == 0 && i < upstreams->count; i++)
        rc = uplink_open(&relay->uplinks[i], relay, &upstreams->items[i]);
    if (rc == 0)
        return relay;
    relay_close(relay);
    return NULL;
}

/* Ends all that is under way, once `end` has made its clients leave. */
static void stop_polls(struct relay *relay, void (*end)(struct poll *poll))
{
    relay->stopped = true;
    for (size_t i = 0; i < relay->upstreams->count; i++) {
        struct uplink *uplink = &relay->uplinks[i];
        timer_clear(relay->timers, &uplink->retry_timer);
        struct poll *poll, *next;
        HASH_ITER (hh, uplink->polls, poll, next)
            poll_end(poll, end);
    }
}

static void punt_clients(struct poll *poll)
{
    poll_answer(poll, render_word(false));
}

void relay_release(struct relay *relay)
{
    stop_polls(relay, punt_clients);
}

static void end_clients(struct poll *poll)
{
    conns_end_list(&poll->conns);
}

void relay_close(struct relay *relay)
{
    if (!relay)
        return;
    stop_polls(relay, end_clients);
    for (size_t i = 0; i < relay->upstreams->count; i++)
        target_close(&relay->uplinks[i].target);
    fetcher_close(&relay->fetcher);
    free(relay);
}

void relay_stats(struct relay *relay, const struct upstream *upstream, struct relay_stats *stats)
{
    const struct uplink *uplink = uplink_to(relay, upstream);
    const struct trouble *trouble = &uplink->trouble;
    bool well = trouble->state == TROUBLE_NONE;
    *stats = (struct relay_stats){.tried = uplink->requests > 0,
                                  .down = uplink->state == UPLINK_DOWN,
                                  .trouble_ms = well ? 0 : timer_now_ms() - trouble->since_ms + 1,
                                  .clients = uplink->clients,
                                  .asked = uplink->asked,
                                  .requests = uplink->requests,
                                  .coalesced = uplink->coalesced,
                                  .answers = uplink->answers,
                                  .turned_away = uplink->turned_away,
                                  .last_error = *trouble->latest ? trouble->latest : NULL};
    memcpy(stats->errors, trouble->errors, sizeof stats->errors);
    for (const struct poll *poll = uplink->polls; poll; poll = poll->hh.next)
        stats->under_way += poll_under_way(poll);
}

#include "fcgi/relay/relay.h"

#include <stdlib.h>
#include <string.h>

#include "fcgi/readers/render.h"
#include "fcgi/server.h"
#include "fcgi/relay/uplink.h"

static struct uplink *uplink_to(struct relay *relay, const struct upstream *upstream)
{
    return &relay->uplinks[upstream - relay->upstreams->items];
}

/* ---- who asks ---- */

void relay_ask(struct relay *relay, struct conn *conn, const struct upstream *upstream,
               const char *query, uint64_t ms)
{
    struct server *server = relay->server;
    struct uplink *uplink = uplink_to(relay, upstream);
    uplink->asked++;
    if (!server_admit(conn))
        return;
    struct poll *poll = poll_for(uplink, query, true);
    if (!poll && !relay_is_full(relay)) {
        conn_refuse_for(conn, LOG_NO_MEMORY);
        return;
    }
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
        poll_pursue(poll);
}

bool relay_keep(struct relay *relay, struct keeper *keeper, const struct upstream *upstream,
                const char *query)
{
    struct poll *poll = relay->stopped ? NULL : poll_for(uplink_to(relay, upstream), query, false);
    if (!poll)
        return false;
    poll_set_keeper(poll, keeper);
    if (fetch_under_way(&poll->fetch))
        return true;
    if (keeper->wrong_ms != 0 && poll->failing_ms == 0) {
        poll->failing_ms = keeper->wrong_ms;
        poll->lasted_ms = keeper->lasted_ms;
    }
    poll_pursue(poll);
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
        rc = uplink_open(&relay->uplinks[i], relay, &upstreams->items[i]);
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
        timer_clear(&relay->server->loop.timers, &uplink->retry_timer);
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
    poll_answer(poll, render_word(false));
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

#include "fcgi/relay/poll.h"

#include <stdlib.h>
#include <string.h>

#include "fcgi/io/diag.h"

/* ---- life ---- */

void poll_set_keeper(struct poll *poll, struct keeper *keeper)
{
    struct relay *relay = poll->uplink->relay;
    relay->kept += (keeper != NULL);
    relay->kept -= (poll->keeper != NULL);
    poll->keeper = keeper;
}

static struct poll *poll_new(struct uplink *uplink, const char *query)
{
    size_t len = strlen(query);
    struct poll *poll = calloc(1, sizeof *poll + len + 1);
    if (!poll)
        return NULL;
    poll->uplink = uplink;
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

/* ---- how many ---- */

bool relay_is_full(const struct relay *relay)
{
    return relay->polls - relay->kept >= relay->polls_max;
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

/* Makes room. */
static void free_remembered_poll(struct relay *relay)
{
    for (size_t i = 0; i < relay->upstreams->count; i++)
        for (struct poll *poll = relay->uplinks[i].polls; poll; poll = poll->hh.next)
            if (poll->state == POLL_REMEMBERED) {
                poll_free(poll);
                return;
            }
}

struct poll *poll_find_or_make(struct uplink *uplink, const char *query, bool limited)
{
    struct relay *relay = uplink->relay;
    struct poll *poll;
    HASH_FIND_STR(uplink->polls, query, poll);
    if (poll)
        return poll;
    if (limited && relay_is_full(relay))
        free_remembered_poll(relay);
    if (!limited || !relay_is_full(relay))
        return poll_new(uplink, query);
    note_polls_full(uplink);
    return NULL;
}

/* ---- which is next ---- */

bool uplink_is_connecting(const struct uplink *uplink)
{
    for (const struct poll *poll = uplink->polls; poll; poll = poll->hh.next)
        if (poll_under_way(poll) && !poll->fetch.connected)
            return true;
    return false;
}

static bool is_poll_sooner(const struct poll *poll, const struct poll *other)
{
    bool first = poll->keeper && !tried_just_now(poll->began_ms);
    bool other_first = other->keeper && !tried_just_now(other->began_ms);
    return first != other_first ? first : poll->began_ms < other->began_ms;
}

struct poll *uplink_next_poll(const struct uplink *uplink)
{
    struct poll *next = NULL;
    for (struct poll *poll = uplink->polls; poll; poll = poll->hh.next)
        if (poll_waits(poll) && (!next || is_poll_sooner(poll, next)))
            next = poll;
    return next;
}

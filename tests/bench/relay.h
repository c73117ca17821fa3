/* relay.h - what differs where the server relays what it holds: messages are published at another
 * server, the upstream (--publish-at); what is asked can be many different things (--vary); and
 * before a publish, all that is asked must have arrived there.
 *
 *     make_varied(request, rest, n)     the n-th of --vary different requests
 *     make_publish(request, rest, body) a create, at the upstream if there is one
 *     await_relay(clients)              under way, coalesced, and held by the upstream
 */
#ifndef ENCKE_BENCH_RELAY_H
#define ENCKE_BENCH_RELAY_H

#include "tests/bench/loadgen.h"

/* Where and on which connection messages are published, if by one only. */
static struct conn *publish_conn(void)
{
    return load.options.publish_at ? load.upstream : load.control;
}

static void make_publish(struct request *request, const char *rest, const char *body)
{
    if (!request_make(request, &load.publish_at, rest, body, load.options.type))
        die("a message cannot be published: the address or the message is too long");
}

/* What the status says of the upstream that --relay names. */
static long relay_counted(const struct request *status, const char *what)
{
    char name[80];

    snprintf(name, sizeof name, "\"%s\"", load.options.relay);
    return counted(status, name, what);
}

/* The requests that are held: with --relay only those for that upstream. */
static long holds_counted(const struct request *status)
{
    return load.options.relay ? relay_counted(status, "\"clients\":")
                              : counted(status, NULL, load.options.held);
}

/* Many requests may be made in one's place: the old one is freed. */
static void make_varied(struct request *request, const char *rest, unsigned n)
{
    char more[1024];
    bool query = strchr(load.target.path, '?') || strchr(rest, '?');
    int len = snprintf(more, sizeof more, "%s", rest);

    if (load.options.vary && len >= 0 && (size_t)len < sizeof more)
        snprintf(more + len, sizeof more - (size_t)len, "%cq=%u", query ? '&' : '?',
                 n % (unsigned)load.options.vary);
    request_free(request);
    make_request(request, more, NULL, "");
}

/* Waits until the server counts as many requests under way to the upstream as different ones were
 * asked, and the upstream as many holds: then all are coalesced, and none can miss the message.
 * Anything else is a fault of the relay, and ends the program. */
static void await_relay(int round, int clients)
{
    const struct options *o = &load.options;
    uint64_t until = clock_ns() + (uint64_t)o->give_up_s * 1000000000U;
    const struct timespec nap = {.tv_nsec = 2000000};
    int different = o->vary == 0 ? 1 : o->vary < clients ? o->vary : clients;
    long under_way = -1, held = -1;
    struct request status, upstream_status;

    if (!o->relay)
        return;
    make_request(&status, o->status, NULL, "");
    if (!request_make(&upstream_status, &load.publish_at, o->status, NULL, ""))
        die("the upstream's status cannot be asked: its address is too long");
    while (under_way != different || held != different) {
        if (clock_ns() > until)
            die("%ld requests are under way upstream, and %ld are held there, for %d clients that "
                "ask %d different things",
                under_way, held, clients, different);
        nanosleep(&nap, NULL);
        under_way = relay_counted(&status, "\"under_way\":");
        held = number_in(ask_and_wait(&load.publish_at, load.upstream, &upstream_status), NULL,
                         o->held);
    }
    figures_add(&load.figures, round, "under_way", (double)under_way);
    request_free(&status);
    request_free(&upstream_status);
}

#endif

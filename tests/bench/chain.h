/* chain.h - the mode of the load generator that shows how long one message takes to one reader.
 *
 *     run_chain();    // with `load` filled in
 *
 * One reader, one publisher, and --messages one after the other: the next is published when the
 * last was received and acknowledged, so nothing ever waits for anything else. A poll has been
 * asked again by then, but nobody waits until it is held: the server may find the message there.
 */
#ifndef ENCKE_BENCH_CHAIN_H
#define ENCKE_BENCH_CHAIN_H

#include "tests/bench/publish.h"

enum { CHAIN_WARM_UP = 200 /* messages at most that are not measured */ };

/* Publishes so many more. False if one of them did not come, or was not acknowledged. */
static bool chain_links(struct campaign *c, int n)
{
    for (int i = 0; i < n; i++) {
        c->messages++;
        if (!campaign_run(c, PROMPT, UINT64_MAX, campaign_over))
            return false;
    }
    return true;
}

static void report_chain(struct delays *delays, struct campaign *c, double seconds)
{
    struct figures *f = &load.figures;
    size_t n = delays->all.n;

    figures_add(f, 1, "messages", (double)n);
    figures_add(f, 1, "p50_ms", samples_ms(&delays->all, 0.5));
    figures_add(f, 1, "p99_ms", samples_ms(&delays->all, 0.99));
    figures_add(f, 1, "most_ms", samples_ms(&delays->all, 1));
    figures_add(f, 1, "ack_p50_ms", samples_ms(&c->acks.all, 0.5));
    figures_add(f, 1, "ack_p99_ms", samples_ms(&c->acks.all, 0.99));
    figures_add(f, 1, "seconds", seconds);
    figures_add(f, 1, "messages_a_second", (double)n / seconds);
}

static void run_chain(void)
{
    const struct options *o = &load.options;
    int warm_up = o->messages / 10 < CHAIN_WARM_UP ? o->messages / 10 : CHAIN_WARM_UP;
    struct campaign c = {0};
    struct delays delays = {0};
    struct spent before = {0}, after = {0};
    uint64_t start;
    bool went;

    crowd_start(1, 1);
    publishers_start(1);
    open_kinds(&delays);
    went = chain_links(&c, warm_up);
    delays_clear(&delays);
    delays_clear(&c.acks);
    read_cpu(&before);
    start = clock_ns();
    if (went) /* else each next one would be waited for in vain */
        chain_links(&c, o->messages - warm_up);
    read_cpu(&after);
    report_chain(&delays, &c, (double)(clock_ns() - start) / 1e9);
    report_cpu(1, "cpu_us_a_message", &before, &after, figures_among(delays.all.n) / 1e3);
    crowd_settle(200000000U); /* what comes a second time, comes late */
    count_book(true);
    report_errors(1);
    delays_free(&delays);
    delays_free(&c.acks);
    publishers_free();
    crowd_free();
}

#endif

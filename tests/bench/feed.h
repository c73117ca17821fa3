/* feed.h - the mode of the load generator that fills a log: so many messages, as fast as they are
 * acknowledged, with nobody to read them.
 *
 *     run_feed();    // with `load` filled in
 */
#ifndef ENCKE_BENCH_FEED_H
#define ENCKE_BENCH_FEED_H

#include "tests/bench/publish.h"

/* Also tells a terminal, once a second, how far it is. */
static bool feed_over(const struct campaign *c, enum reader_sort sort)
{
    static uint64_t next_ns;
    bool over = campaign_over(c, sort);

    if (!isatty(STDERR_FILENO) || (clock_ns() < next_ns && !over))
        return over;
    next_ns = clock_ns() + 1000000000U;
    fprintf(stderr, "\rload: %u of %u messages%s", c->acked, c->messages, over ? "\n" : "");
    return over;
}

static void run_feed(void)
{
    const struct options *o = &load.options;
    struct campaign c = {.messages = (uint32_t)o->messages, .probe = o->publish};
    struct spent before = {0}, after = {0};
    struct figures *f = &load.figures;
    bool done;

    crowd_start(0, o->publishers);
    publishers_start(o->publishers);
    read_cpu(&before);
    done = campaign_run(&c, PROMPT, UINT64_MAX, feed_over);
    read_cpu(&after);
    figures_add(f, 1, "messages", c.acked);
    figures_add(f, 1, "seconds", campaign_s(&c));
    figures_add(f, 1, "creates_a_second", c.acked / campaign_s(&c));
    figures_add(f, 1, "create_p50_ms", samples_ms(&c.acks.all, 0.5));
    figures_add(f, 1, "create_p99_ms", samples_ms(&c.acks.all, 0.99));
    report_cpu(1, "cpu_us_a_create", &before, &after, figures_among(c.acked) / 1e3);
    report_errors(1);
    if (!done)
        die("only %u of %u messages were acknowledged", c.acked, c.messages);
    delays_free(&c.acks);
    publishers_free();
    crowd_free();
}

#endif

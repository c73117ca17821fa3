/* streams.h - the mode of the load generator that opens many streams (or long polls that are asked
 * again after each answer, with its cursor) and publishes to them all.
 *
 *     run_streams();    // with `load` filled in
 *
 * They can be of several kinds, in equal shares.
 * Either rounds of one message each, or (--rate) so many messages a second for some seconds.
 */
#ifndef ENCKE_BENCH_STREAMS_H
#define ENCKE_BENCH_STREAMS_H

#include "tests/bench/publish.h"

static uint64_t bytes_read(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < crowd.n; i++)
        sum += load.conns[i].read_bytes;
    return sum;
}

static void report_stream_memory(const struct spent *before, const struct spent *after)
{
    for (int i = 0; i < load.watches; i++) {
        double rss = after->rss_kib[i] - before->rss_kib[i];
        double anon = after->anon_kib[i] - before->anon_kib[i];

        report_watch(1, i, "rss_bytes_a_stream", rss * 1024 / crowd.n);
        report_watch(1, i, "heap_bytes_a_stream", anon * 1024 / crowd.n);
    }
}

/* One message to all. False if some did not get it: then there is no next round. */
static bool stream_round(int round, struct delays *delays)
{
    struct campaign one = {.messages = 1};
    struct spent before = {0}, after = {0};
    uint64_t bytes;
    bool done;

    crowd_settle(0);
    bytes = bytes_read();
    read_cpu(&before);
    done = campaign_run(&one, PROMPT, UINT64_MAX, campaign_over);
    read_cpu(&after);
    if (!one.acked)
        die("the publish was not answered");
    figures_add(&load.figures, round, "received", (double)delays->all.n);
    figures_add(&load.figures, round, "bytes_each",
                (double)(bytes_read() - bytes) / figures_among(delays->all.n));
    report_spread(round, &delays->all, campaign_s(&one) * 1e3);
    report_cpu(round, "cpu_ms", &before, &after, 1);
    delays_clear(delays);
    delays_free(&one.acks);
    return done;
}

static void stream_rounds(struct delays *delays)
{
    bool done = true;

    for (int round = 1; round <= load.options.rounds && done; round++) {
        done = stream_round(round, delays);
        if (round == load.options.rounds)
            crowd_settle(200000000U); /* what comes a second time, comes late */
        count_book(round == load.options.rounds);
        report_errors(round);
    }
}

/* How a server keeps up: how long publishing took, instead of --seconds; what came within those;
 * and how long it took until all had come. */
static void report_pace(const struct campaign *c, const struct delays *delays, double seconds)
{
    struct figures *f = &load.figures;
    double span_s = (double)(c->sent_ns - c->first_ns) / 1e9;
    double in_time = (double)crowd.delivered_in_time;

    figures_add(f, 1, "publishing_s", span_s);
    figures_add(f, 1, "delivered", (double)delays->all.n);
    figures_add(f, 1, "delivered_in_time", in_time);
    figures_add(f, 1, "in_time_a_second", in_time / load.options.seconds);
    figures_add(f, 1, "share_in_time", in_time / ((double)crowd.n * c->messages));
    figures_add(f, 1, "all_s", seconds);
}

/* Messages at a rate. */
static void stream_rate(struct delays *delays)
{
    const struct options *o = &load.options;
    struct campaign c = {.messages = (uint32_t)(o->rate * o->seconds),
                         .interval_ns = 1000000000U / (unsigned)o->rate};
    struct spent before = {0}, after = {0};
    struct figures *f = &load.figures;
    double seconds;

    crowd_settle(0);
    read_cpu(&before);
    campaign_run(&c, PROMPT, UINT64_MAX, campaign_over);
    read_cpu(&after);
    seconds = delays->all.n ? (double)(crowd.moved_ns - c.first_ns) / 1e9 : (double)NAN;
    figures_add(f, 1, "deliveries_a_second", (double)delays->all.n / seconds);
    figures_add(f, 1, "seconds", seconds);
    report_pace(&c, delays, seconds);
    figures_add(f, 1, "p50_ms", samples_ms(&delays->all, 0.5));
    figures_add(f, 1, "p99_ms", samples_ms(&delays->all, 0.99));
    figures_add(f, 1, "most_ms", samples_ms(&delays->all, 1));
    figures_add(f, 1, "create_p50_ms", samples_ms(&c.acks.all, 0.5));
    figures_add(f, 1, "create_p99_ms", samples_ms(&c.acks.all, 0.99));
    report_cpu(1, "cpu_us_a_delivery", &before, &after, figures_among(delays->all.n) / 1e3);
    crowd_settle(200000000U);
    count_book(true);
    report_errors(1);
    delays_free(&c.acks);
}

static void run_streams(void)
{
    struct delays delays = {0};
    struct spent before, after;

    crowd_start(load.options.conns, load.options.publishers);
    publishers_start(load.options.publishers);
    read_all(&before);
    open_kinds(&delays);
    await_relay(1, crowd.n);
    read_all(&after);
    report_stream_memory(&before, &after);
    if (load.options.idle_s)
        idle();
    if (load.options.rate)
        stream_rate(&delays);
    else
        stream_rounds(&delays);
    delays_free(&delays);
    publishers_free();
    crowd_free();
}

#endif

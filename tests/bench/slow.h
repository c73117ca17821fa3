/* slow.h - the mode of the load generator that shows what streams that do not read do to others.
 *
 *     run_slow();    // with `load` filled in
 *
 * A few prompt readers, streams and long polls, are there all the time. A round publishes
 * --messages as fast as they are acknowledged; opens N streams that read nothing; publishes as many
 * again; and lets the streams read, until each has had every message, once and in order. While they
 * catch up, a probe goes to another channel ten times a second, to see that creates still pass.
 *
 * Figures named alone_ are of the first campaign, slow_ of the second, catch_ of the catching up.
 * Those named late_ are of a campaign's second half: by then the sockets of those that do not read
 * are full, and what it takes to fill them is over.
 * Before the first round a campaign is run that is not measured. It fills the server's memory of
 * recent messages (16 MiB of them) only if --messages are many; the caller may see to that before.
 */
#ifndef ENCKE_BENCH_SLOW_H
#define ENCKE_BENCH_SLOW_H

#include "tests/bench/publish.h"

enum { PROBE_NS = 100000000, CATCH_UP_MAX_S = 600 };

static struct slow {
    struct request poll, status;
    struct delays streams, polls;
    int prompt; /* readers at the first places; behind them are those that do not read */
} slow;

static void open_prompt(void)
{
    const struct options *o = &load.options;
    const struct reader stream = {.delays = &slow.streams};

    open_streams(crowd.choices, 0, o->readers, &stream, &slow.status, 0);
    for (int i = o->readers; i < slow.prompt; i++) {
        struct reader *r = &crowd.readers[i];

        *r = (struct reader){.conn = r->conn,
                             .target = &load.target,
                             .request = &slow.poll,
                             .delays = &slow.polls,
                             .poll = true};
        if (!reader_ask(r))
            die("a long poll cannot be asked: %s", strerror(errno));
    }
    if (!wait_counted(&slow.status, holds_counted, o->polls))
        die("the server holds %ld long polls, %d were asked", holds_counted(&slow.status),
            o->polls);
    await_heads(0, o->readers);
}

/* The memory of those watched, now and at most since it was last asked. */
static void report_rss(int round, const char *phase)
{
    char name[48];

    publishing.next_sample_ns = 0; /* now counts, too: the phase may have been over at once */
    sample_memory();
    for (int i = 0; i < load.watches; i++) {
        const struct watch *w = &load.watch[i];

        snprintf(name, sizeof name, "%s_rss_mib", w->name);
        report_named(round, phase, name, watch_memory_kib(w, "VmRSS:") / 1024);
        snprintf(name, sizeof name, "%s_heap_mib", w->name);
        report_named(round, phase, name, watch_memory_kib(w, "RssAnon:") / 1024);
        snprintf(name, sizeof name, "%s_most_rss_mib", w->name);
        report_named(round, phase, name, publishing.most_kib[i] / 1024);
        publishing.most_kib[i] = 0;
    }
}

static void report_campaign(int round, const char *phase, struct campaign *c)
{
    double late = c->half_ns ? (double)(c->last_ns - c->half_ns) / 1e9 : (double)NAN;

    report_named(round, phase, "creates_a_second", c->acked / campaign_s(c));
    report_named(round, phase, "late_creates_a_second", (c->acked - c->messages / 2) / late);
    report_times(round, phase, "create", &c->acks.all);
    report_times(round, phase, "stream", &slow.streams.all);
    report_times(round, phase, "poll", &slow.polls.all);
    report_times(round, phase, "late_create", &c->acks.late);
    report_times(round, phase, "late_stream", &slow.streams.late);
    report_times(round, phase, "late_poll", &slow.polls.late);
}

/* Publishes so many, and waits until the prompt have them. False if they do not come to that. */
static bool slow_campaign(int round, const char *phase, int messages)
{
    const struct options *o = &load.options;
    struct campaign c = {.messages = (uint32_t)messages,
                         .interval_ns = o->rate ? 1000000000U / (unsigned)o->rate : 0};
    struct spent before = {0}, after = {0};
    bool done;

    delays_clear(&slow.streams);
    delays_clear(&slow.polls);
    read_cpu(&before);
    done = campaign_run(&c, PROMPT, UINT64_MAX, campaign_over);
    read_cpu(&after);
    if (round) {
        char name[32];

        report_campaign(round, phase, &c);
        snprintf(name, sizeof name, "%s_cpu_us_a_create", phase);
        report_cpu(round, name, &before, &after, figures_among(c.acked) / 1e3);
        report_rss(round, phase);
    }
    delays_free(&c.acks);
    return done;
}

/* The streams that are still to get something. */
static bool caught_up(const struct campaign *c, enum reader_sort sort)
{
    (void)c;
    return crowd.book.owed[sort] == 0;
}

/* Lets the streams read, until all have everything. */
static bool catch_up(int round)
{
    struct campaign probe = {
        .messages = UINT32_MAX, .interval_ns = PROBE_NS, .probe = "create?channel=probe"};
    uint64_t start = clock_ns(), bytes = 0;
    double seconds;
    bool done;

    for (int i = slow.prompt; i < crowd.n; i++)
        if (load.conns[i].fd >= 0)
            conn_want(&load.conns[i], crowd.slow_epoll, true, load.conns[i].wants_out);
    done = campaign_run(&probe, SLOW, start + CATCH_UP_MAX_S * 1000000000ULL, caught_up);
    seconds = (double)(clock_ns() - start) / 1e9;
    probe.messages = probe.sent;
    done = campaign_run(&probe, PROMPT, UINT64_MAX, campaign_over) && done;
    for (int i = slow.prompt; i < crowd.n; i++)
        bytes += load.conns[i].read_bytes;
    report_named(round, "catch", "up_s", seconds);
    report_named(round, "catch", "up_mib_a_second", (double)bytes / 1048576 / seconds);
    report_times(round, "catch", "create", &probe.acks.all);
    report_rss(round, "catch");
    delays_free(&probe.acks);
    return done;
}

static bool slow_round(int round)
{
    const struct reader like = {.sort = SLOW};
    bool done = slow_campaign(round, "alone", load.options.messages);

    if (!done)
        return false;
    open_streams(crowd.choices, slow.prompt, crowd.n - slow.prompt, &like, &slow.status,
                 load.options.readers);
    report_rss(round, "opened");
    done = slow_campaign(round, "slow", load.options.messages);
    figures_add(&load.figures, round, "streams_behind",
                (double)counted(&slow.status, NULL, "\"streams_behind\":"));
    done = catch_up(round) && done;
    crowd_settle(200000000U);
    for (int i = slow.prompt; i < crowd.n; i++)
        reader_close(&crowd.readers[i]);
    if (!wait_counted(&slow.status, streams_counted, load.options.readers))
        die("the server counts streams that have been closed");
    return done;
}

static void run_slow(void)
{
    const struct options *o = &load.options;
    bool done;

    check_poll_option();
    slow.prompt = o->readers + o->polls;
    crowd_start(slow.prompt + o->conns, o->publishers);
    if (crowd.choices_n > 1 || crowd.choices->kind->poll)
        die("--kind is one for slow, and not poll: it has polls of its own");
    publishers_start(o->publishers);
    publishing.samples = load.watches > 0;
    make_request(&slow.poll, o->poll, NULL, "");
    make_request(&slow.status, o->status, NULL, "");
    await_nothing_open(&slow.status);
    open_prompt();
    done = slow_campaign(0, "", o->messages);
    for (int round = 1; round <= o->rounds && done; round++) {
        done = slow_round(round);
        count_book(round == o->rounds);
        report_errors(round);
    }
    if (!done)
        die("not all messages came");
    request_free(&slow.poll);
    request_free(&slow.status);
    delays_free(&slow.streams);
    delays_free(&slow.polls);
    publishers_free();
    crowd_free();
}

#endif

/* rate.h - the mode of the load generator that asks as fast as it is answered.
 *
 *     run_rate();    // with `load` filled in
 */
#ifndef ENCKE_BENCH_RATE_H
#define ENCKE_BENCH_RATE_H

#include "tests/bench/relay.h"

struct rate {
    struct request request;
    struct request *varied; /* with --vary: one a connection */
    unsigned asked;
    uint64_t from_ns, until_ns; /* answers between these count */
    uint64_t answered;
    int open; /* requests without their answer */
    struct samples answers;
};

static void rate_ask(struct rate *rate, struct conn *conn)
{
    const struct request *request = &rate->request;

    if (load.options.vary) {
        make_varied(&rate->varied[conn->number], "", rate->asked++);
        request = &rate->varied[conn->number];
    }
    rate->open += ask(conn, request);
}

/* Whether an answer is what is expected; counted if not. */
static bool rate_is_good(const struct answer *a)
{
    const char *expect = load.options.expect;
    bool good = count_status(a->status);

    if (!good || !expect)
        return good;
    good = memmem(a->text + a->head_len, a->kept - a->head_len, expect, strlen(expect));
    load.errors.wrong += !good;
    return good;
}

static void rate_news(struct conn *conn, enum conn_news news, void *context)
{
    struct rate *rate = context;
    uint64_t now = clock_ns();
    bool counts = now >= rate->from_ns && now < rate->until_ns;

    rate->open--;
    count_news(news);
    if (news == CONN_ANSWERED && rate_is_good(&conn->answer) && counts)
        samples_add(&rate->answers, now - conn->asked_ns);
    if (now < rate->until_ns)
        rate_ask(rate, conn);
}

/* Turns until `until_ns`, or until no request is open. */
static void rate_turn_until(struct rate *rate, uint64_t until_ns)
{
    while (clock_ns() < until_ns && rate->open > 0)
        take_turn(10, rate_news, rate);
}

static void report_rate(struct rate *rate, const struct spent *before, const struct spent *after)
{
    struct samples *s = &rate->answers;
    struct figures *f = &load.figures;

    figures_add(f, 1, "requests_a_second", (double)s->n / load.options.seconds);
    figures_add(f, 1, "p50_ms", samples_ms(s, 0.5));
    figures_add(f, 1, "p99_ms", samples_ms(s, 0.99));
    figures_add(f, 1, "most_ms", samples_ms(s, 1));
    report_cpu(1, "cpu_us_a_request", before, after, figures_among(s->n) / 1e3);
    report_errors(1);
}

/* Asks on all connections, from now until nothing is open any more; reads what was spent
 * at the beginning and at the end of what counts. */
static void rate_run(struct rate *rate, struct spent *before, struct spent *after)
{
    open_all(load.options.conns);
    make_request(&rate->request, "", load.options.post, load.options.type);
    rate->varied = calloc((size_t)load.options.conns, sizeof *rate->varied);
    if (!rate->varied)
        die("no memory for %d requests", load.options.conns);
    for (int i = 0; i < load.options.conns; i++)
        rate_ask(rate, &load.conns[i]);
    rate_turn_until(rate, rate->from_ns);
    read_cpu(before);
    rate_turn_until(rate, rate->until_ns);
    read_cpu(after);
    rate_turn_until(rate, rate->until_ns + (uint64_t)load.options.give_up_s * 1000000000U);
    load.errors.unanswered += (unsigned)rate->open;
    request_free(&rate->request);
    for (int i = 0; i < load.options.conns; i++)
        request_free(&rate->varied[i]);
    free(rate->varied);
    close_all();
}

static void run_rate(void)
{
    struct rate rate = {0};
    struct spent before = {0}, after = {0};

    rate.from_ns = clock_ns() + 500000000U;
    rate.until_ns = rate.from_ns + (uint64_t)load.options.seconds * 1000000000U;
    rate_run(&rate, &before, &after);
    report_rate(&rate, &before, &after);
    samples_free(&rate.answers);
}

#endif

/* fanout.h - the mode of the load generator that holds many requests and publishes once.
 *
 *     run_fanout();    // with `load` filled in
 */
#ifndef ENCKE_BENCH_FANOUT_H
#define ENCKE_BENCH_FANOUT_H

#include "tests/bench/relay.h"

/* What is asked: one for all, or one a connection where they differ. */
struct polls {
    struct request *of;
    int n;
};

static void make_polls(struct polls *polls)
{
    bool differ = load.options.vary || load.dialect->counts_all;

    polls->n = differ ? load.options.conns : 1;
    polls->of = calloc((size_t)polls->n, sizeof *polls->of);
    if (!polls->of)
        die("no memory for %d requests", polls->n);
    for (int i = 0; i < polls->n; i++)
        make_varied(&polls->of[i], load.options.poll, (unsigned)i);
}

/* Where a poll without a place would be answered again with what has been there already, each goes
 * on behind its last answer, as long as that has one. */
static void follow_polls(struct polls *polls)
{
    for (int i = 0; load.dialect->counts_all && i < polls->n; i++) {
        const struct answer *a = &load.conns[i].answer;
        struct request next = {0};

        if (load.dialect->next(&next, &load.target, load.options.poll, a)) {
            request_free(&polls->of[i]);
            polls->of[i] = next;
        }
    }
}

static void free_polls(struct polls *polls)
{
    for (int i = 0; i < polls->n; i++)
        request_free(&polls->of[i]);
    free(polls->of);
}

/* Asks on every connection, a batch at a time so that no backlog overflows, and waits until all
 * that could be asked are held. Returns how many those are. */
static int park(const struct polls *polls, const struct request *status)
{
    int asked = 0;

    for (int i = 0; i < load.options.conns; i++) {
        asked += ask(&load.conns[i], &polls->of[polls->n > 1 ? i : 0]);
        if ((i + 1) % load.options.batch == 0 && !wait_counted(status, holds_counted, asked))
            break;
    }
    /* Not an error of its own: each request that is not held is answered early, or never. */
    wait_counted(status, holds_counted, asked);
    return asked;
}

struct round {
    int number;
    int asked;        /* not answered yet */
    uint64_t sent_ns; /* the publish; 0: not yet */
    uint64_t done_ns; /* its acknowledgement; 0: not yet */
    char message[SIZE_MAX_BYTES + 1];
    struct samples answers; /* when they came, since sent_ns */
};

static void make_message(struct round *round)
{
    char *message = round->message;

    snprintf(message, SIZE_MAX_BYTES, "round-%d-%llx-", round->number,
             (unsigned long long)clock_ns()); /* different from all others */
    for (size_t len = strlen(message); len < (size_t)load.options.size; len++) {
        message[len] = (char)('a' + len % 26);
        message[len + 1] = 0;
    }
}

static void take_answer(struct conn *conn, enum conn_news news, void *context)
{
    struct round *round = context;
    const struct answer *a = &conn->answer;
    bool good = news == CONN_ANSWERED && count_status(a->status);

    count_news(news);
    if (conn == publish_conn()) {
        round->done_ns = clock_ns();
        return;
    }
    round->asked--;
    if (!good)
        return;
    if (!round->sent_ns) {
        load.errors.early++;
        return;
    }
    samples_add(&round->answers, clock_ns() - round->sent_ns);
    if (!memmem(a->text, a->kept, round->message, strlen(round->message)))
        load.errors.wrong++;
}

/* Waits for the acknowledgement and the answers. */
static void gather(struct round *round, uint64_t until_ns)
{
    while ((round->asked > 0 || !round->done_ns) && clock_ns() < until_ns)
        take_turn(100, take_answer, round);
    load.errors.unanswered += (unsigned)round->asked + !round->done_ns;
}

/* What comes a second time, comes late. */
static void settle(struct round *round)
{
    uint64_t until = clock_ns() + 200000000U;

    while (clock_ns() < until)
        take_turn(10, take_answer, round);
}

/* A publish, all its answers, and what they cost. */
static void fan_out(struct round *round)
{
    char body[SIZE_MAX_BYTES + 256];
    uint64_t give_up_ns = (uint64_t)load.options.give_up_s * 1000000000U;
    struct spent before = {0}, after = {0};
    struct request publish;

    snprintf(body, sizeof body, "%s%s", load.options.form, round->message);
    make_publish(&publish, load.options.publish, body);
    while (take_turn(0, take_answer, round) > 0)
        ; /* what has been answered by now was not held */
    read_cpu(&before);
    round->sent_ns = clock_ns();
    if (!ask_at(&load.publish_at, load.epoll, publish_conn(), &publish))
        die("the message could not be published");
    gather(round, round->sent_ns + give_up_ns);
    read_cpu(&after);
    if (!round->done_ns)
        die("the publish was not answered");
    figures_add(&load.figures, round->number, "answers", (double)round->answers.n);
    report_spread(round->number, &round->answers, (double)(round->done_ns - round->sent_ns) / 1e6);
    report_cpu(round->number, "cpu_ms", &before, &after, 1);
    request_free(&publish);
}

static void report_memory(const struct spent *before, const struct spent *after, long holds)
{
    double among = figures_among(holds > 0 ? (size_t)holds : 0);

    for (int i = 0; i < load.watches; i++) {
        double rss = after->rss_kib[i] - before->rss_kib[i];
        double anon = after->anon_kib[i] - before->anon_kib[i];

        report_watch(1, i, "rss_bytes_a_hold", rss * 1024 / among);
        report_watch(1, i, "heap_bytes_a_hold", anon * 1024 / among);
    }
}

static void run_fanout(void)
{
    static struct round round;
    struct polls polls = {0};
    struct request status;
    struct spent before, after;
    long held;

    open_all(load.options.conns);
    make_polls(&polls);
    make_request(&status, load.options.status, NULL, "");
    if (!conn_open(load.control, &load.target, load.epoll))
        die("cannot connect: %s", strerror(errno));
    if (!wait_counted(&status, holds_counted, 0))
        die("the server holds requests already: %ld", holds_counted(&status));
    for (round.number = 1; round.number <= load.options.rounds; round.number++) {
        round.sent_ns = round.done_ns = 0;
        make_message(&round);
        samples_clear(&round.answers);
        read_all(&before);
        round.asked = park(&polls, &status);
        await_relay(round.number, round.asked);
        if (round.number == 1) {
            held = holds_counted(&status); /* some may have been refused */
            read_all(&after);
            report_memory(&before, &after, held);
        }
        if (round.number == 1 && load.options.idle_s)
            idle();
        fan_out(&round);
        follow_polls(&polls);
        if (round.number == load.options.rounds)
            settle(&round);
        report_errors(round.number);
    }
    samples_free(&round.answers);
    free_polls(&polls);
    request_free(&status);
    close_all();
}

#endif

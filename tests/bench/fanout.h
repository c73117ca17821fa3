/* fanout.h - the mode of the load generator that holds many requests and publishes once.
 *
 *     run_fanout();    // with `load` filled in
 *
 * With several processes the requests are the workers', and the first process has but the publish.
 */
#ifndef ENCKE_BENCH_FANOUT_H
#define ENCKE_BENCH_FANOUT_H

#include "tests/bench/relay.h"
#include "tests/bench/team.h"

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
        make_varied(&polls->of[i], load.options.poll, (unsigned)(load.first + i));
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
 * that could be asked are held, besides those that were before. Returns how many those are. */
static int park(const struct polls *polls, const struct request *status, int before)
{
    int asked = 0;

    for (int i = 0; i < load.options.conns; i++) {
        asked += ask(&load.conns[i], &polls->of[polls->n > 1 ? i : 0]);
        if ((i + 1) % load.options.batch == 0 &&
            !wait_counted(status, holds_counted, before + asked))
            break;
    }
    /* Not an error of its own: each request that is not held is answered early, or never. */
    wait_counted(status, holds_counted, before + asked);
    return asked;
}

struct round {
    int number;
    int asked;        /* not answered yet */
    uint64_t stamp;   /* makes the message different from all others */
    uint64_t sent_ns; /* the publish */
    uint64_t done_ns; /* its acknowledgement; 0: not yet */
    char message[SIZE_MAX_BYTES + 1];
    struct samples answers; /* when they came; at the end, since sent_ns */
};

static void make_message(struct round *round)
{
    char *message = round->message;

    snprintf(message, SIZE_MAX_BYTES, "round-%d-%llx-", round->number,
             (unsigned long long)round->stamp);
    for (size_t len = strlen(message); len < (size_t)load.options.size; len++) {
        message[len] = (char)('a' + len % 26);
        message[len + 1] = 0;
    }
}

static void take_answer(struct round *round, struct conn *conn, enum conn_news news)
{
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
    samples_add(&round->answers, clock_ns());
    if (!memmem(a->text, a->kept, round->message, strlen(round->message)))
        load.errors.wrong++;
}

/* One turn of epoll, of at most `wait_ms`. False if an order has come. */
static bool turn(struct round *round, int wait_ms)
{
    struct epoll_event events[CONN_EVENTS];
    int n = epoll_wait(load.epoll, events, CONN_EVENTS, wait_ms);
    bool ordered = false;

    for (int i = 0; i < n; i++) {
        struct conn *conn = events[i].data.ptr;
        bool asked = conn && conn->asked;
        enum conn_news news = CONN_NOTHING;

        if (conn)
            news = conn_step(conn, load.epoll, events[i].events);
        else
            ordered = true;
        if (!asked)
            count_unasked(news);
        else if (news != CONN_NOTHING)
            take_answer(round, conn, news);
    }
    return !ordered;
}

/* Waits for the acknowledgement, and for the answers to what this process has asked. */
static void gather(struct round *round, uint64_t until_ns)
{
    while ((round->asked > 0 || !round->done_ns) && clock_ns() < until_ns)
        turn(round, 100);
    load.errors.unanswered += (unsigned)round->asked + !round->done_ns;
}

/* And for those of the workers. What comes late is heard with the order to end. */
static void gather_team(struct round *round, uint64_t until_ns)
{
    const struct order end = {.what = ORDER_END};
    struct report report;

    for (int i = 0; i < team.n; i++) {
        if (team_hear(&team.of[i], until_ns, &report, &round->answers))
            continue;
        team_tell(&team.of[i], &end);
        if (!team_hear(&team.of[i], clock_ns() + 1000000000U, &report, &round->answers))
            die("a worker does not answer");
    }
}

/* From when answers came to how long they took. What came before the publish is an error, and no
 * answer. */
static void since_publish(struct round *round)
{
    struct samples *s = &round->answers;
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        if (s->ns[i] >= round->sent_ns)
            s->ns[n++] = s->ns[i] - round->sent_ns;
    load.errors.early += (unsigned)(s->n - n);
    load.errors.wrong -= (unsigned)(s->n - n); /* none of those had the message */
    s->n = n;
}

/* What comes a second time, comes late. */
static void settle(struct round *round)
{
    uint64_t until = clock_ns() + 200000000U;

    while (clock_ns() < until)
        turn(round, 10);
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
    turn(round, 0); /* what has been answered by now was not held */
    read_cpu(&before);
    round->sent_ns = clock_ns();
    if (!ask_at(&load.publish_at, load.epoll, publish_conn(), &publish))
        die("the message could not be published");
    gather(round, round->sent_ns + give_up_ns);
    gather_team(round, round->sent_ns + give_up_ns);
    read_cpu(&after);
    if (!round->done_ns)
        die("the publish was not answered");
    since_publish(round);
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

/* What a worker does: rounds of one order to park, and one report of what was answered. */
static void fanout_work(void)
{
    struct round round = {.done_ns = 1 /* the publish is not its own */};
    struct epoll_event ordered = {.events = EPOLLIN, .data.ptr = NULL};
    struct order order;
    struct report report = {0};
    struct request status;
    struct polls polls;
    uint64_t own_ns;

    open_all(load.options.conns);
    make_polls(&polls);
    make_request(&status, load.options.status, NULL, "");
    epoll_ctl(load.epoll, EPOLL_CTL_ADD, team.fd, &ordered);
    for (;;) {
        team_order(&order);
        if (order.what == ORDER_END)
            continue; /* of a round that had just ended */
        round.number = order.round;
        round.stamp = order.stamp;
        samples_clear(&round.answers);
        make_message(&round);
        report.asked = round.asked = park(&polls, &status, order.before);
        turn(&round, 0); /* what has been answered by now was not held */
        report.own_ns = 0;
        team_report(&report, NULL);
        own_ns = own_cpu_ns();
        while (round.asked > 0 && turn(&round, 1000))
            ;
        load.errors.unanswered += (unsigned)round.asked;
        report.own_ns = own_cpu_ns() - own_ns;
        team_report(&report, &round.answers);
        follow_polls(&polls);
    }
}

/* Asks all there is to ask, worker after worker. Returns how many are held. */
static int park_all(struct round *round, const struct polls *polls, const struct request *status)
{
    struct order order = {.what = ORDER_PARK, .round = round->number, .stamp = round->stamp};
    /* A worker waits for its batches, each as long as --give-up, and may ask again. */
    uint64_t long_ns = (uint64_t)(load.options.conns / load.options.batch + 2) *
                       (uint64_t)load.options.give_up_s * 1000000000U;
    struct report report;

    if (!team.n) {
        round->asked = park(polls, status, 0);
        return round->asked;
    }
    for (int i = 0; i < team.n; i++) {
        team_tell(&team.of[i], &order);
        if (!team_hear(&team.of[i], clock_ns() + long_ns, &report, NULL))
            die("a worker does not answer");
        order.before += report.asked;
    }
    return order.before;
}

static void run_fanout(void)
{
    static struct round round;
    struct polls polls = {0};
    struct request status;
    struct spent before, after;
    long held;

    if (load.options.processes > 1)
        team_start(load.options.processes, fanout_work);
    open_all(team.n ? 0 : load.options.conns);
    if (!team.n)
        make_polls(&polls);
    make_request(&status, load.options.status, NULL, "");
    if (!conn_open(load.control, &load.target, load.epoll))
        die("cannot connect: %s", strerror(errno));
    if (!wait_counted(&status, holds_counted, 0))
        die("the server holds requests already: %ld", holds_counted(&status));
    for (round.number = 1; round.number <= load.options.rounds; round.number++) {
        round.done_ns = 0;
        round.stamp = clock_ns();
        make_message(&round);
        samples_clear(&round.answers);
        read_all(&before);
        await_relay(round.number, park_all(&round, &polls, &status));
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
    team_end();
    samples_free(&round.answers);
    free_polls(&polls);
    request_free(&status);
    close_all();
}

#endif

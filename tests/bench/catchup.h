/* catchup.h - the mode of the load generator that asks for what follows a random old cursor.
 *
 *     run_catchup();    // with `load` filled in
 *
 * --conns connections, one update at a time each, with a cursor from anywhere in the log (or of its
 * last --behind messages) that has --limit messages behind it: so many must come, the next first.
 */
#ifndef ENCKE_BENCH_CATCHUP_H
#define ENCKE_BENCH_CATCHUP_H

#include "tests/bench/behind.h"

static struct catchup {
    struct cursors *cursors; /* one a connection, as are the requests */
    struct request *requests;
    uint64_t least, choice; /* cursors are drawn from `least` on, of so many */
    uint64_t from_ns, until_ns, moved_ns;
    uint64_t asked, most;
    int open;
    uint64_t bytes;
    struct samples answers;
} catchup;

static void catchup_ask(struct conn *conn)
{
    struct request *request = &catchup.requests[conn->number];
    struct cursors *cursors = &catchup.cursors[conn->number];
    uint64_t seq = catchup.least + behind_random(catchup.choice);

    cursors_begin(cursors, seq);
    conn->answer.take = behind_take;
    conn->answer.taker = cursors;
    request_free(request);
    behind_ask(request, seq);
    catchup.asked++;
    catchup.open += ask(conn, request);
}

static void catchup_news(struct conn *conn, enum conn_news news, void *context)
{
    struct cursors *cursors = &catchup.cursors[conn->number];
    uint32_t limit = (uint32_t)load.options.limit, got = cursors_messages(cursors);

    (void)context;
    catchup.open--;
    catchup.moved_ns = clock_ns();
    count_news(news);
    if (news == CONN_ANSWERED && count_status(conn->answer.status)) {
        cursors->missed += got < limit ? limit - got : 0;
        load.errors.wrong += got > limit;
        behind_check(cursors);
        if (conn->asked_ns >= catchup.from_ns && conn->read_ns < catchup.until_ns) {
            samples_add(&catchup.answers, conn->read_ns - conn->asked_ns);
            catchup.bytes += conn->answer.seen;
        }
    }
    if (conn->read_ns < catchup.until_ns && catchup.asked < catchup.most)
        catchup_ask(conn);
}

/* Turns until then, until all is answered, or until nothing has been for --give-up. */
static void catchup_turn_until(uint64_t until_ns)
{
    uint64_t give_up_ns = (uint64_t)load.options.give_up_s * 1000000000U, now;

    catchup.moved_ns = clock_ns();
    while (catchup.open > 0 && (now = clock_ns()) < until_ns && now < catchup.moved_ns + give_up_ns)
        take_turn(10, catchup_news, NULL);
}

static void report_catchup(double seconds, const struct spent *before, const struct spent *after)
{
    struct samples *s = &catchup.answers;
    struct figures *f = &load.figures;
    double n = (double)s->n;

    figures_add(f, 1, "head", (double)behind.head);
    figures_add(f, 1, "answers", n);
    figures_add(f, 1, "requests_a_second", n / seconds);
    figures_add(f, 1, "messages_a_second", n * load.options.limit / seconds);
    figures_add(f, 1, "mib_a_second", (double)catchup.bytes / 1048576 / seconds);
    figures_add(f, 1, "p50_ms", samples_ms(s, 0.5));
    figures_add(f, 1, "p99_ms", samples_ms(s, 0.99));
    figures_add(f, 1, "most_ms", samples_ms(s, 1));
    report_cpu(1, "cpu_us_a_request", before, after, figures_among(s->n) / 1e3);
    report_errors(1);
}

/* For so many seconds after half a second that is not measured; or (--messages) so many requests,
 * each of which is. */
static void catchup_limits(void)
{
    const struct options *o = &load.options;
    uint64_t limit = (uint64_t)o->limit, now = clock_ns();
    uint64_t least =
        o->behind && (uint64_t)o->behind < behind.head ? behind.head - (uint64_t)o->behind : 1;

    if (behind.head < least + limit)
        die("the log has %llu messages, and none of them has %d behind it that may be asked for",
            (unsigned long long)behind.head, o->limit);
    catchup.least = least;
    catchup.choice = behind.head - limit - least + 1;
    catchup.most = o->messages ? (uint64_t)o->messages : UINT64_MAX;
    catchup.from_ns = o->messages ? now : now + 500000000U;
    catchup.until_ns =
        o->messages ? UINT64_MAX : catchup.from_ns + (uint64_t)o->seconds * 1000000000U;
}

static void run_catchup(void)
{
    const struct options *o = &load.options;
    uint64_t end;
    struct spent before = {0}, after = {0};
    struct request status;

    check_poll_option();
    open_all(o->conns);
    make_request(&status, o->status, NULL, "");
    behind_look(&status);
    catchup.cursors = calloc((size_t)o->conns, sizeof *catchup.cursors);
    catchup.requests = calloc((size_t)o->conns, sizeof *catchup.requests);
    if (!catchup.cursors || !catchup.requests)
        die("no memory for %d connections", o->conns);
    catchup_limits();
    for (int i = 0; i < o->conns && catchup.asked < catchup.most; i++)
        catchup_ask(&load.conns[i]);
    catchup_turn_until(catchup.from_ns);
    read_cpu(&before);
    catchup_turn_until(catchup.until_ns);
    read_cpu(&after);
    end = clock_ns();
    catchup_turn_until(UINT64_MAX);
    load.errors.unanswered += (unsigned)catchup.open;
    report_catchup((double)(end - catchup.from_ns) / 1e9, &before, &after);
    samples_free(&catchup.answers);
    for (int i = 0; i < o->conns; i++)
        request_free(&catchup.requests[i]);
    free(catchup.requests);
    free(catchup.cursors);
    request_free(&status);
    close_all();
}

#endif

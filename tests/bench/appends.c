/* appends.c - the load generator for stores that speak no HTTP: messages a second, each asked for
 * by a connection of its own and acknowledged before the next.
 *
 *     appends [-c] [-n CONNS] [-t SECONDS] [-s SIZE] [-w NAME=PID,...] STORE ADDRESS
 *     appends -m COUNT [-n CONNS] [-s SIZE] STORE ADDRESS
 *
 * STORE is redis, postgresql, nats or beanstalkd; each is asked by its own client library
 * (to_STORE.h). CONNS (64) connections append messages of SIZE (60) bytes, one at a time each, for
 * SECONDS (5) after half a second that is not measured, in a store that was emptied before if it
 * can be; or COUNT in all to what is there, and nothing is measured.
 * The figures are those of `load rate`, which does the same with Encke: a second, how long an
 * answer took, the CPU of this process and of the store's. With PostgreSQL that includes the
 * process behind each connection, beside those that -w names.
 */
#include <getopt.h>

#include "tests/bench/appender.h"
#include "tests/bench/number.h"
#include "tests/bench/to_beanstalkd.h"
#include "tests/bench/to_nats.h"
#include "tests/bench/to_postgresql.h"
#include "tests/bench/to_redis.h"

enum { CONNS_MAX = 1000, SECONDS_MAX = 600, SIZE_MAX_BYTES = 60000, COUNT_MAX = 100000000 };
enum { EVENTS = 512, GIVE_UP_MS = 10000 };

static const struct store *const stores[] = {&redis_store, &postgresql_store, &nats_store,
                                             &beanstalkd_store};
enum { STORES = sizeof stores / sizeof *stores };

static struct run {
    int conns, seconds, size, count;
    struct appender *appenders;
    uint64_t from_ns, until_ns; /* answers between these count */
    int sent, open;             /* so many in all; without their answer */
    struct samples answers;
    struct figures figures;
} run = {.conns = 64, .seconds = 5, .size = 60};

/* ---- options -------------------------------------------------------------------------------- */

static void __attribute__((noreturn)) explain(void)
{
    fputs("usage: appends [-c] [-n CONNS] [-t SECONDS | -m COUNT] [-s SIZE] [-w NAME=PID,...]"
          " STORE ADDRESS\n",
          stderr);
    for (int i = 0; i < STORES; i++)
        fprintf(stderr, "       STORE ADDRESS: %s %s\n", stores[i]->name, stores[i]->address);
    exit(2);
}

static void take_number(int *value, int most)
{
    if (!number_read(optarg, 1, most, value))
        die("'%s' is not a number from 1 to %d", optarg, most);
}

static void take_option(int option)
{
    switch (option) {
    case 'c':
        run.figures.csv = true;
        return;
    case 'n':
        take_number(&run.conns, CONNS_MAX);
        return;
    case 't':
        take_number(&run.seconds, SECONDS_MAX);
        return;
    case 's':
        take_number(&run.size, SIZE_MAX_BYTES);
        return;
    case 'm':
        take_number(&run.count, COUNT_MAX);
        return;
    case 'w':
        if (!watch_parse(&appends.watch, optarg))
            die("-w is NAME=PID[,PID...] with processes that run, not '%s'", optarg);
        return;
    default:
        explain();
    }
}

static void make_message(void)
{
    appends.message_len = (size_t)run.size;
    appends.message = calloc(1, appends.message_len + 1);
    run.appenders = calloc((size_t)run.conns, sizeof *run.appenders);
    if (!appends.message || !run.appenders)
        die("out of memory");
    memset(appends.message, 'x', appends.message_len);
}

/* ---- the run -------------------------------------------------------------------------------- */

static void append_next(struct appender *a)
{
    a->asked_ns = clock_ns();
    run.sent++;
    run.open++;
    appends.store->append(a);
}

static void appended(struct appender *a)
{
    uint64_t now = clock_ns();

    run.open--;
    if (now >= run.from_ns && now < run.until_ns)
        samples_add(&run.answers, now - a->asked_ns);
    if (run.count ? run.sent < run.count : now < run.until_ns)
        append_next(a);
}

/* One turn of epoll: takes what came. */
static void take_turn(void)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(appends.epoll, events, EVENTS, GIVE_UP_MS);

    if (n == 0)
        die("%s has not answered for %d s", appends.store->name, GIVE_UP_MS / 1000);
    for (int i = 0; i < n; i++)
        if (appends.store->step(events[i].data.ptr, events[i].events) == APPENDED)
            appended(events[i].data.ptr);
}

/* Turns until that time, or until no message is on its way. */
static void turn_until(uint64_t until_ns)
{
    while (clock_ns() < until_ns && run.open > 0)
        take_turn();
}

/* ---- what was spent ---------------------------------------------------------------------------
 */

struct spent {
    double own_ns, store_ns;
};

static struct spent spent_now(void)
{
    struct timespec own;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    return (struct spent){.own_ns = (double)own.tv_sec * 1e9 + (double)own.tv_nsec,
                          .store_ns = watch_cpu_ns(&appends.watch)};
}

static void report(const struct spent *before, const struct spent *after)
{
    struct figures *f = &run.figures;
    double n = figures_among(run.answers.n);
    char name[64];

    figures_add(f, 1, "requests_a_second", (double)run.answers.n / run.seconds);
    figures_add(f, 1, "p50_ms", samples_ms(&run.answers, 0.5));
    figures_add(f, 1, "p99_ms", samples_ms(&run.answers, 0.99));
    figures_add(f, 1, "most_ms", samples_ms(&run.answers, 1));
    figures_add(f, 1, "load_cpu_us_a_request", (after->own_ns - before->own_ns) / 1e3 / n);
    if (!appends.watch.n)
        return;
    snprintf(name, sizeof name, "%s_cpu_us_a_request", appends.watch.name);
    figures_add(f, 1, name, (after->store_ns - before->store_ns) / 1e3 / n);
}

static void measure(void)
{
    struct spent before, after;

    run.from_ns = clock_ns() + 500000000U;
    run.until_ns = run.from_ns + (uint64_t)run.seconds * 1000000000U;
    for (int i = 0; i < run.conns; i++)
        append_next(&run.appenders[i]);
    turn_until(run.from_ns);
    before = spent_now();
    turn_until(run.until_ns);
    after = spent_now();
    turn_until(UINT64_MAX);
    report(&before, &after);
}

static void append_all(void)
{
    for (int i = 0; i < run.conns && run.sent < run.count; i++)
        append_next(&run.appenders[i]);
    turn_until(UINT64_MAX);
}

int main(int argc, char **argv)
{
    int option;
    const char *address;

    while ((option = getopt(argc, argv, "cn:t:s:m:w:h")) != -1)
        take_option(option);
    if (optind + 2 != argc)
        explain();
    for (int i = 0; i < STORES; i++)
        if (strcmp(argv[optind], stores[i]->name) == 0)
            appends.store = stores[i];
    if (!appends.store)
        explain();
    address = argv[optind + 1];
    appends.epoll = epoll_create1(EPOLL_CLOEXEC);
    make_message();
    appends.store->prepare(address, !run.count);
    for (int i = 0; i < run.conns; i++)
        appends.store->open(&run.appenders[i], address);
    if (run.count)
        append_all();
    else
        measure();
    figures_print(&run.figures);
    return 0;
}

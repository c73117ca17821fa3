/* pair.c - two daemons compared, one operation of each in turn.
 *
 *     pair [-c] [-n OPS] [-r ROUNDS] [-s SIZE] -w A=PID -w B=PID BASE BASE
 *
 * What disturbs a machine for a second disturbs whole turns of a benchmark, but both of two
 * operations that follow each other at once. So the ratio of their medians tells differences of a
 * percent where other programs run, too. BASE is as load(1) has it; the first daemon is A.
 *
 * For each operation ROUNDS (5) rounds of OPS (2000) a daemon: the median of the time that one
 * took, in microseconds, the CPU of the daemon for one, and what B's is to A's. An operation with
 * many connections is done OPS / 20 times.
 *
 *     create   one message of SIZE (60) bytes: until it is acknowledged
 *     chain    one message: until a reader, which was held before, has it
 *     creates  64 messages at once: until the last is acknowledged
 *     updates  64 requests at once, each with a message ready: until the last is answered
 */
#include <getopt.h>
#include <stdarg.h>

#include "tests/bench/conn.h"
#include "tests/bench/dialect.h"
#include "tests/bench/number.h"
#include "tests/bench/watch.h"

enum {
    MANY = 64,
    OPS_MAX = 1000000,
    SIZE_LIMIT = WIRE_BODY_MAX - 4,
    GIVE_UP_MS = 10000,
    SIDES = 2
};

/* A daemon, and the connections to it. */
struct side {
    struct target target;
    struct watch watch;
    int epoll;
    struct conn conns[MANY], reader;
    struct request create, update, poll; /* poll: the reader's, of this time */
    struct samples times;
};

static struct side sides[SIDES];
static int ops = 2000, rounds = 5, size = 60;
static struct figures figures;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("pair: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

/* ---- requests and answers ------------------------------------------------------------------- */

/* Connects if need be: the daemon closes what has been idle for long. */
static void ask(struct side *s, struct conn *conn, const struct request *request)
{
    if (conn->fd < 0 && !conn_open(conn, &s->target, s->epoll))
        die("a daemon does not listen");
    if (!conn_ask(conn, &s->target, s->epoll, request))
        die("a connection was closed");
}

/* Waits until so many answers have come; returns when the last one did. */
static uint64_t await(struct side *s, int answers)
{
    struct epoll_event events[MANY];
    uint64_t last_ns = 0;

    while (answers) {
        int n = epoll_wait(s->epoll, events, MANY, GIVE_UP_MS);

        if (n == 0)
            die("no answer for %d s", GIVE_UP_MS / 1000);
        for (int i = 0; i < n; i++) {
            struct conn *conn = events[i].data.ptr;
            bool asked = conn->asked;
            enum conn_news news = conn_step(conn, s->epoll, events[i].events);

            if (news == CONN_NOTHING || !asked)
                continue;
            if (news != CONN_ANSWERED || conn->answer.status != 200)
                die("a bad answer, or none: %.*s", (int)conn->answer.kept, conn->answer.text);
            last_ns = conn->read_ns;
            answers--;
        }
    }
    return last_ns;
}

/* The reader asks for what follows its last answer; nobody waits until it is held: meanwhile the
 * other daemon has its turn. */
static void poll_next(struct side *s)
{
    request_free(&s->poll);
    if (!encke_next(&s->poll, &s->target, "update?id=now", &s->reader.answer))
        die("an answer without a cursor");
    ask(s, &s->reader, &s->poll);
}

/* The reader begins at a message of its own. */
static void poll_newest(struct side *s)
{
    ask(s, &s->reader, &s->create);
    await(s, 1);
    poll_next(s);
}

/* ---- operations: each returns how long it took -------------------------------------------------
 */

static uint64_t all_at_once(struct side *s, const struct request *request, int n)
{
    uint64_t start = clock_ns();

    for (int i = 0; i < n; i++)
        ask(s, &s->conns[i], request);
    return await(s, n) - start;
}

static uint64_t create(struct side *s)
{
    return all_at_once(s, &s->create, 1);
}

static uint64_t creates(struct side *s)
{
    return all_at_once(s, &s->create, MANY);
}

static uint64_t updates(struct side *s)
{
    return all_at_once(s, &s->update, MANY);
}

static uint64_t chain(struct side *s)
{
    uint64_t start, end;

    if (!s->reader.asked)
        poll_newest(s);
    start = clock_ns();
    ask(s, &s->conns[0], &s->create);
    await(s, 2); /* the reader's, and the acknowledgement */
    end = s->reader.read_ns;
    poll_next(s);
    return end - start;
}

static const struct operation {
    const char *name;
    uint64_t (*once)(struct side *);
    int fewer; /* so many times fewer of them */
} operations[] = {
    {"create", create, 1}, {"creates", creates, 20}, {"updates", updates, 20}, {"chain", chain, 1}};
enum { OPERATIONS = sizeof operations / sizeof *operations };

/* ---- rounds ---------------------------------------------------------------------------------- */

static void add_figure(int round, const struct operation *o, const char *what, double value)
{
    char name[64];

    snprintf(name, sizeof name, "%s_%s", o->name, what);
    figures_add(&figures, round, name, value);
}

static void report(int round, const struct operation *o, const double cpu_us[SIDES])
{
    double us[SIDES];

    for (int i = 0; i < SIDES; i++)
        us[i] = samples_ms(&sides[i].times, 0.5) * 1e3;
    add_figure(round, o, "a_us", us[0]);
    add_figure(round, o, "b_us", us[1]);
    add_figure(round, o, "ratio", us[1] / us[0]);
    add_figure(round, o, "a_cpu_us", cpu_us[0]);
    add_figure(round, o, "b_cpu_us", cpu_us[1]);
    add_figure(round, o, "cpu_ratio", cpu_us[1] / cpu_us[0]);
}

/* Each daemon so many times, one after the other. */
static void take_turns(const struct operation *o, int n)
{
    for (int i = 0; i < SIDES; i++)
        samples_clear(&sides[i].times);
    for (int i = 0; i < n * SIDES; i++) {
        struct side *s = &sides[i % SIDES];

        samples_add(&s->times, o->once(s));
    }
}

static void run_round(int round, const struct operation *o)
{
    int n = ops / o->fewer ? ops / o->fewer : 1;
    double cpu_us[SIDES];

    take_turns(o, n / 10 + 1); /* to warm up */
    for (int i = 0; i < SIDES; i++)
        cpu_us[i] = -watch_cpu_ns(&sides[i].watch) / 1e3 / n;
    take_turns(o, n);
    for (int i = 0; i < SIDES; i++)
        cpu_us[i] += watch_cpu_ns(&sides[i].watch) / 1e3 / n;
    report(round, o, cpu_us);
}

/* ---- the beginning --------------------------------------------------------------------------- */

static void make_requests(struct side *s, const char *body)
{
    if (!request_make(&s->create, &s->target, "create", body, form_type) ||
        !request_make(&s->update, &s->target, "update?limit=1", NULL, ""))
        die("a request cannot be made");
}

static void start(struct side *s, const char *body)
{
    make_requests(s, body);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->reader.fd = -1;
    for (int i = 0; i < MANY; i++)
        s->conns[i].fd = -1;
}

static void __attribute__((noreturn)) explain(void)
{
    fputs("usage: pair [-c] [-n OPS] [-r ROUNDS] [-s SIZE] -w A=PID -w B=PID BASE BASE\n", stderr);
    exit(2);
}

static void take_options(int argc, char **argv)
{
    int option, watched = 0;
    bool good = true;

    while (good && (option = getopt(argc, argv, "cn:r:s:w:")) != -1) {
        if (option == 'c')
            figures.csv = true;
        else if (option == 'n')
            good = number_read(optarg, 1, OPS_MAX, &ops);
        else if (option == 'r')
            good = number_read(optarg, 1, FIGURES_ROUNDS, &rounds);
        else if (option == 's')
            good = number_read(optarg, 1, SIZE_LIMIT, &size);
        else
            good = option == 'w' && watched < SIDES && watch_parse(&sides[watched++].watch, optarg);
    }
    if (!good || watched != SIDES || optind + SIDES != argc)
        explain();
    for (int i = 0; i < SIDES; i++)
        if (!target_parse(&sides[i].target, argv[optind + i]))
            explain();
}

int main(int argc, char **argv)
{
    char *body;

    take_options(argc, argv);
    body = calloc(1, (size_t)size + 5);
    if (!body)
        die("out of memory");
    memset(stpcpy(body, "msg="), 'x', (size_t)size);
    for (int i = 0; i < SIDES; i++)
        start(&sides[i], body);
    for (int i = 0; i < OPERATIONS; i++)
        for (int round = 1; round <= rounds; round++)
            run_round(round, &operations[i]);
    figures_print(&figures);
    return 0;
}

/* loadgen.h - what the modes of the load generator share: its options, the connections and who
 * answers for them, the count of errors, and what the servers have spent.
 *
 * For load.c alone, which is one thread and one run: so there is one `load`, and what cannot be
 * done ends the program with a line that says why.
 */
#ifndef ENCKE_BENCH_LOADGEN_H
#define ENCKE_BENCH_LOADGEN_H

#include <stdarg.h>
#include <sys/resource.h>

#include "tests/bench/conn.h"
#include "tests/bench/dialect.h"
#include "tests/bench/figures.h"
#include "tests/bench/watch.h"

enum { CONNS_MAX = 200000, SIZE_MAX_BYTES = 4096, STATUSES = 600 };

/* What went wrong, by kind. */
struct errors {
    unsigned connects;     /* a connection could not be made */
    unsigned lost;         /* a connection ended before its answer */
    unsigned bad;          /* bytes that are no answer */
    unsigned early;        /* answered before the publish */
    unsigned wrong;        /* a good answer without the message */
    unsigned unanswered;   /* nothing came within --give-up */
    unsigned ended;        /* a stream ended */
    unsigned missed;       /* a stream passed over a message */
    unsigned doubled;      /* a stream got a message again */
    unsigned misordered;   /* a message came before one with an earlier cursor */
    unsigned reset;        /* an answer said that its cursor was not honoured */
    unsigned of[STATUSES]; /* a status that is not good */
};

struct options {
    int conns;
    int rounds;
    int size;
    int batch;
    int idle_s;
    int seconds;
    int give_up_s;
    int publishers;
    int rate;
    int messages;
    int readers, polls;
    int limit, behind;
    const char *dialect;
    const char *poll, *publish, *form, *type, *status, *held;
    const char *post, *expect;
    const char *kind, *stream, *streams_at;
    const char *publish_at, *relay;
    int vary;
};

struct load {
    struct options options;
    const struct dialect *dialect;
    struct target target, publish_at;
    int epoll;
    struct conn *conns; /* `count` of them, and these two behind them */
    struct conn *control, *upstream;
    int count;
    struct errors errors;
    struct figures figures;
    int watches;
    struct watch watch[WATCHES];
};

static struct load load;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

/* A poll's next ones have their cursor in the place of the first one's `now`. */
static void check_poll_option(void)
{
    size_t len = strlen(load.options.poll);

    if (load.dialect->next != encke_next)
        return;
    if (len < 3 || strcmp(load.options.poll + len - 3, "now") != 0)
        die("--poll must end in now: the next ones have a cursor there");
}

/* ---- errors ------------------------------------------------------------------------------- */

/* Encke answers 200; others may say 201 or 202 to a publish. */
static bool status_is_good(int status)
{
    return status / 100 == 2;
}

/* Counts a status if it is not good. Whether it is. */
static bool count_status(int status)
{
    bool good = status_is_good(status);

    load.errors.of[status > 0 && status < STATUSES ? status : 0] += !good;
    return good;
}

static void count_news(enum conn_news news)
{
    load.errors.lost += news == CONN_LOST;
    load.errors.bad += news == CONN_BAD;
}

/* What comes where nothing is asked, such as a second answer, is an error; that the server closes
 * such a connection is none. */
static void count_unasked(enum conn_news news)
{
    load.errors.bad += news == CONN_BAD;
}

/* One turn of epoll, of at most wait_ms: gives `take` what came where something was asked. Returns
 * how many connections had something. */
static int take_turn(int wait_ms, void (*take)(struct conn *, enum conn_news, void *),
                     void *context)
{
    struct epoll_event events[CONN_EVENTS];
    int n = epoll_wait(load.epoll, events, CONN_EVENTS, wait_ms);

    for (int i = 0; i < n; i++) {
        struct conn *conn = events[i].data.ptr;
        bool asked = conn->asked;
        enum conn_news news = conn_step(conn, load.epoll, events[i].events);

        if (!asked)
            count_unasked(news);
        else if (news != CONN_NOTHING)
            take(conn, news, context);
    }
    return n;
}

/* Adds the figure `errors`, always, and one a kind that occurred; then starts counting anew. */
static void report_errors(int round)
{
    const struct errors *e = &load.errors;
    const struct {
        const char *name;
        unsigned n;
    } kinds[] = {{"error_connect", e->connects}, {"error_lost", e->lost},
                 {"error_bad", e->bad},          {"error_early", e->early},
                 {"error_wrong", e->wrong},      {"error_unanswered", e->unanswered},
                 {"error_ended", e->ended},      {"error_missed", e->missed},
                 {"error_doubled", e->doubled},  {"error_misordered", e->misordered},
                 {"error_reset", e->reset}};
    unsigned all = 0;
    char name[32];

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        all += kinds[i].n;
        if (kinds[i].n)
            figures_add(&load.figures, round, kinds[i].name, kinds[i].n);
    }
    for (int status = 0; status < STATUSES; status++) {
        all += e->of[status];
        snprintf(name, sizeof name, "error_status_%d", status);
        if (e->of[status])
            figures_add(&load.figures, round, name, e->of[status]);
    }
    figures_add(&load.figures, round, "errors", all);
    load.errors = (struct errors){0};
}

/* ---- what the servers spend ------------------------------------------------------------------ */

/* A reading of everything watched, and of this process. */
struct spent {
    uint64_t own_ns;
    double cpu_ns[WATCHES];
    double sleeps[WATCHES];
    double rss_kib[WATCHES];
    double anon_kib[WATCHES];
};

static uint64_t own_cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

/* Only the clocks: cheap enough to stand right beside the publish. */
static void read_cpu(struct spent *spent)
{
    for (int i = 0; i < load.watches; i++)
        spent->cpu_ns[i] = watch_cpu_ns(&load.watch[i]);
    spent->own_ns = own_cpu_ns();
}

static void read_all(struct spent *spent)
{
    read_cpu(spent);
    for (int i = 0; i < load.watches; i++) {
        spent->sleeps[i] = watch_sleeps(&load.watch[i]);
        spent->rss_kib[i] = watch_memory_kib(&load.watch[i], "VmRSS:");
        spent->anon_kib[i] = watch_memory_kib(&load.watch[i], "RssAnon:");
    }
}

static void report_watch(int round, int i, const char *what, double value)
{
    char name[48];

    snprintf(name, sizeof name, "%s_%s", load.watch[i].name, what);
    figures_add(&load.figures, round, name, value);
}

/* CPU between two readings, in milliseconds divided by `per`. */
static void report_cpu(int round, const char *what, const struct spent *from,
                       const struct spent *to, double per)
{
    char name[48];

    for (int i = 0; i < load.watches; i++)
        report_watch(round, i, what, (to->cpu_ns[i] - from->cpu_ns[i]) / 1e6 / per);
    snprintf(name, sizeof name, "load_%s", what);
    figures_add(&load.figures, round, name, (double)(to->own_ns - from->own_ns) / 1e6 / per);
}

/* Looks on while nothing happens. */
static void idle(void)
{
    struct spent before, after;
    const struct timespec settle = {.tv_nsec = 200000000};
    const struct timespec long_nap = {.tv_sec = load.options.idle_s};

    nanosleep(&settle, NULL); /* the end of the parking is not idleness */
    read_all(&before);
    nanosleep(&long_nap, NULL);
    read_all(&after);
    for (int i = 0; i < load.watches; i++) {
        report_watch(1, i, "idle_cpu_ms", (after.cpu_ns[i] - before.cpu_ns[i]) / 1e6);
        report_watch(1, i, "idle_wakeups", after.sleeps[i] - before.sleeps[i]);
    }
}

/* When the first, the median, ... came, since the publish and since its acknowledgement. */
static void report_spread(int round, struct samples *samples, double acked_ms)
{
    static const struct {
        const char *name;
        double share;
    } of[] = {{"first", 0}, {"median", 0.5}, {"p99", 0.99}, {"last", 1}};
    char name[32];

    figures_add(&load.figures, round, "ack_ms", acked_ms);
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        snprintf(name, sizeof name, "%s_ms", of[i].name);
        figures_add(&load.figures, round, name, samples_ms(samples, of[i].share));
    }
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        snprintf(name, sizeof name, "%s_after_ack_ms", of[i].name);
        figures_add(&load.figures, round, name, samples_ms(samples, of[i].share) - acked_ms);
    }
}

/* A figure of a phase of a round. */
static void report_named(int round, const char *phase, const char *what, double value)
{
    char name[80];

    snprintf(name, sizeof name, "%s_%s", phase, what);
    figures_add(&load.figures, round, name, value);
}

static void report_times(int round, const char *phase, const char *what, struct samples *samples)
{
    static const struct {
        const char *name;
        double share;
    } of[] = {{"p50", 0.5}, {"p99", 0.99}, {"most", 1}};
    char name[32];

    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        snprintf(name, sizeof name, "%s_%s_ms", what, of[i].name);
        report_named(round, phase, name, samples_ms(samples, of[i].share));
    }
}

/* ---- connections ---------------------------------------------------------------------------- */

static void make_request(struct request *request, const char *more, const char *body,
                         const char *type)
{
    if (!request_make(request, &load.target, more, body, type))
        die("a request cannot be made: its address or body is too long");
}

/* Connects if need be, and sends. False if that failed, which is counted. */
static bool ask_at(const struct target *target, int epoll, struct conn *conn,
                   const struct request *request)
{
    if (conn->fd < 0 && !conn_open(conn, target, epoll)) {
        load.errors.connects++;
        return false;
    }
    if (conn_ask(conn, target, epoll, request))
        return true;
    load.errors.lost++;
    return false;
}

static bool ask(struct conn *conn, const struct request *request)
{
    return ask_at(&load.target, load.epoll, conn, request);
}

/* Asks on a connection that nothing else uses meanwhile, and waits for the answer, which is in
 * conn->answer until the next request there. What else came is counted, but no status is. */
static bool ask_and_await(const struct target *target, struct conn *c,
                          const struct request *request)
{
    uint64_t until = clock_ns() + (uint64_t)load.options.give_up_s * 1000000000U;
    enum conn_news news = CONN_NOTHING;

    if (!ask_at(target, load.epoll, c, request))
        return false;
    while (news == CONN_NOTHING && clock_ns() < until) {
        struct pollfd p = {.fd = c->fd, .events = c->wants_out ? POLLIN | POLLOUT : POLLIN};

        if (poll(&p, 1, 100) > 0)
            news = conn_step(c, load.epoll, p.revents & POLLOUT ? EPOLLOUT : EPOLLIN);
    }
    if (news == CONN_ANSWERED)
        return true;
    count_news(news);
    load.errors.unanswered += news == CONN_NOTHING;
    conn_close(c);
    return false;
}

/* Likewise; returns the answer's text, or NULL if no good one came. */
static const char *ask_and_wait(const struct target *target, struct conn *c,
                                const struct request *request)
{
    if (!ask_and_await(target, c, request) || !count_status(c->answer.status))
        return NULL;
    return c->answer.text;
}

/* The number in a status behind `what`, where `within` (NULL: anywhere) comes before; -1 if it does
 * not say. */
static long number_in(const char *text, const char *within, const char *what)
{
    if (text && within)
        text = strstr(text, within);
    text = text ? strstr(text, what) : NULL;
    return text ? strtol(text + strlen(what), NULL, 10) : -1;
}

static long counted(const struct request *status, const char *within, const char *what)
{
    struct conn *c = load.control;

    if (!ask_and_await(&load.target, c, status))
        return -1;
    if (c->answer.status == 404 && load.dialect->absent_is_none)
        return 0;
    return count_status(c->answer.status) ? number_in(c->answer.text, within, what) : -1;
}

/* Waits until the count is so many (or, to begin with, none). False if it does not come to that. */
static bool wait_counted(const struct request *status, long (*count)(const struct request *),
                         long expected)
{
    uint64_t until = clock_ns() + (uint64_t)load.options.give_up_s * 1000000000U;
    const struct timespec nap = {.tv_nsec = 2000000};
    long now;

    while ((now = count(status)) != expected) {
        if (now < 0)
            die("the server's status does not count what is to be opened");
        if (clock_ns() > until)
            return false;
        nanosleep(&nap, NULL);
    }
    return true;
}

/* Room for the descriptors, by raising the soft limit as far as the hard one lets it. */
static void raise_limit(int conns)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)conns + 32;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < need) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < need)
        die("%d connections need %lu open files, and no more than %lu are allowed; "
            "raise the hard limit (ulimit -Hn) or ask for fewer",
            conns, (unsigned long)need, (unsigned long)limit.rlim_max);
}

static void open_all(int n)
{
    raise_limit(n);
    load.count = n;
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.conns = calloc((size_t)n + 2, sizeof *load.conns);
    if (load.epoll < 0 || !load.conns)
        die("no epoll, or no memory for %d connections", n);
    load.control = load.conns + n;
    load.upstream = load.control + 1;
    for (int i = 0; i < n + 2; i++) {
        load.conns[i].number = (unsigned)i;
        load.conns[i].source = (unsigned)i / CONN_PER_SOURCE;
        load.conns[i].fd = -1;
    }
}

static void close_all(void)
{
    for (int i = 0; i < load.count + 2; i++)
        conn_close(&load.conns[i]);
    free(load.conns);
    close(load.epoll);
}

#endif

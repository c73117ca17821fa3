/* load.c - the load generator: many held requests and one publish, or many requests a second.
 *
 *     load fanout [options] BASE      BASE is where the server's endpoints are, with its slash
 *     load rate   [options] URL
 *
 * An address is http://127.0.0.1:PORT/PATH, or fcgi:SOCKET:/PATH to speak FastCGI to the socket
 * with no web server between. `load --help` lists the options.
 *
 * `fanout` holds N long polls on N connections, waits until the server's own status counts them
 * all, publishes once on a further connection, and times every answer; round after round on the
 * same connections. `rate` keeps C connections busy for some seconds, one request at a time each.
 *
 * One process, one thread. Everything is bounded: connections, rounds and seconds by the options,
 * each wait by --give-up. An answer that is not a 200, comes early, lacks the message or does not
 * come is an error; errors are counted by kind and always shown.
 */
#include <getopt.h>
#include <stdarg.h>
#include <sys/resource.h>

#include "tests/bench/conn.h"
#include "tests/bench/figures.h"
#include "tests/bench/watch.h"
#include "tests/bench/wire.h"

enum { CONNS_MAX = 200000, SIZE_MAX_BYTES = 4096, STATUSES = 600 };

static const char form_type[] = "application/x-www-form-urlencoded";

static const char usage[] =
    "usage: load fanout [options] BASE\n"
    "       load rate   [options] URL\n"
    "BASE, URL: http://127.0.0.1:PORT/PATH, or fcgi:SOCKET:/PATH without a web server\n"
    "  -n, --conns N         connections (fanout 1000, rate 64)\n"
    "  -g, --give-up S       how long any one thing may take (10)\n"
    "  -w, --watch NAME=PID[,PID...]  report the CPU of these processes too; may be repeated\n"
    "  -c, --csv             lines of round,figure,value\n"
    "fanout:\n"
    "  -r, --rounds R        publishes (10)\n"
    "  -s, --size BYTES      length of the message (60)\n"
    "  -b, --batch N         requests on their way to being held at a time (500)\n"
    "  -i, --idle S          before the first publish, watch the holds for S seconds (0)\n"
    "      --poll REST       what is held (update?id=now)\n"
    "      --publish REST    where the message is posted (create)\n"
    "      --form TEXT       what stands before the message in the body (msg=)\n"
    "      --status REST     where the server says how many it holds (status)\n"
    "      --held TEXT       what stands before that number (\"holds\":)\n"
    "rate:\n"
    "  -t, --seconds S       how long to measure, after half a second that is not (5)\n"
    "  -p, --post BODY       a POST with this body, instead of a GET\n"
    "      --type TYPE       its content type (application/x-www-form-urlencoded)\n";

/* What went wrong, by kind. */
struct errors {
    unsigned connects;     /* a connection could not be made */
    unsigned lost;         /* a connection ended before its answer */
    unsigned bad;          /* bytes that are no answer */
    unsigned early;        /* answered before the publish */
    unsigned wrong;        /* a 200 without the message */
    unsigned unanswered;   /* nothing came within --give-up */
    unsigned of[STATUSES]; /* another status than 200 */
};

struct options {
    int conns;
    int rounds;
    int size;
    int batch;
    int idle_s;
    int seconds;
    int give_up_s;
    const char *poll, *publish, *form, *status, *held;
    const char *post, *type;
};

struct load {
    struct options options;
    struct target target;
    int epoll;
    struct conn *conns; /* options.conns of them, and `control` behind them */
    struct conn *control;
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

/* ---- errors ------------------------------------------------------------------------------- */

static void count_status(int status)
{
    load.errors.of[status > 0 && status < STATUSES ? status : 0]++;
}

static void count_news(enum conn_news news)
{
    load.errors.lost += news == CONN_LOST;
    load.errors.bad += news == CONN_BAD;
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
                 {"error_wrong", e->wrong},      {"error_unanswered", e->unanswered}};
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
    uint64_t cpu_ns[WATCHES];
    uint64_t sleeps[WATCHES];
    uint64_t rss_kib[WATCHES];
    uint64_t anon_kib[WATCHES];
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
        report_watch(round, i, what, (double)(to->cpu_ns[i] - from->cpu_ns[i]) / 1e6 / per);
    snprintf(name, sizeof name, "load_%s", what);
    figures_add(&load.figures, round, name, (double)(to->own_ns - from->own_ns) / 1e6 / per);
}

/* ---- connections ------------------------------------------------------------------------------
 */

static void make_request(struct request *request, const char *more, const char *body,
                         const char *type)
{
    if (!request_make(request, &load.target, more, body, type))
        die("a request cannot be made: its address or body is too long");
}

/* Connects if need be, and sends. False if that failed, which is counted. */
static bool ask(struct conn *conn, const struct request *request)
{
    if (conn->fd < 0 && !conn_open(conn, &load.target, load.epoll)) {
        load.errors.connects++;
        return false;
    }
    if (conn_ask(conn, &load.target, load.epoll, request))
        return true;
    load.errors.lost++;
    return false;
}

/* Asks on the control connection and waits for the answer, of which the text is returned; it is
 * good until the next request there. NULL if no 200 came; what else came is counted. */
static const char *ask_and_wait(const struct request *request)
{
    struct conn *c = load.control;
    uint64_t until = clock_ns() + (uint64_t)load.options.give_up_s * 1000000000U;
    enum conn_news news = CONN_NOTHING;

    if (!ask(c, request))
        return NULL;
    while (news == CONN_NOTHING && clock_ns() < until) {
        struct pollfd p = {.fd = c->fd, .events = c->wants_out ? POLLIN | POLLOUT : POLLIN};

        if (poll(&p, 1, 100) > 0)
            news = conn_step(c, load.epoll, p.revents & POLLOUT ? EPOLLOUT : EPOLLIN);
    }
    if (news == CONN_ANSWERED && c->answer.status == 200)
        return c->answer.text;
    if (news == CONN_ANSWERED)
        count_status(c->answer.status);
    count_news(news);
    if (news == CONN_NOTHING)
        load.errors.unanswered++;
    conn_close(c);
    return NULL;
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

static void open_all(void)
{
    int n = load.options.conns;

    raise_limit(n);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.conns = calloc((size_t)n + 1, sizeof *load.conns);
    if (load.epoll < 0 || !load.conns)
        die("no epoll, or no memory for %d connections", n);
    load.control = load.conns + n;
    for (int i = 0; i <= n; i++) {
        load.conns[i].number = (unsigned)i;
        load.conns[i].fd = -1;
    }
}

static void close_all(void)
{
    for (int i = 0; i <= load.options.conns; i++)
        conn_close(&load.conns[i]);
    free(load.conns);
    close(load.epoll);
}

/* ---- fanout ------------------------------------------------------------------------------------
 */

/* How many requests the server holds, by its own count; -1 if it does not say. */
static long held(const struct request *status)
{
    const char *text = ask_and_wait(status);
    const char *number = text ? strstr(text, load.options.held) : NULL;

    return number ? strtol(number + strlen(load.options.held), NULL, 10) : -1;
}

/* Waits until the server holds as many as were asked. False if it does not come to that. */
static bool wait_held(const struct request *status, long asked)
{
    uint64_t until = clock_ns() + (uint64_t)load.options.give_up_s * 1000000000U;
    const struct timespec nap = {.tv_nsec = 2000000};
    long now;

    while ((now = held(status)) < asked) {
        if (now < 0)
            die("the server's status does not say how many requests it holds");
        if (clock_ns() > until)
            return false;
        nanosleep(&nap, NULL);
    }
    return true;
}

/* Asks on every connection, a batch at a time so that no backlog overflows, and waits until all
 * that could be asked are held. Returns how many those are. */
static int park(const struct request *poll_request, const struct request *status)
{
    int asked = 0;

    for (int i = 0; i < load.options.conns; i++) {
        asked += ask(&load.conns[i], poll_request);
        if ((i + 1) % load.options.batch == 0 && !wait_held(status, asked))
            break;
    }
    /* Not an error of its own: each request that is not held is answered early, or never. */
    wait_held(status, asked);
    return asked;
}

struct round {
    int asked;
    int answered;
    uint64_t sent_ns; /* the publish; 0: not yet */
    uint64_t done_ns; /* its acknowledgement; 0: not yet */
    const char *message;
    struct samples answers; /* since sent_ns */
};

static void take_answer(struct round *round, struct conn *conn, enum conn_news news)
{
    const struct answer *a = &conn->answer;

    count_news(news);
    if (news == CONN_ANSWERED && a->status != 200)
        count_status(a->status);
    if (conn == load.control) {
        round->done_ns = clock_ns();
        return;
    }
    round->asked--;
    if (news != CONN_ANSWERED || a->status != 200)
        return;
    if (!round->sent_ns) {
        load.errors.early++;
        return;
    }
    samples_add(&round->answers, clock_ns() - round->sent_ns);
    round->answered++;
    if (!memmem(a->text, a->kept, round->message, strlen(round->message)))
        load.errors.wrong++;
}

/* One turn of epoll, of at most `wait_ms`. */
static void turn(struct round *round, int wait_ms)
{
    struct epoll_event events[CONN_EVENTS];
    int n = epoll_wait(load.epoll, events, CONN_EVENTS, wait_ms);

    for (int i = 0; i < n; i++) {
        struct conn *conn = events[i].data.ptr;
        bool asked = conn->asked;
        enum conn_news news = conn_step(conn, load.epoll, events[i].events);

        if (news != CONN_NOTHING && asked)
            take_answer(round, conn, news);
    }
}

static void gather(struct round *round)
{
    uint64_t until = clock_ns() + (uint64_t)load.options.give_up_s * 1000000000U;

    while ((round->asked > 0 || !round->done_ns) && clock_ns() < until)
        turn(round, 100);
    load.errors.unanswered += (unsigned)round->asked + !round->done_ns;
}

static void report_round(int number, struct round *round)
{
    static const struct {
        const char *name;
        double share;
    } of[] = {{"first", 0}, {"median", 0.5}, {"p99", 0.99}, {"last", 1}};
    double acked = (double)(round->done_ns - round->sent_ns) / 1e6;
    char name[32];

    figures_add(&load.figures, number, "answers", round->answered);
    figures_add(&load.figures, number, "ack_ms", acked);
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        snprintf(name, sizeof name, "%s_ms", of[i].name);
        figures_add(&load.figures, number, name, samples_ms(&round->answers, of[i].share));
    }
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        snprintf(name, sizeof name, "%s_after_ack_ms", of[i].name);
        figures_add(&load.figures, number, name, samples_ms(&round->answers, of[i].share) - acked);
    }
}

/* A publish, all its answers, and what they cost. `samples` is only lent, to be used again. */
static void fan_out(int number, int asked, struct samples *samples)
{
    char message[SIZE_MAX_BYTES + 1], body[SIZE_MAX_BYTES + 256];
    struct round round = {.asked = asked, .message = message, .answers = *samples};
    struct spent before = {0}, after = {0};
    struct request publish;

    snprintf(message, sizeof message, "round-%d-%llx-", number, (unsigned long long)clock_ns());
    for (size_t len = strlen(message); len < (size_t)load.options.size; len++) {
        message[len] = (char)('a' + len % 26);
        message[len + 1] = 0;
    }
    snprintf(body, sizeof body, "%s%s", load.options.form, message);
    make_request(&publish, load.options.publish, body, form_type);

    turn(&round, 0); /* what has been answered by now was not held */
    read_cpu(&before);
    round.sent_ns = clock_ns();
    if (!ask(load.control, &publish))
        die("the message could not be published");
    gather(&round);
    read_cpu(&after);
    if (!round.done_ns)
        die("the publish was not answered");
    report_round(number, &round);
    report_cpu(number, "cpu_ms", &before, &after, 1);
    request_free(&publish);
    *samples = round.answers;
    samples_clear(samples);
}

static void report_memory(const struct spent *before, const struct spent *after, int holds)
{
    for (int i = 0; i < load.watches; i++) {
        double rss = (double)after->rss_kib[i] - (double)before->rss_kib[i];
        double anon = (double)after->anon_kib[i] - (double)before->anon_kib[i];

        report_watch(1, i, "rss_bytes_a_hold", rss * 1024 / holds);
        report_watch(1, i, "heap_bytes_a_hold", anon * 1024 / holds);
    }
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
        report_watch(1, i, "idle_cpu_ms", (double)(after.cpu_ns[i] - before.cpu_ns[i]) / 1e6);
        report_watch(1, i, "idle_wakeups", (double)(after.sleeps[i] - before.sleeps[i]));
    }
}

static void run_fanout(void)
{
    struct request poll_request, status;
    struct samples samples = {0};
    struct spent before, after;

    make_request(&poll_request, load.options.poll, NULL, "");
    make_request(&status, load.options.status, NULL, "");
    if (!conn_open(load.control, &load.target, load.epoll))
        die("cannot connect: %s", strerror(errno));
    if (held(&status) != 0)
        die("the server does not say in its status that it holds nothing yet");
    for (int number = 1; number <= load.options.rounds; number++) {
        int asked;

        read_all(&before);
        asked = park(&poll_request, &status);
        if (number == 1) {
            read_all(&after);
            report_memory(&before, &after, load.options.conns);
        }
        if (number == 1 && load.options.idle_s)
            idle();
        fan_out(number, asked, &samples);
        report_errors(number);
    }
    samples_free(&samples);
    request_free(&poll_request);
    request_free(&status);
}

/* ---- rate ---------------------------------------------------------------------------------------
 */

struct rate {
    struct request request;
    uint64_t from_ns, until_ns; /* answers between these count */
    uint64_t answered;
    int open; /* requests without their answer */
    struct samples answers;
};

static void rate_ask(struct rate *rate, struct conn *conn)
{
    rate->open += ask(conn, &rate->request);
}

static void rate_news(struct rate *rate, struct conn *conn, enum conn_news news)
{
    uint64_t now = clock_ns();
    bool counts = now >= rate->from_ns && now < rate->until_ns;

    rate->open--;
    count_news(news);
    if (news == CONN_ANSWERED && conn->answer.status != 200)
        count_status(conn->answer.status);
    else if (news == CONN_ANSWERED && counts)
        samples_add(&rate->answers, now - conn->asked_ns);
    if (now < rate->until_ns)
        rate_ask(rate, conn);
}

static void rate_turn(struct rate *rate, int wait_ms)
{
    struct epoll_event events[CONN_EVENTS];
    int n = epoll_wait(load.epoll, events, CONN_EVENTS, wait_ms);

    for (int i = 0; i < n; i++) {
        struct conn *conn = events[i].data.ptr;
        bool asked = conn->asked;
        enum conn_news news = conn_step(conn, load.epoll, events[i].events);

        if (news != CONN_NOTHING && asked)
            rate_news(rate, conn, news);
    }
}

/* Turns until `until_ns`, or until no request is open. */
static void rate_turn_until(struct rate *rate, uint64_t until_ns)
{
    while (clock_ns() < until_ns && rate->open > 0)
        rate_turn(rate, 10);
}

static void report_rate(struct rate *rate, const struct spent *before, const struct spent *after)
{
    struct samples *s = &rate->answers;
    struct figures *f = &load.figures;

    figures_add(f, 1, "requests_a_second", (double)s->n / load.options.seconds);
    figures_add(f, 1, "p50_ms", samples_ms(s, 0.5));
    figures_add(f, 1, "p99_ms", samples_ms(s, 0.99));
    figures_add(f, 1, "most_ms", samples_ms(s, 1));
    report_cpu(1, "cpu_us_a_request", before, after, (double)(s->n ? s->n : 1) / 1e3);
    report_errors(1);
}

static void run_rate(void)
{
    struct rate rate = {0};
    struct spent before = {0}, after = {0};
    uint64_t start = clock_ns();

    make_request(&rate.request, "", load.options.post, load.options.type);
    rate.from_ns = start + 500000000U;
    rate.until_ns = rate.from_ns + (uint64_t)load.options.seconds * 1000000000U;
    for (int i = 0; i < load.options.conns; i++)
        rate_ask(&rate, &load.conns[i]);
    rate_turn_until(&rate, rate.from_ns);
    read_cpu(&before);
    rate_turn_until(&rate, rate.until_ns);
    read_cpu(&after);
    rate_turn_until(&rate, rate.until_ns + (uint64_t)load.options.give_up_s * 1000000000U);
    load.errors.unanswered += (unsigned)rate.open;
    report_rate(&rate, &before, &after);
    samples_free(&rate.answers);
    request_free(&rate.request);
}

/* ---- options ------------------------------------------------------------------------------------
 */

static int number_option(const char *name, const char *text, int least, int most)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (end == text || *end || value < least || value > most)
        die("--%s is a number from %d to %d, not '%s'", name, least, most, text);
    return (int)value;
}

static void add_watch(const char *spec)
{
    if (load.watches == WATCHES || !watch_parse(&load.watch[load.watches++], spec))
        die("--watch is NAME=PID[,PID...] with processes that run, not '%s'", spec);
}

enum { OPT_POLL = 256, OPT_PUBLISH, OPT_FORM, OPT_STATUS, OPT_HELD, OPT_TYPE };

static const struct option long_options[] = {
    {"conns", required_argument, NULL, 'n'},
    {"give-up", required_argument, NULL, 'g'},
    {"watch", required_argument, NULL, 'w'},
    {"csv", no_argument, NULL, 'c'},
    {"rounds", required_argument, NULL, 'r'},
    {"size", required_argument, NULL, 's'},
    {"batch", required_argument, NULL, 'b'},
    {"idle", required_argument, NULL, 'i'},
    {"poll", required_argument, NULL, OPT_POLL},
    {"publish", required_argument, NULL, OPT_PUBLISH},
    {"form", required_argument, NULL, OPT_FORM},
    {"status", required_argument, NULL, OPT_STATUS},
    {"held", required_argument, NULL, OPT_HELD},
    {"seconds", required_argument, NULL, 't'},
    {"post", required_argument, NULL, 'p'},
    {"type", required_argument, NULL, OPT_TYPE},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static void take_option(int option, const char *text)
{
    struct options *o = &load.options;

    switch (option) {
    case 'n':
        o->conns = number_option("conns", text, 1, CONNS_MAX);
        break;
    case 'g':
        o->give_up_s = number_option("give-up", text, 1, 600);
        break;
    case 'w':
        add_watch(text);
        break;
    case 'c':
        load.figures.csv = true;
        break;
    case 'r':
        o->rounds = number_option("rounds", text, 1, FIGURES_ROUNDS);
        break;
    case 's':
        o->size = number_option("size", text, 1, SIZE_MAX_BYTES);
        break;
    case 'b':
        o->batch = number_option("batch", text, 1, CONNS_MAX);
        break;
    case 'i':
        o->idle_s = number_option("idle", text, 0, 600);
        break;
    case 't':
        o->seconds = number_option("seconds", text, 1, 600);
        break;
    case 'p':
        o->post = text;
        break;
    case OPT_POLL:
        o->poll = text;
        break;
    case OPT_PUBLISH:
        o->publish = text;
        break;
    case OPT_FORM:
        o->form = text;
        break;
    case OPT_STATUS:
        o->status = text;
        break;
    case OPT_HELD:
        o->held = text;
        break;
    case OPT_TYPE:
        o->type = text;
        break;
    case 'h':
        fputs(usage, stdout);
        exit(0);
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    bool fanout = argc > 1 && strcmp(argv[1], "fanout") == 0;
    bool rate = argc > 1 && strcmp(argv[1], "rate") == 0;
    int option;

    load.options = (struct options){.conns = fanout ? 1000 : 64,
                                    .rounds = 10,
                                    .size = 60,
                                    .batch = 500,
                                    .seconds = 5,
                                    .give_up_s = 10,
                                    .poll = "update?id=now",
                                    .publish = "create",
                                    .form = "msg=",
                                    .status = "status",
                                    .held = "\"holds\":",
                                    .type = form_type};
    optind = fanout || rate ? 2 : 1;
    while ((option = getopt_long(argc, argv, "n:g:w:cr:s:b:i:t:p:h", long_options, NULL)) != -1)
        take_option(option, optarg);
    if (!(fanout || rate) || optind + 1 != argc)
        take_option('?', NULL);
    if (!target_parse(&load.target, argv[optind]))
        die("'%s' is neither http://127.0.0.1:PORT/PATH nor fcgi:SOCKET:/PATH", argv[optind]);
    open_all();
    if (fanout)
        run_fanout();
    else
        run_rate();
    figures_print(&load.figures);
    close_all();
    return 0;
}

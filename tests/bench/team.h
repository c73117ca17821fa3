/* team.h - the load generator as several processes, where one runs out of CPU, of descriptors or of
 * source ports.
 *
 *     team_start(n, work)               forks n workers, each with its share of --conns
 *     team_tell(worker, &order)         the first process, which publishes and has the figures
 *     team_hear(worker, until, &report, &samples)
 *     team_order(&order)                a worker
 *     team_report(&report, &samples)
 *
 * A worker is the same program behind fork(2), with source addresses of its own. It does what it is
 * ordered to, and reports what came of it: errors, its CPU, and samples; the times in them are of
 * the one monotonic clock of the machine. Orders and reports go through a socket pair each. A
 * worker that ends before its time ends the run; the end of the first process ends all.
 */
#ifndef ENCKE_BENCH_TEAM_H
#define ENCKE_BENCH_TEAM_H

#include <signal.h>
#include <sys/prctl.h>

#include "tests/bench/loadgen.h"

enum { TEAM_MAX = 64 };

struct order {
    enum { ORDER_PARK, ORDER_PUBLISH, ORDER_END } what;
    int round;
    int before;     /* how many others have parked already */
    uint64_t stamp; /* of the round's message */
    /* Of those who publish, see apart.h. */
    uint32_t messages;
    uint64_t until_ns;
};

struct report {
    struct errors errors;
    int asked;
    uint64_t own_ns; /* CPU of what was measured */
    uint64_t samples;
};

struct worker {
    pid_t pid;
    int fd;
};

static struct team {
    int n; /* 0: all is done by this process */
    struct worker of[TEAM_MAX];
    int fd; /* a worker's, to the first process */
} team;

static bool team_read(int fd, void *bytes, size_t len)
{
    ssize_t n;

    for (; len; len -= (size_t)n, bytes = (char *)bytes + n) {
        n = recv(fd, bytes, len, MSG_WAITALL);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n <= 0)
            return false;
    }
    return true;
}

static bool team_write(int fd, const void *bytes, size_t len)
{
    ssize_t n;

    for (; len; len -= (size_t)n, bytes = (const char *)bytes + n) {
        n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n <= 0)
            return false;
    }
    return true;
}

/* ---- a worker -------------------------------------------------------------------------------- */

/* Waits for the next order. */
static void team_order(struct order *order)
{
    if (!team_read(team.fd, order, sizeof *order))
        _exit(0); /* the first process has ended */
}

/* Tells what came of it, and starts counting errors anew. */
static void team_report(struct report *report, const struct samples *samples)
{
    report->errors = load.errors;
    report->samples = samples ? samples->n : 0;
    if (!team_write(team.fd, report, sizeof *report) ||
        (samples && samples->n &&
         !team_write(team.fd, samples->ns, samples->n * sizeof *samples->ns)))
        _exit(0);
    load.errors = (struct errors){0};
}

/* ---- the first process ----------------------------------------------------------------------- */

static void __attribute__((noreturn)) team_broken(void)
{
    die("a worker ended before its time");
}

/* The i-th worker's part of the connections; no address or port is used by two of them. */
static void team_share(int i)
{
    int all = load.options.conns, share = all / team.n, more = all % team.n;

    load.options.conns = share + (i < more);
    load.first = i * share + (i < more ? i : more);
    load.source = (unsigned)i * (unsigned)(share / CONN_PER_SOURCE + 1);
}

static void team_start(int n, void (*work)(void))
{
    team.n = n;
    if (load.options.conns < team.n)
        die("%d processes need a connection each", team.n);
    for (int i = 0; i < team.n; i++) {
        pid_t first = getpid(), pid;
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 || (pid = fork()) < 0)
            die("no worker can be started: %s", strerror(errno));
        if (pid > 0) {
            team.of[i] = (struct worker){pid, pair[0]};
            close(pair[1]);
            continue;
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != first)
            _exit(0);
        for (int other = 0; other < i; other++)
            close(team.of[other].fd);
        close(pair[0]);
        team.fd = pair[1];
        team_share(i);
        work();
        _exit(0);
    }
}

static void team_tell(const struct worker *worker, const struct order *order)
{
    if (!team_write(worker->fd, order, sizeof *order))
        team_broken();
}

/* Whether a worker has something to tell before then. */
static bool team_tells(const struct worker *worker, uint64_t until_ns)
{
    uint64_t now = clock_ns();
    struct pollfd p = {.fd = worker->fd, .events = POLLIN};

    return poll(&p, 1, now < until_ns ? (int)((until_ns - now) / 1000000U) + 1 : 0) > 0;
}

/* Takes a report: its errors are added to ours, its samples to those, if it may have any. False if
 * there is none by then. */
static bool team_hear(const struct worker *worker, uint64_t until_ns, struct report *report,
                      struct samples *samples)
{
    const unsigned *from = (const unsigned *)&report->errors;
    unsigned *to = (unsigned *)&load.errors;
    uint64_t ns[512], n;

    if (!team_tells(worker, until_ns))
        return false;
    if (!team_read(worker->fd, report, sizeof *report))
        team_broken();
    for (size_t i = 0; i < sizeof load.errors / sizeof *to; i++)
        to[i] += from[i];
    for (uint64_t left = report->samples; left; left -= n) {
        n = left < 512 ? left : 512;
        if (!team_read(worker->fd, ns, n * sizeof *ns))
            team_broken();
        for (uint64_t i = 0; i < n; i++)
            samples_add(samples, ns[i]);
    }
    load.workers_ns += report->own_ns;
    return true;
}

static void team_end(void)
{
    for (int i = 0; i < team.n; i++)
        close(team.of[i].fd);
}

#endif

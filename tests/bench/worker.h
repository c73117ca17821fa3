/* worker.h - a second process of the load generator, for what must not wait until this one has
 * looked at all its connections.
 *
 *     worker_start(work)                  forks it; it runs work(), which does not return
 *     worker_tell(&order)                 the first process
 *     worker_hear(until, &samples)
 *     worker_order(&order)                the worker
 *     worker_report(&samples)
 *
 * It does what it is ordered to, and reports what came of it: errors and samples. Orders and
 * reports go through a socket pair. If it ends before its time, so does the run; with the first
 * process it ends, too.
 */
#ifndef ENCKE_BENCH_WORKER_H
#define ENCKE_BENCH_WORKER_H

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "tests/bench/loadgen.h"

struct order {
    uint32_t messages;
    uint64_t until_ns;
};

struct report {
    struct errors errors;
    uint64_t samples; /* so many follow it */
};

static int worker_fd; /* to the other process */

static bool worker_read(void *bytes, size_t len)
{
    ssize_t n;

    for (; len; len -= (size_t)n, bytes = (char *)bytes + n) {
        n = recv(worker_fd, bytes, len, MSG_WAITALL);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n <= 0)
            return false;
    }
    return true;
}

static bool worker_write(const void *bytes, size_t len)
{
    ssize_t n;

    for (; len; len -= (size_t)n, bytes = (const char *)bytes + n) {
        n = send(worker_fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n <= 0)
            return false;
    }
    return true;
}

/* ---- the worker ------------------------------------------------------------------------------ */

static bool worker_is_ordered(void)
{
    struct pollfd p = {.fd = worker_fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

/* Waits for the next order. */
static void worker_order(struct order *order)
{
    if (!worker_read(order, sizeof *order))
        _exit(0); /* the first process has ended */
}

/* Tells what came of it, and starts counting errors anew. */
static void worker_report(const struct samples *samples)
{
    const struct report report = {.errors = load.errors, .samples = samples->n};

    if (!worker_write(&report, sizeof report) ||
        !worker_write(samples->ns, samples->n * sizeof *samples->ns))
        _exit(0);
    load.errors = (struct errors){0};
}

/* ---- the first process ----------------------------------------------------------------------- */

static void __attribute__((noreturn)) worker_broken(void)
{
    die("the process that publishes ended before its time");
}

static void worker_start(void (*work)(void))
{
    pid_t first = getpid(), pid;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 || (pid = fork()) < 0)
        die("no second process can be started: %s", strerror(errno));
    worker_fd = pair[pid == 0];
    close(pair[pid != 0]);
    if (pid > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == first)
        work();
    _exit(0);
}

static void worker_tell(const struct order *order)
{
    if (!worker_write(order, sizeof *order))
        worker_broken();
}

/* Takes a report: its errors are added to ours, its samples to those. False if there is none by
 * then. */
static bool worker_hear(uint64_t until_ns, struct samples *samples)
{
    uint64_t now = clock_ns(), ns;
    struct pollfd p = {.fd = worker_fd, .events = POLLIN};
    struct report report;
    const unsigned *from = (const unsigned *)&report.errors;
    unsigned *to = (unsigned *)&load.errors;

    if (poll(&p, 1, now < until_ns ? (int)((until_ns - now) / 1000000U) + 1 : 0) <= 0)
        return false;
    if (!worker_read(&report, sizeof report))
        worker_broken();
    for (size_t i = 0; i < sizeof load.errors / sizeof *to; i++)
        to[i] += from[i];
    for (uint64_t i = 0; i < report.samples; i++) {
        if (!worker_read(&ns, sizeof ns))
            worker_broken();
        samples_add(samples, ns);
    }
    return true;
}

static void worker_end(void)
{
    close(worker_fd);
}

#endif

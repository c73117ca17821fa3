/* sends.c - the floor of a fan-out: one send(2) a socket, in a loop.
 *
 *     sends [-c] SOCKETS BYTES ROUNDS
 *
 * SOCKETS unix-domain connections lead to a second process, which sleeps in epoll as a web server
 * does and reads what comes. A round sends BYTES to each and waits until all was read. The CPU of
 * the sending process is what no backend that holds that many connections can go below. Prints it
 * in milliseconds, as load(1) does its figures; -c for CSV.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/figures.h"
#include "tests/bench/number.h"

enum { SOCKETS_MAX = 200000, BYTES_MAX = 60000, EVENTS = 512 };

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "sends: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int number(const char *text, int most)
{
    int value;

    if (number_read(text, 1, most, &value))
        return value;
    fprintf(stderr, "sends: '%s' is not a number from 1 to %d\n", text, most);
    exit(2);
}

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

/* Reads for ever, and tells through `done` each time that `expected` bytes have come. */
static void __attribute__((noreturn)) receive(const int *fds, int n, size_t expected, int done)
{
    static char bytes[BYTES_MAX];
    struct epoll_event events[EVENTS];
    int epoll = epoll_create1(0);
    size_t seen = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < n; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i]};

        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) != 0)
            die("epoll_ctl");
    }
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);

        for (int i = 0; i < ready; i++) {
            ssize_t got = recv(events[i].data.fd, bytes, sizeof bytes, MSG_DONTWAIT);

            seen += got > 0 ? (size_t)got : 0;
        }
        if (seen >= expected) {
            seen -= expected;
            if (write(done, "", 1) != 1)
                die("write");
        }
    }
}

/* Makes n connections: near ends into `near`, far ends into `far`. */
static void connect_all(int *near, int *far, int n)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (int i = 0; i < n; i++) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
            die("socketpair (both ends of all count: raise ulimit -Hn, or ask for fewer)");
        near[i] = pair[0];
        far[i] = pair[1];
    }
}

static void run(const int *near, int n, size_t len, int rounds, int done, struct figures *figures)
{
    static char bytes[BYTES_MAX];

    for (int round = 1; round <= rounds; round++) {
        uint64_t cpu = cpu_ns(), start = clock_ns(), sent;
        char byte;

        for (int i = 0; i < n; i++)
            if (send(near[i], bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len)
                die("send");
        sent = clock_ns();
        cpu = cpu_ns() - cpu;
        if (read(done, &byte, 1) != 1)
            die("the reader ended");
        figures_add(figures, round, "send_cpu_ms", (double)cpu / 1e6);
        figures_add(figures, round, "sent_ms", (double)(sent - start) / 1e6);
        figures_add(figures, round, "read_ms", (double)(clock_ns() - start) / 1e6);
    }
}

int main(int argc, char **argv)
{
    static struct figures figures;
    static int near[SOCKETS_MAX], far[SOCKETS_MAX];
    int at = argc > 1 && strcmp(argv[1], "-c") == 0 ? 2 : 1;
    int n, len, rounds, done[2];
    pid_t reader;

    if (argc != at + 3) {
        fputs("usage: sends [-c] SOCKETS BYTES ROUNDS\n", stderr);
        return 2;
    }
    figures.csv = at == 2;
    n = number(argv[at], SOCKETS_MAX);
    len = number(argv[at + 1], BYTES_MAX);
    rounds = number(argv[at + 2], FIGURES_ROUNDS);
    connect_all(near, far, n);
    if (pipe(done) != 0 || (reader = fork()) < 0)
        die("cannot start the reader");
    if (reader == 0)
        receive(far, n, (size_t)n * (size_t)len, done[1]);
    close(done[1]);
    run(near, n, (size_t)len, rounds, done[0], &figures);
    kill(reader, SIGKILL);
    figures_print(&figures);
    return 0;
}

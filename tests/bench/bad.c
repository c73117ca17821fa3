/* bad.c - an upstream that is up to no good, for a relay that is asked for it all the time.
 *
 *     bad PORT          listens on 127.0.0.1
 *
 * What it does to a request, its path says:
 *
 *     /gigabyte    a 200 without a length, and bytes without an end, up to a gigabyte
 *     /hole        takes the request, and never says anything
 *     /reset       resets the connection (RST)
 *
 * Whoever asks is expected to send its request in one piece and to go away: a connection costs a
 * few bytes here until it does, and there are CONNS_MAX of them at most.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/number.h"

enum { CONNS_MAX = 16384, EVENTS = 64, PIECE = 65536, BACKLOG = 4096 };

static const long long gigabyte = 1 << 30;
static long long left[CONNS_MAX]; /* by descriptor: what is still to be sent of the gigabyte */
static int epoll;

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "bad: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int listen_on(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((in_port_t)port)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (const struct sockaddr *)&at, sizeof at) != 0 || listen(fd, BACKLOG) != 0)
        die("cannot listen");
    return fd;
}

static void watch(int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};

    if (epoll_ctl(epoll, operation, fd, &event) != 0)
        die("epoll_ctl");
}

static void accept_all(int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= CONNS_MAX) {
            close(fd);
            continue;
        }
        left[fd] = 0;
        watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

static void reset(int fd)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void take_request(int fd)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                               "Connection: close\r\n\r\n";
    char request[4096] = "";
    ssize_t n = recv(fd, request, sizeof request - 1, 0);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        close(fd);
    } else if (strncmp(request, "GET /gigabyte", 13) == 0) {
        left[fd] = gigabyte;
        if (send(fd, head, sizeof head - 1, MSG_NOSIGNAL) < 0)
            close(fd);
        else
            watch(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT);
    } else if (strncmp(request, "GET /hole", 9) != 0) {
        reset(fd);
    }
}

static void send_more(int fd)
{
    static char piece[PIECE];
    ssize_t n = send(fd, piece, PIECE, MSG_NOSIGNAL);

    if (n < 0 && errno == EAGAIN)
        return;
    left[fd] -= n;
    if (n < 0 || left[fd] <= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    struct rlimit limit;
    int listener, port;

    if (argc != 2 || !number_read(argv[1], 1, 65535, &port)) {
        fputs("usage: bad PORT\n", stderr);
        return 2;
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    epoll = epoll_create1(0);
    listener = listen_on(port);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;

            if (fd == listener)
                accept_all(fd);
            else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                take_request(fd);
            else
                send_more(fd);
        }
    }
}

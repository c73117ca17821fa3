/* hello.c - the floor: what a bare libfcgi responder does behind the same web server.
 *
 *     hello SOCKET [BODY-BYTES]
 *
 * FCGX_Accept_r, a constant answer, FCGX_Finish_r, and connections kept open: nothing that a
 * FastCGI program could leave out. It takes no notice of what is asked.
 *
 * One thread waits for all connections at once and gives libfcgi each that has become readable. In
 * libfcgi's own pattern, a thread for each kept connection blocked in FCGX_Accept_r, the switching
 * between threads costs more than the answers: about 40,000 a second instead of 70,000 behind
 * nginx on two cores. The faster of the two is the floor. It trusts its peer to send each request
 * whole, as a web server does with a small one.
 */
#include <fcgiapp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/number.h"

enum { BODY_MAX = 60000, EVENTS = 256 };

static char body[BODY_MAX + 1];

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        perror("hello: epoll_ctl");
        exit(1);
    }
}

static void accept_all(int epoll, int listener)
{
    int fd;

    while ((fd = accept(listener, NULL, NULL)) >= 0)
        watch(epoll, fd);
}

/* One request of a kept connection. libfcgi closes the connection when its peer has. */
static void respond(int fd)
{
    static FCGX_Request request;
    char sink[8192];

    FCGX_InitRequest(&request, -1, 0);
    request.ipcFd = fd;
    request.keepConnection = 1; /* or Accept's own Finish would close it */
    if (FCGX_Accept_r(&request) != 0)
        return;
    /* A body left unread would be taken for the next request. */
    while (FCGX_GetStr(sink, sizeof sink, request.in) > 0)
        ;
    FCGX_FPrintF(request.out,
                 "Status: 200\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                 (int)strlen(body), body);
    FCGX_Finish_r(&request);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    int len = 100;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int listener;

    if (argc < 2 || argc > 3 || (argc == 3 && !number_read(argv[2], 1, BODY_MAX, &len))) {
        fprintf(stderr, "usage: hello SOCKET [BODY-BYTES, 1 to %d]\n", BODY_MAX);
        return 2;
    }
    memset(body, 'x', (size_t)len);
    FCGX_Init();
    signal(SIGTERM, SIG_DFL); /* libfcgi has just made it mean "stop after the next request" */
    listener = FCGX_OpenSocket(argv[1], 4096);
    if (listener < 0 || epoll < 0 || fcntl(listener, F_SETFL, O_NONBLOCK) != 0) {
        perror("hello: cannot listen");
        return 1;
    }
    watch(epoll, listener);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                respond(events[i].data.fd);
        }
    }
}

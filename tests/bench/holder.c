/* holder.c - the floor of a fan-out behind a web server: the least that a FastCGI backend can do.
 *
 *     holder SOCKET [BODY-BYTES]
 *
 * Holds every `update`, and at a `create` answers that and then all of them, with one send(2) a
 * socket: the message, and blanks up to BODY-BYTES (150). `status` says how many are held. What the
 * web server needs for 8,000 answers, it needs with any backend.
 *
 * No libfcgi, no log, no timer, no look at more of a request than one word in it; a request comes
 * whole, as a web server sends a small one, and a held one is asked by a connection that stays.
 */
#include <errno.h>
#include <fastcgi.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/bench/number.h"
#include "tests/bench/wire.h"

enum { FDS_MAX = 200000, BODY_MAX = 60000, REQUEST_MAX = 65536, EVENTS = 512 };

static struct holder {
    int epoll, listener;
    int held[FDS_MAX];  /* descriptors; `count` of them */
    int place[FDS_MAX]; /* of a descriptor in `held`, from 1; 0: not there */
    int count;
    size_t body_len;
    char answer[BODY_MAX + 512];
} holder;

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "holder: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(holder.epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl");
}

/* Frames an answer with this body, blanks behind it. Returns its length. */
static size_t make_answer(const char *body, size_t body_len)
{
    static char content[BODY_MAX + 256];
    FCGI_EndRequestBody end = {.protocolStatus = FCGI_REQUEST_COMPLETE};
    struct request answer = {.bytes = holder.answer};
    size_t len = body_len < holder.body_len ? holder.body_len : body_len;
    size_t head_len =
        (size_t)snprintf(content, sizeof content,
                         "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", len);

    memcpy(content + head_len, body, body_len);
    memset(content + head_len + body_len, ' ', len - body_len);
    request_record(&answer, FCGI_STDOUT, content, head_len + len);
    request_record(&answer, FCGI_END_REQUEST, &end, sizeof end);
    return answer.len;
}

static void answer(int fd, size_t len)
{
    if (send(fd, holder.answer, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len)
        die("send");
}

static void fan_out(int publisher, const char *message, size_t message_len)
{
    size_t len = make_answer(message, message_len);

    answer(publisher, len);
    for (int i = 0; i < holder.count; i++) {
        holder.place[holder.held[i]] = 0;
        answer(holder.held[i], len);
    }
    holder.count = 0;
}

static void hold(int fd)
{
    holder.held[holder.count++] = fd;
    holder.place[fd] = holder.count;
}

/* The connection has ended, perhaps while it was held. */
static void forget(int fd)
{
    int place = holder.place[fd];

    close(fd);
    if (!place)
        return;
    holder.held[place - 1] = holder.held[--holder.count];
    holder.place[holder.held[place - 1]] = place;
    holder.place[fd] = 0;
}

static void tell_status(int fd)
{
    char body[64];

    snprintf(body, sizeof body, "{\"holds\":%d}", holder.count);
    answer(fd, make_answer(body, strlen(body)));
}

/* What came is a whole request, or the end of the connection. */
static void take_request(int fd)
{
    static char bytes[REQUEST_MAX];
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    size_t len = n > 0 ? (size_t)n : 0;
    char *message;

    if (n <= 0) {
        forget(fd);
    } else if (memmem(bytes, len, "/update", 7)) {
        hold(fd);
    } else if ((message = memmem(bytes, len, "msg=", 4)) != NULL) {
        size_t left = len - (size_t)(message + 4 - bytes);

        /* Behind it is only the empty record that ends the body. */
        fan_out(fd, message + 4, left > FCGI_HEADER_LEN ? left - FCGI_HEADER_LEN : 0);
    } else {
        tell_status(fd);
    }
}

static void accept_all(void)
{
    int fd;

    while ((fd = accept4(holder.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= FDS_MAX)
            die("too many connections");
        watch(fd);
    }
}

static void open_listener(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    if ((size_t)snprintf(un.sun_path, sizeof un.sun_path, "%s", path) >= sizeof un.sun_path)
        die("the path is too long");
    holder.epoll = epoll_create1(EPOLL_CLOEXEC);
    holder.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (holder.epoll < 0 || holder.listener < 0 ||
        bind(holder.listener, (struct sockaddr *)&un, sizeof un) != 0 ||
        listen(holder.listener, 4096) != 0)
        die(path);
    watch(holder.listener);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    int len = 150;

    if (argc < 2 || argc > 3 || (argc == 3 && !number_read(argv[2], 1, BODY_MAX, &len))) {
        fprintf(stderr, "usage: holder SOCKET [BODY-BYTES, 1 to %d]\n", BODY_MAX);
        return 2;
    }
    holder.body_len = (size_t)len;
    open_listener(argv[1]);
    for (;;) {
        int n = epoll_wait(holder.epoll, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == holder.listener)
                accept_all();
            else
                take_request(events[i].data.fd);
        }
    }
}

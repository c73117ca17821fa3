/* conn.h - client connections on one epoll: send a request, gather its answer.
 *
 * Level-triggered, and interested in input alone but while a request is half sent, so that a held
 * request costs the generator nothing and a delivered one costs one epoll_wait entry and one recv:
 * whatever is spent here is taken from the servers that are measured on the same machine.
 */
#ifndef ENCKE_BENCH_CONN_H
#define ENCKE_BENCH_CONN_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/bench/answer.h"
#include "tests/bench/figures.h"
#include "tests/bench/wire.h"

enum {
    /* Connections from one source address, below the number of ephemeral ports (28,232 unless the
     * administrator changed it). The next ones come from 127.0.0.2, and so on. */
    CONN_PER_SOURCE = 20000,
    CONN_EVENTS = 512,
    CONN_CONNECT_S = 5 /* a connect that takes longer has failed */
};

struct conn {
    int fd;                        /* -1: not connected */
    bool asked;                    /* a request is on its way, or held */
    bool wants_out;                /* EPOLLOUT is on */
    bool deaf;                     /* EPOLLIN is off: nothing is read */
    bool hasty;                    /* set by the owner: its TCP connect is not waited for */
    unsigned number;               /* the owner's */
    unsigned source;               /* the source address: 0 is any, n is 127.0.0.n+1 */
    size_t sent;                   /* bytes of the request */
    uint64_t asked_ns;             /* when its first byte was sent */
    uint64_t read_ns;              /* when something last came */
    uint64_t read_bytes;           /* since it was opened */
    const struct request *request; /* not owned */
    struct answer answer;
};

/* What conn_step has to tell of a connection. */
enum conn_news {
    CONN_NOTHING,
    CONN_ANSWERED, /* read conn->answer before the next request */
    CONN_LOST,     /* closed by the server before a whole answer, or failed */
    CONN_BAD       /* what came is no answer */
};

static inline bool conn_bind_source(const struct conn *c, int fd)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    int on = 1;

    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + c->source);
    /* The port is then chosen at connect, for this destination only. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    return bind(fd, (const struct sockaddr *)&source, sizeof source) == 0;
}

/* Connects, waiting for it: on loopback the kernel answers at once, and where the backlog is full
 * waiting is what is wanted. But the hasty one's connect only begins, and if it fails, that is LOST
 * later. False (and errno) if it failed; the connection is then as before. */
static inline bool conn_open(struct conn *c, const struct target *t, int epoll)
{
    int on = 1, family = t->to.any.sa_family;
    struct timeval limit = {.tv_sec = CONN_CONNECT_S};
    struct epoll_event event = {.events = c->deaf ? 0 : EPOLLIN, .data.ptr = c};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (family == AF_INET) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (c->source > 0 && !conn_bind_source(c, fd))
            goto failed;
    }
    if (family == AF_INET && c->hasty)
        fcntl(fd, F_SETFL, O_NONBLOCK);
    if (connect(fd, &t->to.any, t->to_len) != 0 && errno != EINPROGRESS)
        goto failed;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        goto failed;
    c->fd = fd;
    c->asked = c->wants_out = false;
    c->read_bytes = 0;
    return true;
failed:
    close(fd);
    return false;
}

/* Closes it, if it is open. */
static inline void conn_close(struct conn *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->asked = false;
}

/* Changes what epoll is to report of an open connection, if that is a change. */
static inline void conn_want(struct conn *c, int epoll, bool in, bool out)
{
    struct epoll_event event = {.events = (in ? EPOLLIN : 0) | (out ? EPOLLOUT : 0), .data.ptr = c};

    if (in == !c->deaf && out == c->wants_out)
        return;
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
    c->deaf = !in;
    c->wants_out = out;
}

static inline bool conn_send(struct conn *c, int epoll)
{
    ssize_t n = send(c->fd, c->request->bytes + c->sent, c->request->len - c->sent,
                     MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return false;
    c->sent += n > 0 ? (size_t)n : 0;
    conn_want(c, epoll, !c->deaf, c->sent < c->request->len);
    return true;
}

/* Sends a request, of which the caller keeps the bytes until the answer, on a connection that has
 * none. False if the connection is gone; it is then closed. */
static inline bool conn_ask(struct conn *c, const struct target *t, int epoll,
                            const struct request *request)
{
    c->request = request;
    c->sent = 0;
    c->asked = true;
    answer_start(&c->answer, t->fcgi);
    c->asked_ns = clock_ns();
    if (c->fd >= 0 && conn_send(c, epoll))
        return true;
    conn_close(c);
    return false;
}

static inline enum conn_news conn_read(struct conn *c)
{
    static char bytes[65536];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return CONN_NOTHING;
    if (n <= 0)
        return CONN_LOST;
    c->read_ns = clock_ns();
    c->read_bytes += (uint64_t)n;
    if (!c->asked)
        return CONN_BAD;
    switch (answer_feed(&c->answer, bytes, (size_t)n)) {
    case ANSWER_MORE:
        return CONN_NOTHING;
    case ANSWER_DONE:
        return CONN_ANSWERED;
    default:
        return CONN_BAD;
    }
}

/* Goes on with a connection of which epoll reported something. It is closed after LOST and BAD,
 * and after an ANSWERED that announced it. */
static inline enum conn_news conn_step(struct conn *c, int epoll, uint32_t events)
{
    enum conn_news news = CONN_NOTHING;

    if (c->fd < 0)
        return CONN_NOTHING; /* closed while an earlier event of the same batch was handled */
    if ((events & EPOLLOUT) && c->asked && !conn_send(c, epoll))
        news = CONN_LOST;
    else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        news = conn_read(c);
    if (news != CONN_NOTHING)
        c->asked = false;
    if (news == CONN_LOST || news == CONN_BAD || (news == CONN_ANSWERED && c->answer.close))
        conn_close(c);
    return news;
}

#endif

/* appender.h - one connection to a store that appends messages one after the other, by the store's
 * own client library: what appends.c and the libraries' headers (to_redis.h, ...) share.
 *
 *     appends.store->prepare(address, anew)
 *     appends.store->open(&a, address)
 *     appends.store->append(&a)            its answer comes as
 *     appends.store->step(&a, events)      ... APPENDED
 *
 * For appends.c alone: one thread, one epoll, one run. The libraries do not wait here: what they
 * want to know of their sockets goes through appender_watch and appender_want_out. A request is
 * handed to the kernel at once, as the load generator does (conn.h), not after one more epoll_wait,
 * so that a library's way to an event loop costs the store nothing. What fails ends the program,
 * and connections end with it.
 */
#ifndef ENCKE_BENCH_APPENDER_H
#define ENCKE_BENCH_APPENDER_H

#include <stdarg.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tests/bench/figures.h"
#include "tests/bench/watch.h"

struct appender {
    int fd;
    bool wants_out;    /* EPOLLOUT is on */
    uint64_t asked_ns; /* when its message was handed to the library */
    void *client;      /* the library's */
};

enum append_news { APPEND_NOTHING, APPENDED };

/* A store, by its client library. */
struct store {
    const char *name;
    const char *address; /* what its address is, for a person */

    /* Makes the place for messages if need be; to begin `anew`, empties it if it can. Waits. */
    void (*prepare)(const char *address, bool anew);
    /* Connects, and waits for that. */
    void (*open)(struct appender *a, const char *address);
    /* Sends the message of this run. */
    void (*append)(struct appender *a);
    /* Goes on with a connection of which epoll reported something. APPENDED: the answer is there,
     * and names the message's place in the store. */
    enum append_news (*step)(struct appender *a, uint32_t events);
};

static struct appends {
    const struct store *store;
    char *message;
    size_t message_len;
    int epoll;
    struct watch watch; /* the processes of the store */
} appends;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("appends: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void appender_change(struct appender *a, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | (a->wants_out ? EPOLLOUT : 0), .data.ptr = a};

    if (epoll_ctl(appends.epoll, operation, a->fd, &event) != 0)
        die("epoll_ctl failed");
}

/* Has epoll report what comes on this socket. */
static void appender_watch(struct appender *a, int fd)
{
    a->fd = fd;
    a->wants_out = false;
    appender_change(a, EPOLL_CTL_ADD);
}

/* Has it report, too, that there is room for output. */
static void appender_want_out(struct appender *a, bool out)
{
    if (out == a->wants_out)
        return;
    a->wants_out = out;
    appender_change(a, EPOLL_CTL_MOD);
}

#endif

#include "fcgi/io/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    EVENTS = 64,      /* taken from epoll at once, so that a round lasts a few ms only */
    LATER_EVENTS = 8, /* the same for TURN_LATER: at least one, and no more after LATER_MS */
    LATER_MS = 2
};

int loop_init(struct loop *loop)
{
    *loop = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC),
                          .later_fd = epoll_create1(EPOLL_CLOEXEC)};
    timers_init(&loop->timers);
    if (loop->epoll_fd < 0 || loop->later_fd < 0)
        return -1;
    return loop_watch(loop, loop->later_fd, TURN_NOW, EPOLLIN, NULL);
}

static void free_graves(struct loop *loop)
{
    while (loop->grave_count > 0)
        free(loop->graves[--loop->grave_count]);
}

void loop_free(struct loop *loop)
{
    free_graves(loop);
    free(loop->graves);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->later_fd >= 0)
        close(loop->later_fd);
}

static int epoll_of(const struct loop *loop, enum turn turn)
{
    return turn == TURN_NOW ? loop->epoll_fd : loop->later_fd;
}

int loop_watch(struct loop *loop, int fd, enum turn turn, uint32_t events, struct source *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(epoll_of(loop, turn), EPOLL_CTL_ADD, fd, &event);
}

int loop_change(struct loop *loop, int fd, enum turn was, enum turn turn, uint32_t events,
                struct source *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    if (was == turn)
        return epoll_ctl(epoll_of(loop, turn), EPOLL_CTL_MOD, fd, &event);
    epoll_ctl(epoll_of(loop, was), EPOLL_CTL_DEL, fd, NULL);
    return epoll_ctl(epoll_of(loop, turn), EPOLL_CTL_ADD, fd, &event);
}

void loop_forget(struct loop *loop, int fd, struct source *source)
{
    source->ready = NULL;
    if (fd >= 0)
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void loop_free_later(struct loop *loop, void *memory)
{
    if (loop->grave_count == loop->grave_cap) {
        unsigned cap = loop->grave_cap ? 2 * loop->grave_cap : 256;
        void **graves = realloc(loop->graves, cap * sizeof *graves);
        if (!graves)
            return; /* to lose a hundred bytes is better than an event for freed memory */
        loop->graves = graves;
        loop->grave_cap = cap;
    }
    loop->graves[loop->grave_count++] = memory;
}

/* Calls the sources of the events. Returns whether sources are ready whose turn is later. */
static bool call_sources(struct loop *loop, const struct epoll_event *events, int count)
{
    bool later = false;
    for (int i = 0; i < count; i++) {
        struct source *source = events[i].data.ptr;
        if (!source) {
            later = true;
        } else if (source->ready) {
            source->ready(source, events[i].events);
            loop->settle(loop);
        }
    }
    return later;
}

static void hand_over_collected(struct loop *loop)
{
    if (loop->hand_over)
        loop->hand_over(loop);
}

/* Calls them one by one, since each may have a megabyte to render. Epoll puts a descriptor that it
 * reported after all others, so each has its turn. */
static void call_later_sources(struct loop *loop)
{
    uint64_t until_ms = timer_now_ms() + LATER_MS;
    struct epoll_event event;
    for (int i = 0; i < LATER_EVENTS; i++) {
        int count = epoll_wait(loop->later_fd, &event, 1, 0);
        call_sources(loop, &event, count);
        if (count < 1 || timer_now_ms() >= until_ms)
            return;
    }
}

int loop_round(struct loop *loop, int wait_ms)
{
    struct epoll_event events[EVENTS];
    hand_over_collected(loop);
    int count = epoll_wait(loop->epoll_fd, events, EVENTS, wait_ms);
    if (count < 0 && errno != EINTR)
        return -1;
    loop->rounds++;
    if (call_sources(loop, events, count)) {
        hand_over_collected(loop);
        call_later_sources(loop);
    }
    timers_run(&loop->timers);
    loop->settle(loop);
    free_graves(loop);
    return count > 0 ? count : 0;
}

int loop_run(struct loop *loop)
{
    while (!loop->stopped)
        if (loop_round(loop, timers_next_ms(&loop->timers)) < 0)
            return -1;
    return 0;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

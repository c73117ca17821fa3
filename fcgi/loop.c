#include "fcgi/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { EVENTS = 256 }; /* taken from epoll at once */

int loop_init(struct loop *loop)
{
    *loop = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    timers_init(&loop->timers);
    return loop->epoll_fd < 0 ? -1 : 0;
}

static void bury(struct loop *loop)
{
    while (loop->grave_count > 0)
        free(loop->graves[--loop->grave_count]);
}

void loop_free(struct loop *loop)
{
    bury(loop);
    free(loop->graves);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
}

static int control(struct loop *loop, int operation, int fd, uint32_t events, struct source *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(loop->epoll_fd, operation, fd, &event);
}

int loop_watch(struct loop *loop, int fd, uint32_t events, struct source *source)
{
    return control(loop, EPOLL_CTL_ADD, fd, events, source);
}

int loop_change(struct loop *loop, int fd, uint32_t events, struct source *source)
{
    return control(loop, EPOLL_CTL_MOD, fd, events, source);
}

void loop_forget(struct loop *loop, int fd, struct source *source)
{
    source->ready = NULL;
    if (fd >= 0)
        control(loop, EPOLL_CTL_DEL, fd, 0, source);
}

void loop_free_later(struct loop *loop, void *memory)
{
    if (loop->grave_count == loop->grave_cap) {
        unsigned cap = loop->grave_cap ? 2 * loop->grave_cap : 256;
        void **graves = realloc(loop->graves, cap * sizeof *graves);
        if (!graves)
            return; /* better a hundred bytes lost than an event for freed memory */
        loop->graves = graves;
        loop->grave_cap = cap;
    }
    loop->graves[loop->grave_count++] = memory;
}

int loop_run(struct loop *loop)
{
    struct epoll_event events[EVENTS];
    while (!loop->stopped) {
        int count = epoll_wait(loop->epoll_fd, events, EVENTS, timers_next_ms(&loop->timers));
        if (count < 0 && errno != EINTR)
            return -1;
        for (int i = 0; i < count; i++) {
            struct source *source = events[i].data.ptr;
            if (source->ready)
                source->ready(source, events[i].events);
        }
        timers_run(&loop->timers);
        bury(loop);
    }
    return 0;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

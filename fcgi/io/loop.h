/* loop.h - the event loop: epoll, deadlines, and nothing else.
 *
 * Whoever owns a descriptor embeds a struct source and is called when epoll has something to say.
 * Each round serves up to 64 that are ready, and of those that are to be served LATER only a few,
 * for about 2 ms, after the others: so a crowd that has much to do cannot keep the rest waiting.
 *
 * Callbacks walk lists of connections, whose members they may end only with care. What ends any of
 * them is done in between: see settle.
 *
 * A source may be ended by any callback, its own or another's, in the same round: so what held it
 * is freed with loop_free_later, and its `ready` is made NULL by loop_forget.
 *
 * One thread. Nothing in it blocks but loop_run's own wait.
 */
#ifndef ENCKE_FCGI_LOOP_H
#define ENCKE_FCGI_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "fcgi/io/timer.h"

/* The struct of that type whose member pointer points to: how a callback finds what embeds its
 * source or timer. */
#define OWNER(type, pointer, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct source {
    /* events as epoll reports them; NULL: forgotten, the event came too late */
    void (*ready)(struct source *source, uint32_t events);
};

enum turn { TURN_NOW, TURN_LATER };

struct loop {
    int epoll_fd;
    int later_fd; /* an epoll too, watched by the first */
    bool stopped;
    void (*settle)(struct loop *loop); /* called behind each callback; set it after loop_init */
    uint64_t rounds;
    struct timers timers;
    void **graves; /* freed at the end of the round */
    unsigned grave_count, grave_cap;
};

/* Returns 0, or -1 with errno set. */
int loop_init(struct loop *loop);
void loop_free(struct loop *loop);

/* Watches fd level-triggered for events; the source must outlive the watch. loop_change changes the
 * events of a watch, or its turn from `was`. Returns 0, or -1 with errno set. */
int loop_watch(struct loop *loop, int fd, enum turn turn, uint32_t events, struct source *source);
int loop_change(struct loop *loop, int fd, enum turn was, enum turn turn, uint32_t events,
                struct source *source);

/* Stops calling the source. The watch itself ends when fd is closed; or here, with an fd >= 0,
 * which other processes may have open too, and whose turn is now. */
void loop_forget(struct loop *loop, int fd, struct source *source);

/* free()s memory once no event of this round can refer to it any more. */
void loop_free_later(struct loop *loop, void *memory);

/* One round: waits for at most wait_ms (-1: as long as it takes), and calls who is ready or due.
 * Returns how many were ready, or -1 with errno set if epoll failed. */
int loop_round(struct loop *loop, int wait_ms);

/* Round after round, until loop_stop. Returns 0, or -1 with errno set if epoll failed. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#endif

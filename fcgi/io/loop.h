/* loop.h - the event loop: epoll and deadlines.
 *
 * The owner of a descriptor embeds a struct source, and the loop calls it when epoll reports
 * events. A round calls up to 64 sources that are ready. Sources whose turn is TURN_LATER come
 * after all others: a few in each round, for about 2 ms, so that many connections with much to do
 * do not delay the rest.
 *
 * A callback that walks a list of connections may end the one that it is at, but no other. What
 * must end others (unsent.h) is done in `settle`, which the loop calls after each callback. What
 * the callbacks of a round have collected for another thread is handed over in `hand_over`.
 *
 * A callback may end any source, its own or another, although epoll has reported events for it in
 * the same round. So it calls loop_forget, which sets `ready` to NULL, and frees the memory with
 * loop_free_later.
 *
 * One thread. Only loop_round and loop_run block, and only to wait for events.
 */
#ifndef ENCKE_FCGI_LOOP_H
#define ENCKE_FCGI_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "fcgi/io/timer.h"

/* The struct of that type whose member pointer points to: how a callback finds the owner of its
 * source or timer. */
#define OWNER(type, pointer, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct source {
    /* events: as epoll reports them. NULL: the source is forgotten, and is not called. */
    void (*ready)(struct source *source, uint32_t events);
};

enum turn { TURN_NOW, TURN_LATER };

struct loop {
    int epoll_fd;
    int later_fd; /* an epoll for TURN_LATER; the first epoll watches it */
    bool stopped;
    void (*settle)(struct loop *loop);    /* called after each callback; set it after loop_init */
    void (*hand_over)(struct loop *loop); /* called before the loop waits, and before TURN_LATER;
                                             may be NULL */
    uint64_t rounds;                      /* so far */
    struct timers timers;
    void **graves; /* memory to be freed at the end of the round */
    unsigned grave_count, grave_cap;
};

/* Returns 0, or -1 with errno set; loop_free is allowed after either. */
int loop_init(struct loop *loop);
void loop_free(struct loop *loop);

/* Watches fd for events, level-triggered. The source must live as long as it is watched.
 * loop_change changes the events, and the turn, which was `was`. Both return 0, or -1 with errno
 * set. */
int loop_watch(struct loop *loop, int fd, enum turn turn, uint32_t events, struct source *source);
int loop_change(struct loop *loop, int fd, enum turn was, enum turn turn, uint32_t events,
                struct source *source);

/* The source is not called any more. The caller closes its descriptor, and with that epoll stops
 * watching it. But if something else has the same file open (another process, a library), epoll
 * would go on: then pass the descriptor as fd, which is watched with TURN_NOW. Else pass -1. */
void loop_forget(struct loop *loop, int fd, struct source *source);

/* Frees memory, by free(), at the end of the round, when no event can refer to it any more. */
void loop_free_later(struct loop *loop, void *memory);

/* One round: waits for events, at most wait_ms (-1: without limit), and calls the sources that are
 * ready and the timers that are due. Returns how many events there were, or -1 with errno set if
 * epoll failed. */
int loop_round(struct loop *loop, int wait_ms);

/* Rounds until loop_stop is called. Returns 0, or -1 with errno set if epoll failed. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#endif

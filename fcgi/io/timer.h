/* timer.h - a hashed timing wheel: any number of deadlines, which cost nothing until they are due.
 *
 * To set or to clear a deadline is to insert or remove a list member, and nothing runs regularly.
 * The loop asks how long it may sleep, and fires what is due. A deadline is never early, and late
 * by at most a tick.
 *
 * Loop's thread only, except timer_now_ms: any thread. Times are milliseconds of a clock that never
 * goes back.
 */
#ifndef ENCKE_FCGI_TIMER_H
#define ENCKE_FCGI_TIMER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum {
    TIMER_TICK_MS = 64,
    TIMER_SLOTS = 1024 /* a turn of the wheel takes about 65 s; later deadlines stay for the next */
};

/* One deadline, embedded in its owner. All bytes zero is a timer that is not set. */
struct timer {
    LIST_ENTRY(timer) link;
    uint64_t due_tick; /* 0: not set */
    void (*fire)(struct timer *timer);
};
LIST_HEAD(timer_list, timer);

struct timers {
    uint64_t tick; /* all deadlines up to this tick have fired */
    uint32_t count;
    struct timer_list slots[TIMER_SLOTS];
};

/* The time by that clock. */
uint64_t timer_now_ms(void);

/* Replaces the clock, for tests that have their own time; now_ms must not go back. */
void timer_clock_set(uint64_t (*now_ms)(void));

void timers_init(struct timers *timers);

/* Sets the deadline, or moves it, to ms from now. timer->fire must be set before. */
void timer_set(struct timers *timers, struct timer *timer, uint64_t ms);

/* Moves a deadline that is set to ms from now, if that is earlier. */
void timer_hasten(struct timers *timers, struct timer *timer, uint64_t ms);

/* Returns ms less a random part of up to a tenth: clients that were answered at the same time must
 * not all come back at the same time. */
uint64_t timer_jittered(uint64_t ms);

/* Clears the deadline; does nothing if it is not set. */
void timer_clear(struct timers *timers, struct timer *timer);

/* How many milliseconds the loop may sleep; -1 if no deadline is set. */
int timers_next_ms(const struct timers *timers);

/* Fires what is due. A timer is not set any more when its fire is called, which may set it again,
 * or free it. */
void timers_run(struct timers *timers);

#endif

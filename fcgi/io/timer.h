/* timer.h - a hashed timing wheel: any number of deadlines at no cost until they are due.
 *
 * Setting and clearing a deadline is a list operation; nothing ticks. The loop asks how long it
 * may sleep and runs what is due. Deadlines are kept to a tick, and never fire early.
 *
 * Loop's thread only. Milliseconds of a clock that only goes forward (timer_now_ms).
 */
#ifndef ENCKE_FCGI_TIMER_H
#define ENCKE_FCGI_TIMER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum {
    TIMER_TICK_MS = 64,
    TIMER_SLOTS = 1024 /* about 65 s for one turn of the wheel; later deadlines go round again */
};

/* One deadline, embedded in its owner. All zero bytes is a timer that is not set. */
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

uint64_t timer_now_ms(void);

/* Takes now_ms for the clock, for a test whose time is its own; it must not go back. */
void timer_clock_set(uint64_t (*now_ms)(void));

void timers_init(struct timers *timers);

/* Sets or moves the deadline to ms from now; timer->fire must be set by then. */
void timer_set(struct timers *timers, struct timer *timer, uint64_t ms);

/* Moves a deadline that is set to ms from now, if that is sooner. */
void timer_hasten(struct timers *timers, struct timer *timer, uint64_t ms);

/* ms less a random part of up to a tenth: those who were answered at once must not come back at
 * once. */
uint64_t timer_jittered(uint64_t ms);

/* Clears it; a timer that is not set is left alone. */
void timer_clear(struct timers *timers, struct timer *timer);

/* How long the loop may sleep: milliseconds, or -1 when no deadline is set. */
int timers_next_ms(const struct timers *timers);

/* Fires what is due. A fired timer is no longer set; it may be set again, or freed, by fire. */
void timers_run(struct timers *timers);

#endif

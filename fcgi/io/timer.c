#include "fcgi/io/timer.h"

#include <stdlib.h>
#include <time.h>

static uint64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t (*clock_ms)(void) = monotonic_ms;

void timer_clock_set(uint64_t (*now_ms)(void))
{
    clock_ms = now_ms;
}

uint64_t timer_now_ms(void)
{
    return clock_ms();
}

/* random() is enough: nobody gains by guessing it, and the kernel is not asked for each hold. */
uint64_t timer_jittered(uint64_t ms)
{
    return ms - (uint64_t)random() % (ms / 10 + 1);
}

void timers_init(struct timers *timers)
{
    srandom(arc4random());
    *timers = (struct timers){.tick = timer_now_ms() / TIMER_TICK_MS};
}

static struct timer_list *slot_of(struct timers *timers, uint64_t tick)
{
    return &timers->slots[tick % TIMER_SLOTS];
}

void timer_set(struct timers *timers, struct timer *timer, uint64_t ms)
{
    timer_clear(timers, timer);
    /* rounded up, since a part of the current tick is over: never early */
    timer->due_tick = (timer_now_ms() + ms) / TIMER_TICK_MS + 1;
    LIST_INSERT_HEAD(slot_of(timers, timer->due_tick), timer, link);
    timers->count++;
}

void timer_hasten(struct timers *timers, struct timer *timer, uint64_t ms)
{
    if (timer->due_tick > (timer_now_ms() + ms) / TIMER_TICK_MS + 1)
        timer_set(timers, timer, ms);
}

void timer_clear(struct timers *timers, struct timer *timer)
{
    if (timer->due_tick == 0)
        return;
    LIST_REMOVE(timer, link);
    timer->due_tick = 0;
    timers->count--;
}

int timers_next_ms(const struct timers *timers)
{
    if (timers->count == 0)
        return -1;
    uint64_t tick = timers->tick + 1;
    while (tick < timers->tick + TIMER_SLOTS && LIST_EMPTY(&timers->slots[tick % TIMER_SLOTS]))
        tick++;
    uint64_t now = timer_now_ms(), due = tick * TIMER_TICK_MS;
    return due > now ? (int)(due - now) : 0;
}

void timers_run(struct timers *timers)
{
    uint64_t now_tick = timer_now_ms() / TIMER_TICK_MS;
    uint64_t from = timers->tick + 1;
    if (now_tick > timers->tick + TIMER_SLOTS)
        from = now_tick - TIMER_SLOTS + 1; /* after a long sleep: look at each slot once */
    /* They move to a list of their own first, because fire may set and clear any timer. */
    struct timer_list due = LIST_HEAD_INITIALIZER(due);
    for (uint64_t tick = from; tick <= now_tick; tick++) {
        struct timer *timer = LIST_FIRST(slot_of(timers, tick));
        while (timer) {
            struct timer *next = LIST_NEXT(timer, link);
            if (timer->due_tick <= now_tick) {
                LIST_REMOVE(timer, link);
                LIST_INSERT_HEAD(&due, timer, link);
            }
            timer = next;
        }
    }
    timers->tick = now_tick;
    struct timer *timer;
    while ((timer = LIST_FIRST(&due)) != NULL) {
        timer_clear(timers, timer);
        timer->fire(timer);
    }
}

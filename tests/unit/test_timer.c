/* Deadlines: never early, none lost, whatever is set or cleared meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <stdlib.h>

#include "fcgi/io/timer.h"

enum { MANY = 500 };

struct deadline {
    struct timer timer;
    struct timers *timers;
    uint64_t due_ms;
    struct deadline *other; /* cleared when this one fires */
    int fired;
};

static void on_fire(struct timer *timer)
{
    struct deadline *deadline = (struct deadline *)timer;
    assert_true(timer_now_ms() >= deadline->due_ms);
    deadline->fired++;
    if (deadline->other)
        timer_clear(deadline->timers, &deadline->other->timer);
}

static void set(struct timers *timers, struct deadline *deadline, uint64_t ms)
{
    deadline->timer.fire = on_fire;
    deadline->timers = timers;
    deadline->due_ms = timer_now_ms() + ms;
    timer_set(timers, &deadline->timer, ms);
}

/* Sleeps as long as the wheel allows, until it is empty; as the loop does. */
static void run_until_empty(struct timers *timers)
{
    int wait_ms;
    while ((wait_ms = timers_next_ms(timers)) >= 0) {
        poll(NULL, 0, wait_ms);
        timers_run(timers);
    }
}

static void without_deadlines_the_loop_sleeps_for_ever(void **state)
{
    static struct timers timers;
    timers_init(&timers);
    assert_int_equal(timers_next_ms(&timers), -1);
}

static void deadlines_fire_once_and_never_early(void **state)
{
    static struct timers timers;
    static struct deadline deadlines[MANY];
    timers_init(&timers);
    for (int i = 0; i < MANY; i++)
        set(&timers, &deadlines[i], (uint64_t)(random() % 300));
    run_until_empty(&timers);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(deadlines[i].fired, 1);
}

static void a_cleared_or_moved_deadline_does_not_fire(void **state)
{
    static struct timers timers;
    static struct deadline cleared, moved;
    timers_init(&timers);
    set(&timers, &cleared, 10);
    set(&timers, &moved, 10);
    set(&timers, &moved, 150);
    timer_clear(&timers, &cleared.timer);
    timer_clear(&timers, &cleared.timer);
    run_until_empty(&timers);
    assert_int_equal(cleared.fired, 0);
    assert_int_equal(moved.fired, 1);
}

static void one_that_fires_may_clear_another_of_the_same_moment(void **state)
{
    static struct timers timers;
    static struct deadline pair[2];
    timers_init(&timers);
    pair[0].other = &pair[1];
    pair[1].other = &pair[0];
    set(&timers, &pair[0], 5);
    set(&timers, &pair[1], 5);
    run_until_empty(&timers);
    assert_int_equal(pair[0].fired + pair[1].fired, 1);
}

static void a_deadline_beyond_one_turn_waits_its_turns(void **state)
{
    static struct timers timers;
    static struct deadline far;
    timers_init(&timers);
    set(&timers, &far, 1000 * 1000);
    int wait_ms = timers_next_ms(&timers);
    assert_true(wait_ms > 0 && wait_ms <= TIMER_SLOTS * TIMER_TICK_MS);
    timers_run(&timers);
    assert_int_equal(far.fired, 0);
    /* as if the loop had slept through several turns of the wheel */
    timers.tick -= 5 * TIMER_SLOTS;
    timers_run(&timers);
    assert_int_equal(far.fired, 0);
    far.due_ms = 0;
    far.timer.due_tick -= 1000 * 1000 / TIMER_TICK_MS + 1;
    timers.tick -= TIMER_SLOTS;
    timers_run(&timers);
    assert_int_equal(far.fired, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_deadlines_the_loop_sleeps_for_ever),
        cmocka_unit_test(deadlines_fire_once_and_never_early),
        cmocka_unit_test(a_cleared_or_moved_deadline_does_not_fire),
        cmocka_unit_test(one_that_fires_may_clear_another_of_the_same_moment),
        cmocka_unit_test(a_deadline_beyond_one_turn_waits_its_turns),
    };
    return cmocka_run_group_tests_name("timer", tests, NULL, NULL);
}

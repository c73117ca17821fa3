/* The event loop: every source is called, in its turn, and none after it is forgotten. The time of
 * the deadlines is the tests' own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fcgi/io/loop.h"

enum { AT_ONCE = 64, LATER_AT_ONCE = 8 }; /* as loop.h and loop.c have them */

static uint64_t now_ms;

static uint64_t clock_of_tests(void)
{
    return now_ms;
}

static uint64_t clock_of_the_machine(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- a source with one end of a socketpair; its test has the other ---- */

struct end {
    struct source source;
    struct loop *loop;
    int own, other;
    enum turn turn;
    unsigned calls;
    uint32_t events;                   /* of the latest call */
    unsigned order;                    /* which call of all it was */
    void (*and_then)(struct end *end); /* what it does when it is called; NULL: nothing */
    struct end *victim;                /* for and_then */
    uint64_t takes_ms;                 /* of the tests' time */
};

static unsigned all_calls;

static void on_end(struct source *source, uint32_t events)
{
    struct end *end = OWNER(struct end, source, source);
    end->calls++;
    end->events = events;
    end->order = ++all_calls;
    now_ms += end->takes_ms;
    if (end->and_then)
        end->and_then(end);
}

static struct end *end_new(struct loop *loop, enum turn turn)
{
    int fds[2];
    struct end *end = calloc(1, sizeof *end);
    assert_non_null(end);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *end = (struct end){
        .source = {on_end}, .loop = loop, .own = fds[0], .other = fds[1], .turn = turn};
    assert_int_equal(loop_watch(loop, end->own, turn, EPOLLIN, &end->source), 0);
    return end;
}

static void end_close(struct end *end)
{
    close(end->own);
    close(end->other);
}

static void end_free(struct end *end)
{
    end_close(end);
    free(end);
}

static void end_wake(const struct end *end)
{
    assert_int_equal(write(end->other, "x", 1), 1);
}

/* Reads what woke it. */
static void end_rest(struct end *end)
{
    char c;
    assert_int_equal(read(end->own, &c, 1), 1);
}

/* ---- a loop ---- */

static unsigned settled;
static unsigned handed_over; /* how many calls there were before, and 1 */

static void on_settle(struct loop *loop)
{
    settled++;
}

static void on_hand_over(struct loop *loop)
{
    handed_over = all_calls + 1;
}

static int set_up(void **state)
{
    struct loop *loop = malloc(sizeof *loop);
    handed_over = 0;
    now_ms = 1000000;
    settled = all_calls = 0;
    timer_clock_set(clock_of_tests);
    if (!loop || loop_init(loop) != 0)
        return -1;
    loop->settle = on_settle;
    *state = loop;
    return 0;
}

static int tear_down(void **state)
{
    loop_free(*state);
    free(*state);
    return 0;
}

/* ---- claims ---- */

static void who_is_ready_is_called_with_its_events(void **state)
{
    struct loop *loop = *state;
    struct end *ready = end_new(loop, TURN_NOW), *idle = end_new(loop, TURN_NOW);
    assert_int_equal(loop_round(loop, 0), 0);
    end_wake(ready);
    assert_int_equal(loop_round(loop, -1), 1);
    assert_int_equal(ready->calls, 1);
    assert_int_equal(ready->events, EPOLLIN);
    assert_int_equal(loop_round(loop, 0), 1); /* level-triggered: it has not read */
    assert_int_equal(ready->calls, 2);
    end_rest(ready);
    assert_int_equal(loop_round(loop, 0), 0);
    close(ready->other);
    assert_int_equal(loop_round(loop, 0), 1);
    assert_int_equal(ready->events, EPOLLIN | EPOLLHUP);
    assert_int_equal(ready->calls, 3);
    assert_int_equal(idle->calls, 0);
    assert_int_equal(loop->rounds, 5);
    close(ready->own);
    free(ready);
    end_free(idle);
}

static void what_is_settled_is_settled_after_each_callback(void **state)
{
    struct loop *loop = *state;
    struct end *one = end_new(loop, TURN_NOW), *two = end_new(loop, TURN_NOW);
    end_wake(one);
    end_wake(two);
    assert_int_equal(loop_round(loop, 0), 2);
    assert_int_equal(settled, 3); /* each callback, and the timers */
    end_free(one);
    end_free(two);
}

static void a_round_calls_so_many_and_the_rest_in_the_next(void **state)
{
    struct loop *loop = *state;
    enum { MANY = AT_ONCE + 10 };
    struct end *ends[MANY];
    for (int i = 0; i < MANY; i++) {
        ends[i] = end_new(loop, TURN_NOW);
        end_wake(ends[i]);
    }
    assert_int_equal(loop_round(loop, 0), AT_ONCE);
    assert_int_equal(all_calls, AT_ONCE);
    assert_int_equal(loop_round(loop, 0), AT_ONCE);
    for (int i = 0; i < MANY; i++) {
        assert_true(ends[i]->calls > 0);
        end_free(ends[i]);
    }
}

static void those_whose_turn_is_later_come_after_all_others(void **state)
{
    struct loop *loop = *state;
    struct end *later = end_new(loop, TURN_LATER), *now = end_new(loop, TURN_NOW);
    later->and_then = end_rest;
    end_wake(later);
    end_wake(now);
    loop_round(loop, 0);
    assert_int_equal(now->order, 1);
    assert_int_equal(later->order, 2);
    end_free(later);
    end_free(now);
}

static void what_is_collected_is_handed_over_before_each_wait(void **state)
{
    struct loop *loop = *state;
    loop->hand_over = on_hand_over;
    loop_round(loop, 0);
    assert_int_equal(handed_over, 1);
    struct end *end = end_new(loop, TURN_NOW);
    end_wake(end);
    loop_round(loop, 0);
    assert_int_equal(handed_over, 1); /* what the source has collected, in the next round */
    loop_round(loop, 0);
    assert_int_equal(handed_over, 2);
    end_free(end);
}

static void and_before_those_whose_turn_is_later(void **state)
{
    struct loop *loop = *state;
    struct end *later = end_new(loop, TURN_LATER), *now = end_new(loop, TURN_NOW);
    loop->hand_over = on_hand_over;
    later->and_then = end_rest;
    end_wake(later);
    end_wake(now);
    loop_round(loop, 0);
    assert_int_equal(all_calls, 2);
    assert_int_equal(handed_over, 1 + 1); /* after the first call */
    end_free(later);
    end_free(now);
}

static void only_a_few_of_them_are_called_in_a_round_and_each_has_its_turn(void **state)
{
    struct loop *loop = *state;
    enum { MANY = 3 * LATER_AT_ONCE };
    struct end *ends[MANY];
    for (int i = 0; i < MANY; i++) {
        ends[i] = end_new(loop, TURN_LATER);
        end_wake(ends[i]);
    }
    for (unsigned round = 1; round <= 3; round++) {
        assert_int_equal(loop_round(loop, 0), 1); /* their epoll is one descriptor to the loop */
        assert_int_equal(all_calls, round * LATER_AT_ONCE);
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(ends[i]->calls, 1);
        end_free(ends[i]);
    }
}

static void one_that_takes_long_is_the_only_one_of_them_in_its_round(void **state)
{
    struct loop *loop = *state;
    struct end *slow = end_new(loop, TURN_LATER), *other = end_new(loop, TURN_LATER);
    slow->takes_ms = other->takes_ms = 2;
    end_wake(slow);
    end_wake(other);
    loop_round(loop, 0);
    assert_int_equal(all_calls, 1);
    loop_round(loop, 0);
    assert_int_equal(slow->calls, 1);
    assert_int_equal(other->calls, 1);
    end_free(slow);
    end_free(other);
}

static void events_and_turn_can_be_changed(void **state)
{
    struct loop *loop = *state;
    struct end *end = end_new(loop, TURN_NOW), *now = end_new(loop, TURN_NOW);
    end_wake(end);
    end_wake(now);
    assert_int_equal(loop_change(loop, end->own, TURN_NOW, TURN_NOW, EPOLLOUT, &end->source), 0);
    loop_round(loop, 0);
    assert_int_equal(end->events, EPOLLOUT);
    end->and_then = end_rest;
    assert_int_equal(loop_change(loop, end->own, TURN_NOW, TURN_LATER, EPOLLIN, &end->source), 0);
    loop_round(loop, 0);
    assert_int_equal(end->events, EPOLLIN);
    assert_true(end->order > now->order);
    assert_int_equal(loop_change(loop, end->own, TURN_LATER, TURN_NOW, 0, &end->source), 0);
    loop_round(loop, 0);
    assert_int_equal(end->calls, 2);
    end_free(end);
    end_free(now);
}

static void a_descriptor_that_cannot_be_watched_is_an_error(void **state)
{
    struct loop *loop = *state;
    struct end *end = end_new(loop, TURN_NOW);
    assert_int_equal(loop_watch(loop, -1, TURN_NOW, EPOLLIN, &end->source), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(loop_watch(loop, end->own, TURN_NOW, EPOLLIN, &end->source), -1);
    assert_int_equal(errno, EEXIST);
    end_free(end);
}

static void end_victim(struct end *end)
{
    struct end *victim = end->victim;
    if (!victim)
        return;
    loop_forget(end->loop, -1, &victim->source);
    end_close(victim);
    loop_free_later(end->loop, victim);
    end->victim = NULL;
    if (victim != end)
        victim->victim = NULL;
}

static void who_is_ended_in_a_round_is_not_called_in_it(void **state)
{
    struct loop *loop = *state;
    struct end *one = end_new(loop, TURN_NOW), *two = end_new(loop, TURN_NOW);
    one->victim = two;
    two->victim = one;
    one->and_then = two->and_then = end_victim; /* whichever is first ends the other */
    end_wake(one);
    end_wake(two);
    assert_int_equal(loop_round(loop, 0), 2); /* the sanitizer sees who is called when freed */
    assert_int_equal(all_calls, 1);
    assert_int_equal(loop->grave_count, 0);
    assert_int_equal(loop_round(loop, 0), 1);
    end_free(one->calls ? one : two);
}

static void one_may_end_itself(void **state)
{
    struct loop *loop = *state;
    for (int turn = TURN_NOW; turn <= TURN_LATER; turn++) {
        struct end *end = end_new(loop, (enum turn)turn);
        end->victim = end;
        end->and_then = end_victim;
        end_wake(end);
        assert_int_equal(loop_round(loop, 0), 1);
        assert_int_equal(loop_round(loop, 0), 0);
    }
    assert_int_equal(all_calls, 2);
}

static void a_descriptor_that_others_have_open_is_forgotten_too(void **state)
{
    struct loop *loop = *state;
    struct end *end = end_new(loop, TURN_NOW);
    int others = dup(end->own);
    end_wake(end);
    loop_forget(loop, end->own, &end->source);
    close(end->own);
    assert_int_equal(loop_round(loop, 0), 0);
    assert_int_equal(end->calls, 0);
    close(others);
    close(end->other);
    free(end);
}

static void any_number_of_memories_is_freed_at_the_end_of_a_round(void **state)
{
    struct loop *loop = *state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 1000; i++)
            loop_free_later(loop, malloc(16)); /* the leak sanitizer sees one that is not freed */
        assert_int_equal(loop->grave_count, 1000);
        loop_round(loop, 0);
        assert_int_equal(loop->grave_count, 0);
    }
    loop_free_later(loop, malloc(16)); /* loop_free frees this one */
}

/* ---- deadlines ---- */

struct deadline {
    struct timer timer;
    struct loop *loop;
    int fired;
};

static void on_deadline(struct timer *timer)
{
    struct deadline *deadline = OWNER(struct deadline, timer, timer);
    deadline->fired++;
    loop_stop(deadline->loop);
}

static void what_is_due_fires_after_the_sources_and_is_settled(void **state)
{
    struct loop *loop = *state;
    struct deadline deadline = {.timer = {.fire = on_deadline}, .loop = loop};
    timer_set(&loop->timers, &deadline.timer, 100);
    loop_round(loop, 0);
    assert_int_equal(deadline.fired, 0);
    now_ms += 100 + TIMER_TICK_MS;
    settled = 0;
    loop_round(loop, 0);
    assert_int_equal(deadline.fired, 1);
    assert_int_equal(settled, 1);
}

static void stop_from_its_own_callback(struct end *end)
{
    end_rest(end);
    loop_stop(end->loop);
}

static void it_runs_until_it_is_stopped(void **state)
{
    struct loop *loop = *state;
    struct end *end = end_new(loop, TURN_NOW);
    struct deadline deadline = {.timer = {.fire = on_deadline}, .loop = loop};
    end->and_then = stop_from_its_own_callback;
    end_wake(end);
    assert_int_equal(loop_run(loop), 0); /* without a deadline it waits for the socket */
    assert_int_equal(end->calls, 1);
    loop->stopped = false;
    timer_clock_set(clock_of_the_machine);
    timers_init(&loop->timers);
    timer_set(&loop->timers, &deadline.timer, 1);
    assert_int_equal(loop_run(loop), 0); /* it sleeps until the deadline, without any event */
    assert_int_equal(deadline.fired, 1);
    assert_true(loop->rounds < 10);
    end_free(end);
}

static void an_epoll_that_fails_ends_it(void **state)
{
    struct loop *loop = *state;
    close(loop->epoll_fd);
    assert_int_equal(loop_round(loop, 0), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(loop_run(loop), -1);
    loop->epoll_fd = -1;
}

#define WITH_A_LOOP(claim) cmocka_unit_test_setup_teardown(claim, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_A_LOOP(who_is_ready_is_called_with_its_events),
        WITH_A_LOOP(what_is_settled_is_settled_after_each_callback),
        WITH_A_LOOP(a_round_calls_so_many_and_the_rest_in_the_next),
        WITH_A_LOOP(those_whose_turn_is_later_come_after_all_others),
        WITH_A_LOOP(what_is_collected_is_handed_over_before_each_wait),
        WITH_A_LOOP(and_before_those_whose_turn_is_later),
        WITH_A_LOOP(only_a_few_of_them_are_called_in_a_round_and_each_has_its_turn),
        WITH_A_LOOP(one_that_takes_long_is_the_only_one_of_them_in_its_round),
        WITH_A_LOOP(events_and_turn_can_be_changed),
        WITH_A_LOOP(a_descriptor_that_cannot_be_watched_is_an_error),
        WITH_A_LOOP(who_is_ended_in_a_round_is_not_called_in_it),
        WITH_A_LOOP(one_may_end_itself),
        WITH_A_LOOP(a_descriptor_that_others_have_open_is_forgotten_too),
        WITH_A_LOOP(any_number_of_memories_is_freed_at_the_end_of_a_round),
        WITH_A_LOOP(what_is_due_fires_after_the_sources_and_is_settled),
        WITH_A_LOOP(it_runs_until_it_is_stopped),
        WITH_A_LOOP(an_epoll_that_fails_ends_it),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}

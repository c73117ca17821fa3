/* apart.h - publishers in a process of their own, so that a create takes what it takes for somebody
 * who publishes, and does not wait until this program has looked at all its readers.
 *
 *     apart_start()                  before any connection is opened
 *     apart_begin(messages)          so many at --rate; or APART_ENDLESS, until
 *     apart_end(until_ns)            no message that is due later
 *     apart_hear(&creates)           waits until all are answered: how long those took
 *
 * The process (worker.h) has --publishers connections.
 */
#ifndef ENCKE_BENCH_APART_H
#define ENCKE_BENCH_APART_H

#include "tests/bench/publish.h"
#include "tests/bench/worker.h"

enum { APART_ENDLESS = 2000000000 };

/* ---- that process ---------------------------------------------------------------------------- */

static bool apart_ordered(const struct campaign *c, enum reader_sort sort)
{
    (void)c;
    (void)sort;
    return worker_is_ordered();
}

/* How many messages were due by then; those that found no publisher free are still to be sent. */
static uint32_t apart_due_by(const struct campaign *c, uint64_t ns)
{
    uint64_t due = ns > c->first_ns ? (ns - c->first_ns) / c->interval_ns + 1 : 0;

    return due > c->sent ? (uint32_t)due : c->sent;
}

/* The times of the creates from number `first` on that were due before then. */
static void apart_times(struct samples *creates, uint32_t first, uint64_t until_ns)
{
    samples_clear(creates);
    for (uint32_t i = first; i < crowd.book.published; i++) {
        const struct book_entry *entry = &crowd.book.of[i];

        if (entry->due_ns < until_ns && entry->acked_ns)
            samples_add(creates, entry->acked_ns - entry->due_ns);
    }
}

static void apart_publish(struct samples *creates, uint32_t messages)
{
    struct campaign c = {.messages = messages,
                         .interval_ns = 1000000000U / (unsigned)load.options.rate};
    struct order end = {.until_ns = UINT64_MAX};
    uint32_t first = crowd.book.published;

    if (messages == APART_ENDLESS) {
        campaign_run(&c, PROMPT, UINT64_MAX, apart_ordered);
        worker_order(&end);
        c.messages = apart_due_by(&c, end.until_ns);
    }
    campaign_run(&c, PROMPT, UINT64_MAX, campaign_over);
    apart_times(creates, first, end.until_ns);
    delays_free(&c.acks);
}

static void apart_work(void)
{
    struct samples creates = {0};
    struct order order;

    crowd_start(0, load.options.publishers);
    publishers_start(load.options.publishers);
    for (;;) {
        worker_order(&order);
        apart_publish(&creates, order.messages);
        worker_report(&creates);
    }
}

/* ---- the first process ----------------------------------------------------------------------- */

static void apart_start(void)
{
    worker_start(apart_work);
}

static void apart_begin(uint32_t messages)
{
    const struct order order = {.messages = messages};

    worker_tell(&order);
}

static void apart_end(uint64_t until_ns)
{
    const struct order order = {.until_ns = until_ns};

    worker_tell(&order);
}

static void apart_hear(struct samples *creates)
{
    const struct options *o = &load.options;
    uint64_t patience_s = (uint64_t)(o->seconds + 2 * o->give_up_s + 5);

    samples_clear(creates);
    if (!worker_hear(clock_ns() + patience_s * 1000000000U, creates))
        die("the creates are not answered");
}

#endif

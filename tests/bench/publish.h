/* publish.h - campaigns: so many messages, as fast as they are acknowledged or at a rate.
 *
 * Each publisher is a connection with one create in flight. At a rate, a message's time is when it
 * was due, not when a publisher was free for it, so that a server that stalls can't hide it.
 */
#ifndef ENCKE_BENCH_PUBLISH_H
#define ENCKE_BENCH_PUBLISH_H

#include "tests/bench/crowd.h"

enum { PUBLISHERS_MAX = 1024 };

struct publisher {
    struct request request;
    uint64_t due_ns;
    uint32_t number; /* in the book */
};

struct campaign {
    /* What is wanted. */
    uint32_t messages;
    uint64_t interval_ns; /* 0: as fast as they are acknowledged */
    const char *probe;    /* not NULL: where messages go that are in no book */

    /* How it went. */
    uint32_t sent, acked;
    uint64_t first_ns, half_ns, last_ns; /* the first sent; half and all acknowledged */
    uint64_t sent_ns;                    /* the last sent */
    struct delays acks;
};

/* The publishers, and the campaign that they are for. */
static struct publishing {
    struct campaign *now;
    struct publisher of[PUBLISHERS_MAX];
    struct conn *idle[PUBLISHERS_MAX];
    int idle_n;
    bool samples; /* look at the memory of those watched, meanwhile */
    uint64_t next_sample_ns;
    double most_kib[WATCHES]; /* of RSS, of those watched, since it was last set to 0 */
} publishing;

static struct publisher *publisher_of(const struct conn *conn)
{
    return &publishing.of[conn->number - (unsigned)crowd.n];
}

static void publishers_start(int n)
{
    for (int i = 0; i < n; i++)
        publishing.idle[publishing.idle_n++] = &load.conns[crowd.n + i];
}

static void publishers_free(void)
{
    for (int i = 0; i < PUBLISHERS_MAX; i++)
        request_free(&publishing.of[i].request);
}

static void publisher_news(struct conn *conn, enum conn_news news)
{
    struct publisher *p = publisher_of(conn);
    struct campaign *c = publishing.now;

    count_news(news);
    if (news == CONN_NOTHING)
        return;
    publishing.idle[publishing.idle_n++] = conn;
    if (news != CONN_ANSWERED || !count_status(conn->answer.status) || !c)
        return;
    if (!c->probe) {
        crowd.book.of[p->number].seq = load.dialect->seq(&conn->answer);
        crowd.book.of[p->number].acked_ns = conn->read_ns;
    }
    crowd.moved_ns = c->last_ns = conn->read_ns;
    delays_add(&c->acks, p->number, c->last_ns - p->due_ns);
    if (++c->acked == c->messages / 2)
        c->half_ns = c->last_ns;
}

static void publish(struct campaign *c, uint64_t due_ns)
{
    char body[SIZE_MAX_BYTES + 256];
    struct conn *conn = publishing.idle[--publishing.idle_n];
    struct publisher *p = publisher_of(conn);
    int form = snprintf(body, sizeof body, "%s", load.options.form);

    p->due_ns = due_ns;
    p->number = c->probe ? 0 : book_publish(&crowd.book, due_ns);
    if (form < 0 || form > 255)
        die("--form is too long");
    marks_make(body + form, (size_t)load.options.size, c->probe ? ~crowd.run : crowd.run,
               p->number);
    request_free(&p->request);
    make_publish(&p->request, c->probe ? c->probe : load.options.publish, body);
    if (!ask_at(&load.publish_at, load.epoll, conn, &p->request))
        die("a message could not be published");
    c->sent_ns = conn->asked_ns;
    if (!c->probe)
        crowd.book.of[p->number].sent_ns = c->sent_ns;
    c->sent++;
}

/* Publishes what is due, as far as publishers are free. Returns how long nothing will be due. */
static uint64_t publish_due(struct campaign *c)
{
    while (c->sent < c->messages && publishing.idle_n) {
        uint64_t now = clock_ns(), due = now;

        if (!c->first_ns) {
            c->first_ns = now;
            crowd.due_until_ns = now + c->messages * c->interval_ns;
        }
        if (c->interval_ns)
            due = c->first_ns + c->sent * c->interval_ns;
        if (due > now)
            return due - now;
        publish(c, due);
    }
    return UINT64_MAX;
}

/* Looks at the memory of those watched, every 20 ms. */
static void sample_memory(void)
{
    uint64_t now = clock_ns();

    if (now < publishing.next_sample_ns)
        return;
    publishing.next_sample_ns = now + 20000000U;
    for (int i = 0; i < load.watches; i++) {
        double kib = watch_memory_kib(&load.watch[i], "VmRSS:");

        if (kib > publishing.most_kib[i])
            publishing.most_kib[i] = kib;
    }
}

/* Whether it is over: the campaign itself, and what it owes to readers of that sort. */
static bool campaign_over(const struct campaign *c, enum reader_sort sort)
{
    return c->sent == c->messages && c->acked == c->sent && crowd.book.owed[sort] == 0;
}

/* From when the first was sent until the last was acknowledged; NAN if none was. */
static double campaign_s(const struct campaign *c)
{
    return c->acked ? (double)(c->last_ns - c->first_ns) / 1e9 : (double)NAN;
}

static void campaign_begin(struct campaign *c)
{
    publishing.now = c;
    crowd.late_from = crowd.book.published + c->messages / 2;
    crowd.moved_ns = clock_ns();
}

/* Publishes what is due, and takes one turn of at most so long. */
static void campaign_step(struct campaign *c, uint64_t most_ns)
{
    uint64_t wait = publish_due(c);

    crowd_turn(wait < most_ns ? wait : most_ns);
    if (publishing.samples)
        sample_memory();
}

/* Goes on until over() or until nothing has moved for --give-up, or until the time `until_ns`.
 * True if it is over; if not, what is owed is counted as unanswered. */
static bool campaign_run(struct campaign *c, enum reader_sort sort, uint64_t until_ns,
                         bool (*over)(const struct campaign *, enum reader_sort))
{
    uint64_t give_up_ns = (uint64_t)load.options.give_up_s * 1000000000U;
    bool done;

    campaign_begin(c);
    while (!(done = over(c, sort))) {
        uint64_t now = clock_ns();

        if (now > crowd.moved_ns + give_up_ns || now > until_ns)
            break;
        campaign_step(c, 20000000U);
    }
    if (!done)
        load.errors.unanswered += (unsigned)crowd.book.owed[sort] + c->sent - c->acked;
    return done;
}

/* What the book has found since it was last asked, into the errors; the last time, when nothing
 * more can come, also how the order is. */
static void count_book(bool last)
{
    struct book *book = &crowd.book;

    load.errors.missed += (unsigned)(book->missed > 0 ? book->missed : 0);
    load.errors.doubled += (unsigned)book->doubled;
    load.errors.misordered += (unsigned)(book->misordered + (last ? book_misordered(book) : 0));
    book->missed = book->doubled = book->misordered = 0;
}

#endif

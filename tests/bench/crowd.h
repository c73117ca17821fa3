/* crowd.h - all readers and publishers of a run, and their opening.
 *
 *     crowd_start(readers, publishers)    all connections, and a book
 *     open_kinds(delays)                  streams of each chosen kind, until the server counts them
 *     crowd_turn(ns)                      one turn of epoll, for readers and publishers
 *
 * The readers are at the connections 0 to n - 1, the publishers (publish.h) behind them.
 */
#ifndef ENCKE_BENCH_CROWD_H
#define ENCKE_BENCH_CROWD_H

#include "tests/bench/readers.h"

enum { SLOW_EVENTS = 8 /* taken at once, so that the others do not wait for long */ };

/* ---- the kinds that were chosen -------------------------------------------------------------- */

static const struct kind *kind_named(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i].name) == len && strncmp(kinds[i].name, name, len) == 0)
            return kinds + i;
    die("--kind is of sse, lines, iframe, ws and poll, not '%s'", name);
}

/* What a stream of a kind asks for. */
static const char *kind_rest(const struct kind *kind)
{
    const struct options *o = &load.options;

    if (load.dialect->counts_all && !kind->nchan)
        die("%s has no streams of the kind %s", load.dialect->name, kind->name);
    if (kind->poll)
        check_poll_option();
    if (o->stream)
        return o->stream;
    return kind->poll ? o->poll : load.dialect->counts_all ? kind->nchan : kind->rest;
}

static void choose(const struct kind *kind, bool only)
{
    const struct options *o = &load.options;
    struct choice *c = &crowd.choices[crowd.choices_n++];
    const char *rest = kind_rest(kind), *lines = load.dialect->sse_header;

    *c = (struct choice){.kind = kind, .target = load.target};
    if (o->streams_at && (only || kind->upgrade) && !target_parse(&c->target, o->streams_at))
        die("--streams-at is an address like BASE, not '%s'", o->streams_at);
    if (kind->upgrade && c->target.fcgi)
        die("no WebSocket goes through FastCGI: say with --streams-at unix:SOCKET:/PATH where");
    if (!(kind->upgrade ? request_upgrade(&c->request, &c->target, rest)
                        : request_make(&c->request, &c->target, rest, NULL, "")))
        die("a stream's request cannot be made: its address is too long");
    if (lines && strcmp(kind->name, "sse") == 0 && !request_add(&c->request, lines))
        die("no memory for a request");
}

/* Takes --kind, a list. */
static void choose_kinds(void)
{
    const char *list = load.options.kind;
    bool only = !strchr(list, ',');

    for (const char *name = list; *name; name += *name == ',') {
        size_t len = strcspn(name, ",");

        if (crowd.choices_n == CHOICES_MAX)
            die("--kind has too many: '%s'", list);
        choose(kind_named(name, len), only);
        name += len;
    }
    if (!crowd.choices_n)
        die("--kind names none");
}

/* ---- the crowd ------------------------------------------------------------------------------- */

/* Room for n readers and some publishers, none of them connected. */
static void crowd_start(int n, int publishers)
{
    const struct options *o = &load.options;
    struct epoll_event within = {.events = EPOLLIN, .data.ptr = NULL};

    if (o->size < MARKS_LEAST)
        die("--size must be %d at least, to hold the marks", MARKS_LEAST);
    open_all(n + publishers);
    crowd.n = n;
    crowd.book.strict = load.dialect->one_order;
    crowd.reader_news = reader_news;
    crowd.slow_epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, crowd.slow_epoll, &within) != 0)
        die("no epoll");
    crowd.run = (uint32_t)(clock_ns() ^ (uint64_t)getpid() << 20);
    crowd.readers = calloc((size_t)n, sizeof *crowd.readers);
    if (!crowd.readers)
        die("no memory for %d readers", n);
    for (int i = 0; i < n; i++)
        crowd.readers[i].conn = &load.conns[i];
    choose_kinds();
}

static void crowd_free(void)
{
    for (int i = 0; i < crowd.n; i++) {
        request_free(&crowd.readers[i].own);
        free(crowd.readers[i].had.seen);
    }
    for (int i = 0; i < crowd.choices_n; i++)
        request_free(&crowd.choices[i].request);
    free(crowd.readers);
    book_free(&crowd.book);
    close(crowd.slow_epoll);
    close_all();
}

static void crowd_event(struct conn *conn, uint32_t events)
{
    struct reader *r = conn->number < (unsigned)crowd.n ? &crowd.readers[conn->number] : NULL;
    bool asked = conn->asked;
    enum conn_news news = conn_step(conn, r ? epoll_of(r) : load.epoll, events);

    if (!asked)
        count_unasked(news);
    else if (conn == load.control || conn == load.upstream)
        count_news(news);
    else if (!r)
        publisher_news(conn, news);
    else
        crowd.reader_news(r, news);
}

/* One turn of epoll, that waits at most so many nanoseconds. Returns how many had something. */
static int crowd_turn(uint64_t wait_ns)
{
    const struct timespec wait = {.tv_sec = (time_t)(wait_ns / 1000000000U),
                                  .tv_nsec = (long)(wait_ns % 1000000000U)};
    struct epoll_event events[CONN_EVENTS];
    bool slow = false;
    int n = epoll_pwait2(load.epoll, events, CONN_EVENTS, &wait, NULL), slow_n = 0;

    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr)
            crowd_event(events[i].data.ptr, events[i].events);
        else
            slow = true;
    }
    if (slow)
        slow_n = epoll_wait(crowd.slow_epoll, events, SLOW_EVENTS, 0);
    for (int i = 0; i < slow_n; i++)
        crowd_event(events[i].data.ptr, events[i].events);
    return n;
}

/* Turns until nothing more has come for so long; at most a second in all. */
static void crowd_settle(uint64_t quiet_ns)
{
    uint64_t until = clock_ns() + 1000000000U;

    while (crowd_turn(quiet_ns) > 0 && clock_ns() < until)
        ;
}

/* ---- opening --------------------------------------------------------------------------------- */

static long streams_counted(const struct request *status)
{
    return crowd.opening->poll || load.dialect->counts_all
               ? holds_counted(status)
               : counted(status, "\"streams\":", crowd.opening->counted);
}

/* Opens streams at the places from `first` on, a batch at a time so that no backlog overflows, and
 * waits until the server counts them all; `before` were there already. */
static void open_streams(const struct choice *choice, int first, int n, const struct reader *like,
                         const struct request *status, long before)
{
    crowd.opening = choice->kind;
    for (int i = 0; i < n; i++) {
        struct reader *r = &crowd.readers[first + i];
        struct conn *conn = r->conn;

        *r = *like;
        r->conn = conn;
        r->request = &choice->request;
        r->target = &choice->target;
        r->upgrade = choice->kind->upgrade;
        r->poll = choice->kind->poll;
        conn->deaf = like->sort == SLOW;
        if (!reader_ask(r))
            die("stream %d of %d cannot be opened: %s", i + 1, n, strerror(errno));
        if (((i + 1) % load.options.batch == 0 || i + 1 == n) &&
            !wait_counted(status, streams_counted, before + i + 1))
            die("the server counts %ld streams, %ld were opened", streams_counted(status),
                before + i + 1);
    }
}

/* Reads the heads of the streams from `first` on; a poll's comes with its answer. */
static void await_heads(int first, int n)
{
    uint64_t until = clock_ns() + (uint64_t)load.options.give_up_s * 1000000000U;

    for (int i = first; i < first + n; i++) {
        const struct reader *r = &crowd.readers[i];

        while (!r->poll && !r->opened && r->joined && clock_ns() < until)
            crowd_turn(100000000U);
        if (!r->poll && !r->opened && r->joined)
            die("a stream's answer did not begin within %d s", load.options.give_up_s);
    }
}

/* Before anything: nothing of an earlier run is left. */
static void await_nothing_open(const struct request *status)
{
    if (!conn_open(load.control, &load.target, load.epoll))
        die("cannot connect: %s", strerror(errno));
    for (int i = 0; i < crowd.choices_n; i++) {
        crowd.opening = crowd.choices[i].kind;
        if (!wait_counted(status, streams_counted, 0))
            die("the server has streams already: %ld", streams_counted(status));
    }
}

/* Opens all readers there are, an equal share of each chosen kind. */
static void open_kinds(struct delays *delays)
{
    const struct reader like = {.delays = delays, .sort = PROMPT};
    struct request status;
    int first = 0;

    make_request(&status, load.options.status, NULL, "");
    await_nothing_open(&status);
    for (int i = 0; i < crowd.choices_n; i++) {
        int n = crowd.n / crowd.choices_n + (i < crowd.n % crowd.choices_n);

        open_streams(&crowd.choices[i], first, n, &like, &status,
                     load.dialect->counts_all ? first : 0);
        first += n;
    }
    await_heads(0, crowd.n);
    request_free(&status);
}

#endif

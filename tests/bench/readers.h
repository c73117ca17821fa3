/* readers.h - those who are to get every message once and in order: streams, and long polls.
 *
 *     crowd_start(streams, publishers)        all connections, and a book
 *     reader_open(reader, ...)                asks; reading begins with the next crowd_turn
 *     crowd_turn(ns)                          one turn of epoll, for readers and publishers
 *
 * A reader unwraps what comes - records, chunks, frames - and looks for whole messages in it
 * (marks.h), which the book checks. What a reader may not get ends it: it is closed, counted as an
 * error of its kind, and all that it lacks as unanswered.
 *
 * A deaf reader asks and then reads nothing, not even the head of its answer.
 */
#ifndef ENCKE_BENCH_READERS_H
#define ENCKE_BENCH_READERS_H

#include "tests/bench/book.h"
#include "tests/bench/marks.h"
#include "tests/bench/relay.h"
#include "tests/bench/ws.h"

/* A way to read. */
struct kind {
    const char *name;
    const char *rest;    /* what is asked for */
    const char *counted; /* what stands before their number, in the status */
    bool upgrade;        /* a WebSocket */
    bool poll;           /* no stream: asks again after each answer; what, is --poll */
    bool everywhere;     /* not only with Encke */
};

static const struct kind kinds[] = {
    {"sse", "events?id=now", "\"events\":", false, false, true},
    {"lines", "streaming?id=now", "\"streaming\":", false, false, false},
    {"iframe", "iframe?id=now", "\"iframe\":", false, false, false},
    {"ws", "websocket?id=now", "\"websocket\":", true, false, true},
    {"poll", NULL, NULL, false, true, true},
};

/* How long messages took, from when they were due: all, and those from crowd.late_from on. */
struct delays {
    struct samples all, late;
};

struct reader {
    struct conn *conn; /* number `conn->number` of all */
    const struct target *target;
    const struct request *request;
    struct request own;    /* of a long poll: with its cursor */
    struct delays *delays; /* where its delays are gathered; NULL: nowhere */
    enum reader_sort sort;
    bool poll;    /* asks again after each answer */
    bool upgrade; /* a WebSocket */
    bool joined;  /* is to get what is published */
    bool opened;  /* its stream's head has come, and was right */
    bool bad;     /* what came makes no sense */
    uint32_t had; /* messages of the book's order */
    struct ws ws;
    struct marks marks;
};

/* Who publishes; see publish.h. */
struct publisher;
static void publisher_news(struct conn *conn, enum conn_news news);

struct crowd {
    struct book book;
    uint32_t run;       /* in all marks */
    uint64_t moved_ns;  /* when something last went on: a message came, or was acknowledged */
    uint64_t delivered; /* messages to readers */
    uint32_t late_from; /* the first number of the later half */
    struct reader *readers;
    int n;          /* readers, at the connections 0 to n - 1; behind them are the publishers' */
    int slow_epoll; /* of slow readers: within load.epoll, and served after the others */
    struct target streams_at;
    const struct kind *kind;
};

enum { SLOW_EVENTS = 8 /* taken at once, so that the others do not wait for long */ };

static struct crowd crowd;

static void delays_add(struct delays *d, uint32_t number, uint64_t ns)
{
    samples_add(&d->all, ns);
    if (number >= crowd.late_from)
        samples_add(&d->late, ns);
}

static void delays_clear(struct delays *d)
{
    samples_clear(&d->all);
    samples_clear(&d->late);
}

static void delays_free(struct delays *d)
{
    samples_free(&d->all);
    samples_free(&d->late);
}

/* ---- what comes ------------------------------------------------------------------------------ */

static void reader_got(void *whose, uint32_t number)
{
    struct reader *r = whose;
    struct book *book = &crowd.book;
    unsigned doubled = book->doubled;

    if (!r->joined || !book_got(book, r->sort, &r->had, number)) {
        r->bad |= doubled == book->doubled; /* neither new nor old: not ours at all */
        return;
    }
    crowd.moved_ns = r->conn->read_ns;
    crowd.delivered++;
    if (r->delays)
        delays_add(r->delays, number, r->conn->read_ns - book->of[number].due_ns);
}

static void reader_text(void *whose, const char *bytes, size_t len)
{
    struct reader *r = whose;

    if (!r->bad &&
        !marks_feed(&r->marks, bytes, len, crowd.run, (size_t)load.options.size, reader_got, r))
        r->bad = true;
}

static void reader_pong(void *whose, const char *payload, size_t len)
{
    struct reader *r = whose;
    char frame[WS_PONG_MAX];
    size_t frame_len = ws_pong(frame, payload, len);

    /* A pong that finds no room is one the server waits for in vain, and so an error here. */
    if (send(r->conn->fd, frame, frame_len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)frame_len)
        r->bad = true;
}

/* Gets the body of the answer, piece by piece. */
static void reader_take(void *whose, const char *bytes, size_t len)
{
    struct reader *r = whose;
    const struct ws_taker taker = {.text = reader_text, .ping = reader_pong, .whose = r};

    if (!r->upgrade || r->conn->answer.status != 101)
        reader_text(r, bytes, len);
    else if (!ws_feed(&r->ws, &taker, bytes, len))
        r->bad = true;
}

/* ---- beginning and end ----------------------------------------------------------------------- */

static int epoll_of(const struct reader *r)
{
    return r->sort == SLOW ? crowd.slow_epoll : load.epoll;
}

/* Asks, and begins to owe it what is published from now on. False if it could not ask. */
static bool reader_ask(struct reader *r)
{
    r->conn->answer.take = reader_take;
    r->conn->answer.taker = r;
    if (!ask_at(r->target, epoll_of(r), r->conn, r->request))
        return false;
    if (!r->joined)
        r->had = book_join(&crowd.book, r->sort);
    r->joined = true;
    return true;
}

static void reader_close(struct reader *r)
{
    conn_close(r->conn);
    r->conn->deaf = false;
    if (r->joined)
        load.errors.unanswered += book_leave(&crowd.book, r->sort, r->had);
    request_free(&r->own);
    *r = (struct reader){.conn = r->conn};
}

/* The next poll, with the cursor of the answer that has come. */
static bool reader_ask_again(struct reader *r)
{
    request_free(&r->own);
    if (!load.dialect->next(&r->own, r->target, load.options.poll, &r->conn->answer)) {
        load.errors.wrong++;
        return false;
    }
    r->request = &r->own;
    r->opened = false;
    return reader_ask(r);
}

/* The head of a stream has come. False, and counted, if it is not the right one. */
static bool reader_head(struct reader *r)
{
    const struct answer *a = &r->conn->answer;
    const char *accept = answer_header(a, "Sec-WebSocket-Accept");

    r->opened = a->status == (r->upgrade ? 101 : 200);
    if (!r->opened)
        count_status(a->status);
    else if (r->upgrade && (!accept || strncmp(accept, WIRE_WEBSOCKET_ACCEPT "\r\n", 30) != 0))
        r->opened = false, load.errors.wrong++;
    return r->opened;
}

/* Whether the reader can go on; what is wrong if not has been counted. */
static bool reader_goes_on(struct reader *r, enum conn_news news)
{
    const struct answer *a = &r->conn->answer;

    count_news(news);
    if (news == CONN_LOST || news == CONN_BAD)
        return false;
    if (r->bad) {
        load.errors.wrong++;
        return false;
    }
    if (a->head_len && !r->opened && !reader_head(r))
        return false;
    if (r->poll)
        return news == CONN_NOTHING || reader_ask_again(r);
    if (news == CONN_ANSWERED || r->ws.closed)
        load.errors.ended++;
    return news == CONN_NOTHING && !r->ws.closed;
}

/* ---- the crowd ------------------------------------------------------------------------------- */

static const struct kind *kind_named(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return kinds + i;
    die("--kind is sse, lines, iframe, ws or poll, not '%s'", name);
}

/* Room for n readers and some publishers, none of them connected. */
static void crowd_start(int n, int publishers)
{
    const struct options *o = &load.options;
    struct epoll_event within = {.events = EPOLLIN, .data.ptr = NULL};

    crowd.kind = kind_named(o->kind);
    if (load.dialect->stream && !crowd.kind->everywhere)
        die("nchan has no streams of the kind %s", o->kind);
    crowd.streams_at = load.target;
    if (o->streams_at && !target_parse(&crowd.streams_at, o->streams_at))
        die("--streams-at is an address like BASE, not '%s'", o->streams_at);
    if (crowd.kind->upgrade && crowd.streams_at.fcgi)
        die("no WebSocket goes through FastCGI: say with --streams-at unix:SOCKET:/PATH where");
    if (o->size < MARKS_LEAST)
        die("--size must be %d at least, to hold the marks", MARKS_LEAST);
    open_all(n + publishers);
    crowd.n = n;
    crowd.slow_epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, crowd.slow_epoll, &within) != 0)
        die("no epoll");
    crowd.run = (uint32_t)(clock_ns() ^ (uint64_t)getpid() << 20);
    crowd.readers = calloc((size_t)n, sizeof *crowd.readers);
    if (!crowd.readers)
        die("no memory for %d readers", n);
    for (int i = 0; i < n; i++)
        crowd.readers[i].conn = &load.conns[i];
}

static void crowd_free(void)
{
    for (int i = 0; i < crowd.n; i++)
        request_free(&crowd.readers[i].own);
    free(crowd.readers);
    book_free(&crowd.book);
    close(crowd.slow_epoll);
    close_all();
}

/* A poll's next ones have their cursor in the place of the first one's `now`. */
static void check_poll_option(void)
{
    size_t len = strlen(load.options.poll);

    if (load.dialect->next != encke_next)
        return;
    if (len < 3 || strcmp(load.options.poll + len - 3, "now") != 0)
        die("--poll must end in now: the next ones have a cursor there");
}

/* What a stream of the chosen kind asks for. */
static void make_stream_request(struct request *request)
{
    const struct options *o = &load.options;
    const struct dialect *d = load.dialect;
    const char *own = d->stream ? d->stream : crowd.kind->rest;
    const char *rest = o->stream ? o->stream : crowd.kind->poll ? o->poll : own;

    if (!(crowd.kind->upgrade ? request_upgrade(request, &crowd.streams_at, rest)
                              : request_make(request, &crowd.streams_at, rest, NULL, "")))
        die("a stream's request cannot be made: its address is too long");
    if (d->sse && strcmp(crowd.kind->name, "sse") == 0 && !request_add(request, d->sse))
        die("no memory for a request");
}

static void crowd_event(struct conn *conn, uint32_t events)
{
    struct reader *r = conn->number < (unsigned)crowd.n ? &crowd.readers[conn->number] : NULL;
    bool asked = conn->asked;
    enum conn_news news = conn_step(conn, r ? epoll_of(r) : load.epoll, events);

    if (!asked)
        return;
    if (conn == load.control || conn == load.upstream)
        count_news(news);
    else if (!r)
        publisher_news(conn, news);
    else if (!reader_goes_on(r, news))
        reader_close(r);
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
    return crowd.kind->poll || load.dialect->stream
               ? holds_counted(status)
               : counted(status, "\"streams\":", crowd.kind->counted);
}

/* Opens streams at the places from `first` on, a batch at a time so that no backlog overflows, and
 * waits until the server counts them all; `before` were there already. */
static void open_streams(int first, int n, const struct reader *like, const struct request *status,
                         long before)
{
    for (int i = 0; i < n; i++) {
        struct reader *r = &crowd.readers[first + i];
        struct conn *conn = r->conn;

        *r = *like;
        r->conn = conn;
        r->target = &crowd.streams_at;
        r->upgrade = crowd.kind->upgrade;
        r->poll = crowd.kind->poll;
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

    for (int i = first; i < first + n && !crowd.kind->poll; i++)
        while (!crowd.readers[i].opened && crowd.readers[i].joined && clock_ns() < until)
            crowd_turn(100000000U);
    for (int i = first; i < first + n && !crowd.kind->poll; i++)
        if (!crowd.readers[i].opened && crowd.readers[i].joined)
            die("a stream's answer did not begin within %d s", load.options.give_up_s);
}

/* Before anything: nothing of an earlier run is left. */
static void await_nothing_open(const struct request *status)
{
    if (!conn_open(load.control, &load.target, load.epoll))
        die("cannot connect: %s", strerror(errno));
    if (!wait_counted(status, streams_counted, 0))
        die("the server has streams already: %ld", streams_counted(status));
}

#endif

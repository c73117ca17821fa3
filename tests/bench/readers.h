/* readers.h - those who are to get every message once and in order: streams, and long polls.
 *
 *     reader_ask(reader)                begins
 *     reader_goes_on(reader, news)      after each conn_step; false: it is to be closed
 *     reader_close(reader)
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
    const char *nchan;   /* what is asked for there; NULL: there is none of that kind */
    bool upgrade;        /* a WebSocket */
    bool poll;           /* no stream: asks again after each answer; what, is --poll */
};

static const struct kind kinds[] = {
    {"sse", "events?id=now", "\"events\":", "events", false, false},
    {"lines", "streaming?id=now", "\"streaming\":", NULL, false, false},
    {"iframe", "iframe?id=now", "\"iframe\":", NULL, false, false},
    {"ws", "websocket?id=now", "\"websocket\":", "websocket", true, false},
    {"poll", NULL, NULL, "", false, true},
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
    struct book_reader had;
    struct ws ws;
    struct marks marks;
};

/* Who publishes; see publish.h. */
struct publisher;
static void publisher_news(struct conn *conn, enum conn_news news);

enum { CHOICES_MAX = 8 };

/* A kind that was chosen, and how its streams are asked for. */
struct choice {
    const struct kind *kind;
    struct target target;
    struct request request;
};

struct crowd {
    struct book book;
    uint32_t run;          /* in all marks */
    uint64_t moved_ns;     /* when something last went on: a message came, or was acknowledged */
    uint64_t due_until_ns; /* when all messages at a rate should have been sent */
    uint64_t delivered_in_time; /* messages that readers had by then */
    uint32_t late_from;         /* the first number of the later half */
    struct reader *readers;
    void (*reader_news)(struct reader *, enum conn_news); /* what comes to one; reader_news, or the
                                                             mode's own */
    int n;          /* readers, at the connections 0 to n - 1; behind them are the publishers' */
    int slow_epoll; /* of slow readers: within load.epoll, and served after the others */
    struct choice choices[CHOICES_MAX];
    int choices_n;
    const struct kind *opening; /* streams of this kind are being opened, and counted */
};

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
    enum book_news news = r->joined ? book_got(book, r->sort, &r->had, number) : BOOK_UNKNOWN;

    r->bad |= news == BOOK_UNKNOWN;
    if (news != BOOK_NEW)
        return;
    crowd.moved_ns = r->conn->read_ns;
    crowd.delivered_in_time += r->conn->read_ns <= crowd.due_until_ns;
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
        book_join(&crowd.book, r->sort, &r->had);
    r->joined = true;
    return true;
}

static void reader_close(struct reader *r)
{
    conn_close(r->conn);
    r->conn->deaf = false;
    if (r->joined)
        load.errors.unanswered += book_leave(&crowd.book, r->sort, &r->had);
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

/* For readers that the book checks. */
static void reader_news(struct reader *r, enum conn_news news)
{
    if (!reader_goes_on(r, news))
        reader_close(r);
}

#endif

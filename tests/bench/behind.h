/* behind.h - clients of Encke with old cursors: where the log is, which cursor is drawn, and what
 * is asked with it.
 *
 *     behind_look(&status)                     epoch and head, as the server's status has them
 *     behind_ask(request, behind_draw(...))    an update from there on
 *     behind_check(&cursors)                   what an answer lacks, into the errors
 */
#ifndef ENCKE_BENCH_BEHIND_H
#define ENCKE_BENCH_BEHIND_H

#include "tests/bench/cursors.h"
#include "tests/bench/loadgen.h"

static struct behind {
    char epoch[32];
    uint64_t head;
    uint64_t state; /* of the random numbers */
} behind;

/* Reads `"head":"EPOCH-NUMBER"` in the status. */
static void behind_look(const struct request *status)
{
    const char *text = ask_and_wait(&load.target, load.control, status);
    unsigned long long head;

    text = text ? strstr(text, "\"head\":") : NULL;
    if (!text || sscanf(text, "\"head\": \"%31[0-9a-f]-%llu", behind.epoch, &head) != 2)
        die("the server's status does not tell the head of its log");
    behind.head = head;
    behind.state = clock_ns();
}

/* A number of 0 to n - 1; xorshift is random enough to choose a page. */
static uint64_t behind_random(uint64_t n)
{
    uint64_t x = behind.state ? behind.state : 1;

    x ^= x << 13;
    x ^= x >> 7;
    behind.state = x ^= x << 17;
    return (x >> 11) % n;
}

/* Makes the update that asks for what follows `seq`: --poll with a cursor in the place of `now`. */
static void behind_ask(struct request *request, uint64_t seq)
{
    const char *poll = load.options.poll;
    char more[256];
    int len = snprintf(more, sizeof more, "%.*s%s-%llu&limit=%d", (int)strlen(poll) - 3, poll,
                       behind.epoch, (unsigned long long)seq, load.options.limit);

    if ((size_t)len >= sizeof more)
        die("--poll is too long");
    make_request(request, more, NULL, "");
}

/* Moves what is wrong with a whole answer into the errors. */
static void behind_check(struct cursors *c)
{
    load.errors.missed += c->missed;
    load.errors.doubled += c->doubled;
    load.errors.misordered += c->misordered;
    load.errors.reset += cursors_reset(c);
    c->missed = c->doubled = c->misordered = 0;
}

/* For an answer's `take`. */
static void behind_take(void *taker, const char *bytes, size_t len)
{
    cursors_feed(taker, bytes, len);
}

#endif

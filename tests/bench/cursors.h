/* cursors.h - the order of the messages in the answers to one client's updates, looked at as they
 * come in pieces of any length.
 *
 *     {"id":"EPOCH-9","messages":[{"id":"EPOCH-8",...},{"id":"EPOCH-9",...}],"more":false}
 *
 * The numbers behind the epoch are those of the whole log; so as long as only one channel has
 * messages, each is one more than that before, from the cursor that was asked with on. Only objects
 * that begin with an id are looked at: a message's text has its quotes escaped and can't be one. So
 * this costs a memchr a message: whatever is spent here is taken from the servers.
 *
 * Pure.
 */
#ifndef ENCKE_BENCH_CURSORS_H
#define ENCKE_BENCH_CURSORS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    CURSOR_NEED = 40, /* bytes in which an object's id is whole, with 19 digits */
    CURSORS_TAIL = 16 /* the end of an answer, where it says if it is a reset */
};

/* What a client has seen. Start with cursors_begin, and each answer with cursors_answer. */
struct cursors {
    uint64_t last;  /* the number of the last message, or of the cursor asked with */
    uint64_t first; /* of this answer's first message; 0: it has none */
    uint32_t ids;   /* in this answer: its own, then one a message */
    unsigned missed, doubled, misordered;
    size_t part_len, tail_len;
    char part[CURSOR_NEED]; /* an object of which too little has come */
    char tail[CURSORS_TAIL];
};

static inline void cursors_begin(struct cursors *c, uint64_t asked_with)
{
    *c = (struct cursors){.last = asked_with};
}

static inline void cursors_answer(struct cursors *c)
{
    c->first = c->ids = 0;
    c->part_len = c->tail_len = 0;
}

/* Messages in this answer so far. */
static inline uint32_t cursors_messages(const struct cursors *c)
{
    return c->ids ? c->ids - 1 : 0;
}

/* Whether this answer, now whole, says that the cursor asked with was not honoured. */
static inline bool cursors_reset(const struct cursors *c)
{
    return memmem(c->tail, c->tail_len, "\"reset\":true", 12) != NULL;
}

static inline void cursors_message(struct cursors *c, uint64_t seq)
{
    if (!c->first)
        c->first = seq;
    if (seq > c->last) {
        c->missed += (unsigned)(seq - c->last - 1);
        c->last = seq;
    } else {
        c->doubled += seq == c->last;
        c->misordered += seq < c->last;
    }
}

/* Looks at the CURSOR_NEED bytes of the beginning of an object. */
static inline void cursors_object(struct cursors *c, const char *at)
{
    const char *end = at + CURSOR_NEED, *dash;
    uint64_t seq = 0;

    if (memcmp(at, "{\"id\":\"", 7) != 0)
        return;
    if (c->ids++ == 0)
        return;
    dash = memchr(at, '-', CURSOR_NEED);
    for (at = dash ? dash + 1 : end; at < end && *at >= '0' && *at <= '9'; at++)
        seq = seq * 10 + (uint64_t)(*at - '0');
    cursors_message(c, seq);
}

static inline void cursors_tail(struct cursors *c, const char *bytes, size_t len)
{
    size_t take = len < CURSORS_TAIL ? len : CURSORS_TAIL;
    size_t keep = c->tail_len < CURSORS_TAIL - take ? c->tail_len : CURSORS_TAIL - take;

    memmove(c->tail, c->tail + c->tail_len - keep, keep);
    memcpy(c->tail + keep, bytes + len - take, take);
    c->tail_len = keep + take;
}

/* Takes from the next bytes what completes the object that was cut off; returns how many. */
static inline size_t cursors_part(struct cursors *c, const char *bytes, size_t len)
{
    size_t took = 0;

    while (c->part_len && took < len) {
        size_t n = CURSOR_NEED - c->part_len < len - took ? CURSOR_NEED - c->part_len : len - took;
        const char *next;

        memcpy(c->part + c->part_len, bytes + took, n);
        c->part_len += n;
        took += n;
        if (c->part_len < CURSOR_NEED)
            break;
        cursors_object(c, c->part);
        next = memchr(c->part + 1, '{', CURSOR_NEED - 1);
        c->part_len = next ? (size_t)(c->part + CURSOR_NEED - next) : 0;
        memmove(c->part, next ? next : c->part, c->part_len);
    }
    return took;
}

/* Takes the next bytes of an answer's body. */
static inline void cursors_feed(struct cursors *c, const char *bytes, size_t len)
{
    const char *end = bytes + len, *at;

    cursors_tail(c, bytes, len);
    bytes += cursors_part(c, bytes, len);
    while (bytes < end && (at = memchr(bytes, '{', (size_t)(end - bytes))) != NULL) {
        if (end - at < CURSOR_NEED) {
            c->part_len = (size_t)(end - at);
            memcpy(c->part, at, c->part_len);
            return;
        }
        cursors_object(c, at);
        bytes = at + 1;
    }
}

#endif

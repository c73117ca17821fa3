/* marks.h - messages that carry their number, and how they are found again in any stream.
 *
 *     ~b0f3c91d2.17_qrstuvwxyz...~e0f3c91d2.17_
 *
 * A message starts and ends with a mark: the run that it belongs to, and its number. None of its
 * bytes is escaped in JSON, HTML, a form or an event stream, and `~` is nowhere else in what the
 * servers send, so a transport need only be unwrapped down to its text; lines and events are not
 * looked at. The marks and the length between them show that a message is whole.
 */
#ifndef ENCKE_BENCH_MARKS_H
#define ENCKE_BENCH_MARKS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MARK_MAX = 24, MARKS_LEAST = 2 * MARK_MAX };

/* Writes a message of `size` bytes (MARKS_LEAST at least) and a NUL. */
static inline void marks_make(char *text, size_t size, uint32_t run, uint32_t number)
{
    char end[MARK_MAX];
    size_t at = (size_t)sprintf(text, "~b%08x.%u_", run, number);
    size_t end_len = (size_t)snprintf(end, sizeof end, "~e%08x.%u_", run, number);

    for (; at < size - end_len; at++)
        text[at] = (char)('a' + at % 26);
    memcpy(text + at, end, end_len + 1);
}

/* A stream's place between marks. All zero at first. */
struct marks {
    char mark[MARK_MAX]; /* the one that is being read */
    size_t mark_len;     /* 0: none */
    bool inside;         /* between the marks of a message */
    uint32_t number;     /* of it */
    size_t size;         /* so far */
};

enum mark_kind { MARK_BAD, MARK_BEGINS, MARK_ENDS };

/* Reads a whole mark; *number is its message's. */
static inline enum mark_kind mark_read(const char *mark, uint32_t run, uint32_t *number)
{
    char *end;
    unsigned long of = strtoul(mark + 2, &end, 16);

    if (of != run || *end != '.' || (mark[1] != 'b' && mark[1] != 'e'))
        return MARK_BAD;
    *number = (uint32_t)strtoul(end + 1, &end, 10);
    return *end != '_' ? MARK_BAD : mark[1] == 'b' ? MARK_BEGINS : MARK_ENDS;
}

/* Takes one byte of a mark. 1 if a message is now whole, 0 if not, -1 if this is no message. */
static inline int marks_byte(struct marks *m, char byte, uint32_t run, size_t size)
{
    uint32_t number = 0;

    m->mark[m->mark_len++] = byte;
    m->size++;
    if (byte != '_')
        return m->mark_len < MARK_MAX - 1 ? 0 : -1;
    m->mark[m->mark_len] = 0;
    switch (mark_read(m->mark, run, &number)) {
    case MARK_BEGINS:
        if (m->inside)
            return -1;
        m->inside = true;
        m->number = number;
        m->size = m->mark_len;
        m->mark_len = 0;
        return 0;
    case MARK_ENDS:
        if (!m->inside || number != m->number || m->size != size)
            return -1;
        m->inside = false;
        m->mark_len = 0;
        return 1;
    default:
        return -1;
    }
}

/* Takes the next bytes of a stream's text, and calls got(whose, number) for each message of `run`
 * and of `size` bytes that is now whole. False if there is something else with a mark. */
static inline bool marks_feed(struct marks *m, const char *bytes, size_t len, uint32_t run,
                              size_t size, void (*got)(void *whose, uint32_t number), void *whose)
{
    while (len) {
        if (!m->mark_len) {
            const char *mark = memchr(bytes, '~', len);
            size_t skip = mark ? (size_t)(mark - bytes) : len;

            m->size += skip;
            bytes += skip;
            len -= skip;
        }
        if (len) {
            int whole = marks_byte(m, *bytes, run, size);

            bytes++;
            len--;
            if (whole < 0)
                return false;
            if (whole)
                got(whose, m->number);
        }
    }
    return true;
}

#endif

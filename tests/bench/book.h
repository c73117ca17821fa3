/* book.h - what was published, in what order readers saw it, and how much of it is still owed.
 *
 * Several publishers have messages in flight, so the order of the log is not that of the numbers.
 * The first reader to see a message writes it into the order, and all others are to follow that.
 * One that gets a message with others before it that it has not had, has missed those, unless they
 * come later: then it has them out of order. That is an error if the server promises one order to
 * all (`strict`), and in any case if the late one's create was answered before one was sent that
 * the reader has had already. That the order itself is the log's, the cursors in the creates'
 * answers show at the end (book_misordered), where a server gives such.
 *
 * Readers are of two sorts, so that one can wait for the prompt while the slow are owed much. A
 * reader joins while nothing is owed to the prompt, and then gets all that is published.
 */
#ifndef ENCKE_BENCH_BOOK_H
#define ENCKE_BENCH_BOOK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum reader_sort { PROMPT, SLOW, READER_SORTS };

struct book_entry {
    uint64_t due_ns;   /* when it was to be sent */
    uint64_t sent_ns;  /* when it was */
    uint64_t acked_ns; /* when its create was answered; 0: not yet */
    uint64_t seq;      /* from that answer; 0: not known */
    uint32_t place;    /* in the order, from 1; 0: nobody has seen it */
};

/* All zero at first. */
struct book {
    struct book_entry *of; /* by number */
    uint32_t *order;       /* of numbers */
    uint32_t published, ordered, room;
    uint32_t readers[READER_SORTS];
    uint64_t owed[READER_SORTS];     /* deliveries that are still to come */
    bool strict;                     /* the server has one order for all readers */
    int missed, doubled, misordered; /* missed may fall again by what comes late */
};

/* What one reader has had. All zero at first. */
struct book_reader {
    uint32_t joined, had; /* places in the order: before its first, and of its last */
    uint64_t sent_ns;     /* when the latest of its messages was sent */
    uint8_t *seen;        /* a bit a number */
    uint32_t room;        /* in bytes */
};

enum book_news { BOOK_NEW, BOOK_AGAIN, BOOK_UNKNOWN };

/* Enters the next message; returns its number. */
static inline uint32_t book_publish(struct book *b, uint64_t due_ns)
{
    if (b->published == b->room) {
        b->room = b->room ? 2 * b->room : 65536;
        b->of = reallocarray(b->of, b->room, sizeof *b->of);
        b->order = reallocarray(b->order, b->room, sizeof *b->order);
        if (!b->of || !b->order) {
            fputs("bench: out of memory for the book of messages\n", stderr);
            exit(1);
        }
    }
    for (int sort = 0; sort < READER_SORTS; sort++)
        b->owed[sort] += b->readers[sort];
    b->of[b->published] = (struct book_entry){.due_ns = due_ns};
    return b->published++;
}

/* A reader begins, behind all messages of the order. */
static inline void book_join(struct book *b, enum reader_sort sort, struct book_reader *r)
{
    *r = (struct book_reader){.joined = b->ordered, .had = b->ordered};
    b->readers[sort]++;
}

/* A reader gets no more. Returns how many it lacks. */
static inline uint32_t book_leave(struct book *b, enum reader_sort sort, struct book_reader *r)
{
    uint32_t lacks = b->published - r->had;

    b->readers[sort]--;
    b->owed[sort] -= lacks;
    free(r->seen);
    *r = (struct book_reader){0};
    return lacks;
}

/* Whether a reader has had that number before; from now on it has. */
static inline bool book_seen(struct book_reader *r, uint32_t number)
{
    uint32_t at = number / 8, room = 2 * at + 64;
    uint8_t bit = (uint8_t)(1U << number % 8);
    bool seen;

    if (at >= r->room) {
        r->seen = realloc(r->seen, room);
        if (!r->seen) {
            fputs("bench: out of memory for what readers have had\n", stderr);
            exit(1);
        }
        memset(r->seen + r->room, 0, room - r->room);
        r->room = room;
    }
    seen = r->seen[at] & bit;
    r->seen[at] |= bit;
    return seen;
}

/* A message that the reader had passed over comes after all. */
static inline void book_late(struct book *b, const struct book_reader *r,
                             const struct book_entry *entry)
{
    b->missed--;
    b->misordered += b->strict || (entry->acked_ns && entry->acked_ns < r->sent_ns);
}

/* A reader gets a message: for the first time, once again, or one of a number that was never
 * published. */
static inline enum book_news book_got(struct book *b, enum reader_sort sort, struct book_reader *r,
                                      uint32_t number)
{
    struct book_entry *entry = b->of + number;

    if (number >= b->published)
        return BOOK_UNKNOWN;
    if (!entry->place) {
        b->order[b->ordered] = number;
        entry->place = ++b->ordered;
    }
    if (entry->place <= r->joined || book_seen(r, number)) {
        b->doubled++;
        return BOOK_AGAIN;
    }
    if (entry->place < r->had) {
        book_late(b, r, entry);
        return BOOK_NEW;
    }
    b->missed += (int)(entry->place - r->had - 1);
    b->owed[sort] -= entry->place - r->had;
    r->had = entry->place;
    r->sent_ns = entry->sent_ns > r->sent_ns ? entry->sent_ns : r->sent_ns;
    return BOOK_NEW;
}

/* How many messages of the order have a later cursor than the next one. */
static inline int book_misordered(const struct book *b)
{
    int count = 0;
    uint64_t before = 0;

    for (uint32_t i = 0; i < b->ordered; i++) {
        uint64_t seq = b->of[b->order[i]].seq;

        count += seq && seq <= before;
        before = seq ? seq : before;
    }
    return count;
}

static inline void book_free(struct book *b)
{
    free(b->of);
    free(b->order);
    *b = (struct book){0};
}

#endif

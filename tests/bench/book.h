/* book.h - what was published, in what order readers saw it, and how much of it is still owed.
 *
 * Several publishers have messages in flight, so the order of the log is not that of the numbers.
 * The first reader to see a message writes it into the order; all others must follow that, each
 * message once. That the order itself is the log's, the cursors in the creates' answers show at
 * the end (book_misordered), where a server gives such.
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

enum reader_sort { PROMPT, SLOW, READER_SORTS };

struct book_entry {
    uint64_t due_ns; /* when it was to be sent */
    uint64_t seq;    /* from its create's answer; 0: not known */
    uint32_t place;  /* in the order, from 1; 0: nobody has seen it */
};

/* All zero at first. */
struct book {
    struct book_entry *of; /* by number */
    uint32_t *order;       /* of numbers */
    uint32_t published, ordered, room;
    uint32_t readers[READER_SORTS];
    uint64_t owed[READER_SORTS]; /* deliveries that are still to come */
    unsigned missed, doubled;
};

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

/* A reader begins; returns how many messages of the order are behind it. */
static inline uint32_t book_join(struct book *b, enum reader_sort sort)
{
    b->readers[sort]++;
    return b->ordered;
}

/* A reader that has had `had` messages of the order gets no more. Returns how many it lacks. */
static inline uint32_t book_leave(struct book *b, enum reader_sort sort, uint32_t had)
{
    uint32_t lacks = b->published - had;

    b->readers[sort]--;
    b->owed[sort] -= lacks;
    return lacks;
}

/* A reader that has had *had messages of the order gets one. True if that is right: the number of
 * a message that was published, and not had already. Those between are counted as missed. */
static inline bool book_got(struct book *b, enum reader_sort sort, uint32_t *had, uint32_t number)
{
    struct book_entry *entry = b->of + number;

    if (number >= b->published)
        return false;
    if (!entry->place) {
        b->order[b->ordered] = number;
        entry->place = ++b->ordered;
    }
    if (entry->place <= *had) {
        b->doubled++;
        return false;
    }
    b->missed += entry->place - *had - 1;
    b->owed[sort] -= entry->place - *had;
    *had = entry->place;
    return true;
}

/* How many messages of the order have a later cursor than the next one. */
static inline unsigned book_misordered(const struct book *b)
{
    unsigned count = 0;
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

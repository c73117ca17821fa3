/* book.h - what was published, in what order readers saw it, and how much of it is still owed.
 *
 * Several publishers have messages in flight, so the order of the log is not that of the numbers.
 * The first reader to see a message writes it into the order; all others must follow that, each
 * message once. That the order itself is right shows at the end (book_misordered): it is that of
 * the cursors in the creates' answers, where a server gives such, and in no case does a message
 * come before one whose create was answered before it was sent.
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

/* How many messages of the order should have come before one that did. */
static inline unsigned book_misordered(const struct book *b)
{
    unsigned count = 0;
    uint64_t seq = 0, sent_ns = 0; /* the latest so far */

    for (uint32_t i = 0; i < b->ordered; i++) {
        const struct book_entry *entry = b->of + b->order[i];

        count +=
            (entry->seq && entry->seq <= seq) || (entry->acked_ns && entry->acked_ns < sent_ns);
        seq = entry->seq ? entry->seq : seq;
        sent_ns = entry->sent_ns > sent_ns ? entry->sent_ns : sent_ns;
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

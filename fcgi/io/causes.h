/* causes.h - limits how often the operator is told of the same thing, so that no cause fills a disk
 * with its lines.
 *
 * A cause is a format of diag's, and so one place in the code. Each may print CAUSE_LINES lines a
 * minute. The lines beyond that are counted, and the count is printed when the minute is over.
 *
 * No I/O, no clock. Not to be used by two threads at once: diag.c locks a mutex.
 */
#ifndef ENCKE_FCGI_CAUSES_H
#define ENCKE_FCGI_CAUSES_H

#include <stdbool.h>
#include <stdint.h>

enum {
    CAUSE_LINES = 100,
    CAUSE_MINUTE_MS = 60000,
    CAUSES_MAX = 64 /* more than diag has formats; formats beyond it are not limited */
};

struct cause {
    const char *format; /* NULL: this place is free */
    uint64_t since_ms;  /* when its minute began */
    unsigned lines;     /* printed in that minute */
    unsigned left_out;
    int level; /* of its latest line */
};

struct causes {
    struct cause causes[CAUSES_MAX];
};

/* Whether one more line of that format may be printed; format is a literal. */
bool causes_admit(struct causes *causes, const char *format, int level, uint64_t now_ms);

/* Finds a cause whose minute is over and of which lines were left out. Copies it to *cause, where
 * left_out is how many, and sets its count to zero. Returns false if there is none. */
bool causes_take(struct causes *causes, uint64_t now_ms, struct cause *cause);

#endif

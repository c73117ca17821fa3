/* causes.h - how often the operator is told of one thing: no cause may fill a disk with its lines.
 *
 * A cause is a format of diag's: one place in the code. Each may have CAUSE_LINES lines a minute;
 * what is more is counted, and told when the minute is over. No I/O; the clock is the caller's.
 */
#ifndef ENCKE_FCGI_CAUSES_H
#define ENCKE_FCGI_CAUSES_H

#include <stdbool.h>
#include <stdint.h>

enum {
    CAUSE_LINES = 100,
    CAUSE_MINUTE_MS = 60000,
    CAUSES_MAX = 64 /* more than diag has formats; those beyond are not limited */
};

struct cause {
    const char *format; /* NULL: free */
    uint64_t since_ms;  /* when its minute began */
    unsigned lines;     /* in that minute */
    unsigned left_out;
    int level; /* as with the latest line */
};

struct causes {
    struct cause causes[CAUSES_MAX];
};

/* Whether one more line of that format, a literal, may be said. */
bool causes_admit(struct causes *causes, const char *format, int level, uint64_t now_ms);

/* Takes a cause of which lines were left out in a minute that is over, for a line about that: a
 * copy, whose left_out is how many. False if there is none. */
bool causes_take(struct causes *causes, uint64_t now_ms, struct cause *cause);

#endif

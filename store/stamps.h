/* stamps.h - how old a message is, even if the wall clock was wrong when it was appended.
 *
 * Messages have the time of the wall clock, their stamp. That clock may be ahead or behind for a
 * while, and may be set. A message with a stamp an hour ahead would seem younger than it is for
 * that hour, and as only prefixes of the log are deleted, it would keep all that follows. So for
 * each span of messages the difference between the wall clock and the steady clock (clock.h) is
 * kept. With that, a stamp can be translated to what the wall clock, as it goes now, would have
 * said.
 *
 * The spans are in memory only: of a message from before the start, only the stamp is known. The
 * differences within a span vary by STAMPS_SLACK_MS at most. If the clock is set more often than
 * there is room for spans, the oldest are forgotten, as if they were from before the start.
 *
 * The writer's thread only.
 */
#ifndef ENCKE_STORE_STAMPS_H
#define ENCKE_STORE_STAMPS_H

#include <stddef.h>
#include <stdint.h>

#include "store/clock.h"

enum { STAMPS_MOST = 128, STAMPS_SLACK_MS = 10000 };

struct stamps {
    struct stamps_span {
        uint64_t first;    /* seq */
        int64_t offset_ms; /* the wall clock minus the steady one */
    } spans[STAMPS_MOST];
    size_t count;
};

/* Message seq, newer than all before, was appended now, and its stamp is time_ms. */
void stamps_note(struct stamps *stamps, uint64_t seq, int64_t time_ms, int64_t steady_ms);

/* The log has no message below seq any more. */
void stamps_forget(struct stamps *stamps, uint64_t seq);

/* When message seq, whose stamp is time_ms, was appended, by the wall clock as it goes now; at
 * least 0 and at most INT64_MAX / 2, so that sums stay in range. */
int64_t stamps_time(const struct stamps *stamps, uint64_t seq, int64_t time_ms,
                    const struct moment *now);

#endif

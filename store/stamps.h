/* stamps.h - how old a message is, whatever the clock said when it was stamped.
 *
 * Messages are stamped with the wall clock, which may be ahead or behind for a moment, and be set.
 * One that was stamped an hour ahead would claim for that hour to be younger than it is, and as
 * only prefixes of the log are deleted, hold up all that follows. So beside the wall clock there is
 * a steady one, which nobody sets, and for each span of messages how far apart the two were: with
 * that, a stamp is what it would have been by the clock as it goes now.
 *
 * It is kept in memory: of a message from before the start only its stamp is known. A span is for
 * messages between whose offsets there are at most STAMPS_SLACK_MS; if the clock is set more often
 * than there is room for spans, the oldest are forgotten, as if they were from before the start.
 *
 * The writer's thread only.
 */
#ifndef ENCKE_STORE_STAMPS_H
#define ENCKE_STORE_STAMPS_H

#include <stddef.h>
#include <stdint.h>

enum { STAMPS_MOST = 128, STAMPS_SLACK_MS = 10000 };

/* Now, by both clocks. */
struct moment {
    int64_t wall_ms;
    int64_t steady_ms;
};

struct moment stamps_now(void);

/* The steady clock alone, for any thread. It goes on while the machine is suspended. */
int64_t stamps_steady_ms(void);

struct stamps {
    struct stamps_span {
        uint64_t first;    /* seq */
        int64_t offset_ms; /* what the wall clock was ahead of the steady one */
    } spans[STAMPS_MOST];
    size_t count;
};

/* Message seq, newer than all before, was appended now with that stamp. */
void stamps_note(struct stamps *stamps, uint64_t seq, int64_t time_ms, int64_t steady_ms);

/* The log has nothing below seq any more. */
void stamps_forget(struct stamps *stamps, uint64_t seq);

/* When message seq, whose stamp is given, was appended, by the wall clock as it goes now; at least
 * 0, and at most half of what there is, so that sums stay in range. */
int64_t stamps_time(const struct stamps *stamps, uint64_t seq, int64_t time_ms,
                    const struct moment *now);

#endif

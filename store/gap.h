/* gap.h - what a reader cannot be given any more, and whether it has been told of that already.
 *
 * A reader of several channels pages through them in the order of the log, so its cursor may stay
 * below a channel's floor for many pages after the one that told of the gap. For a reader who asks
 * anew each time, that is told again. One that stays, a stream, is told once: it keeps the gap that
 * it was told of, and each later one is held against that.
 *
 * Let c be the reader's cursor, t[i] the floor of channel i in the gap that it knows of, and f[i]
 * that floor now. It has been given, or told that it misses, everything of channel i up to
 * max(c, t[i]). So something is missing that it was not told of exactly if some f[i] is above both.
 * Two things make this sound:
 * - Nothing shorter will do. A sum or a maximum of the floors stays the same when one rises while
 *   another falls, or hides below it; and the reader is at one place in several channels at once.
 * - Floors never fall, but for those that the memory has forgotten (tail.h): such a one is given as
 *   less than it is, and is in truth at most the tail's start, which is at most c. So it counts for
 *   nothing, both as f[i] and, as c never falls, later on as t[i].
 *
 * The loop's thread only.
 */
#ifndef ENCKE_STORE_GAP_H
#define ENCKE_STORE_GAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gap {
    uint32_t refs;
    uint32_t count;
    uint64_t floors[]; /* of the channels asked for, in their order */
};

/* One reference to the gap that these floors make; NULL when out of memory. */
struct gap *gap_new(const uint64_t *floors, size_t count);
struct gap *gap_hold(struct gap *gap); /* NULL is allowed in both */
void gap_drop(struct gap *gap);

/* Whether a reader whose cursor is at seq, and who knows of the gap `known` (NULL: of none), misses
 * nothing else by this one. A gap of other channels is not known. */
bool gap_is_known(const struct gap *gap, const struct gap *known, uint64_t seq);

#endif

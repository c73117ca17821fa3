/* gap.h - which messages a reader cannot get any more, and whether it has been told so already.
 *
 * A reader of several channels pages through them in the order of the log. So its cursor may stay
 * below a channel's floor (schema.h) for many pages after the page that told it of the gap. A long
 * poll is told again with each page. A stream is told once: it keeps the gap that it was told of,
 * and each later gap is compared with that.
 *
 * Let c be the reader's cursor, t[i] the floor of channel i in the gap that it knows of, and f[i]
 * that floor now. The reader has been given, or told that it misses, everything of channel i up to
 * max(c, t[i]). So it misses something that it was not told of if, and only if, some f[i] is above
 * both. Two things make this sound:
 * - All floors are compared. Their sum or maximum would not do: it can stay the same when one floor
 *   rises.
 * - Floors never fall, except those that the memory has forgotten (tail.h): then a lower value is
 *   given. The true value is at most the tail's start, and that is at most c. So the error does
 *   not matter: not in f[i] now and, as c never falls, not in t[i] later.
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
    uint64_t floors[]; /* of the channels that were read, in their order */
};

/* Makes a gap of these floors, with one reference. NULL when out of memory. */
struct gap *gap_new(const uint64_t *floors, size_t count);

/* Takes a reference; drops one, and the last one frees the gap. NULL is allowed in both. */
struct gap *gap_hold(struct gap *gap);
void gap_drop(struct gap *gap);

/* Whether a reader whose cursor is at seq, and who knows of the gap `known` (NULL: of none), misses
 * nothing more by this gap. A gap of other channels is not known. */
bool gap_is_known(const struct gap *gap, const struct gap *known, uint64_t seq);

#endif

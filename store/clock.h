/* clock.h - the two clocks that the store reads, in milliseconds.
 *
 * The wall clock gives messages their time. Somebody may set it, forwards or backwards, so nothing
 * else relies on it: neither order nor waiting. The steady clock measures how much time has passed.
 * Nobody can set it, and it goes on while the machine is suspended.
 *
 * Any thread.
 */
#ifndef ENCKE_STORE_CLOCK_H
#define ENCKE_STORE_CLOCK_H

#include <stdint.h>

/* Since 1970, UTC. */
int64_t clock_wall_ms(void);

/* Since the machine started. */
int64_t clock_steady_ms(void);

/* Now, by both clocks. */
struct moment {
    int64_t wall_ms;
    int64_t steady_ms;
};

struct moment clock_moment(void);

#endif

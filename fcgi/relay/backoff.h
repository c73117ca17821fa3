/* backoff.h - how long to wait with what fails: the longer, the longer it has been failing.
 *
 * Reads the clock; no I/O.
 */
#ifndef ENCKE_FCGI_BACKOFF_H
#define ENCKE_FCGI_BACKOFF_H

#include <stdint.h>

enum {
    RELAY_WAIT_MS = 1000,     /* for what has just begun to fail; it grows with the trouble … */
    RELAY_WAIT_MAX_MS = 30000 /* … up to this */
};

/* The time until clients are told of what has been failing since then, or it is tried again: 1, 2,
 * 4 … 30 seconds, less up to a tenth. */
uint64_t backoff_ms(uint64_t since_ms);

#endif

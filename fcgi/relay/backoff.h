/* backoff.h - how long to wait before the next try, or before clients are told of a failure: the
 * longer it has been failing, the longer.
 *
 * Reads the clock of timer.h. Loop's thread only. No I/O.
 */
#ifndef ENCKE_FCGI_BACKOFF_H
#define ENCKE_FCGI_BACKOFF_H

#include <stdint.h>

enum {
    RELAY_WAIT_MS = 1000,     /* added to the time for which it has been failing */
    RELAY_WAIT_MAX_MS = 30000 /* the longest wait */
};

/* How many milliseconds to wait for what has been failing since since_ms, less a random part of up
 * to a tenth. The waits one after the other are about 1, 2, 4 … 30 seconds. */
uint64_t backoff_ms(uint64_t since_ms);

#endif

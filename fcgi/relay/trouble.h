/* trouble.h - what the operator is told of an upstream that has trouble, and that it is over.
 *
 *     none   -- a failure -------------------------------------> told, with a warning
 *     none   -- a failure, within a minute of a warning -------> untold
 *     untold -- a failure, a minute after the last warning ----> told, with a warning
 *     any    -- a success -------------------------------------> none; if it was told, with a line
 *
 * So the log of the daemon gets a warning a minute at most of one upstream. Failures are counted in
 * any case.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_TROUBLE_H
#define ENCKE_FCGI_TROUBLE_H

#include <stdint.h>

#include "fcgi/relay/keeper.h"

enum trouble_state {
    TROUBLE_NONE,
    TROUBLE_UNTOLD, /* the operator was warned just before, of the trouble that was then */
    TROUBLE_TOLD
};

/* All zero bytes: none, ever. */
struct trouble {
    enum trouble_state state;
    uint64_t since_ms; /* of the first failure of this trouble */
    uint64_t told_ms;  /* of the latest warning; 0: there was none */
    uint64_t errors[RELAY_ERRORS];
    char latest[160]; /* the latest failure, printable; "": there was none */
};

/* Notes a failure of the upstream of that name: what (a few words) may hold bytes of its own. */
void trouble_note(struct trouble *trouble, const char *name, enum relay_error error,
                  const char *what);

/* Notes a success. */
void trouble_end(struct trouble *trouble, const char *name);

#endif

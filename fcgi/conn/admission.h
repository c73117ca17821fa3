/* admission.h - whether one more request may wait: limits how many are held, relayed or streamed at
 * once, and how much memory the sets of channels that they read may take.
 *
 * A request too many is refused with a 503. The operator is told once, and again only after the
 * counts had gone down by a tenth.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_ADMISSION_H
#define ENCKE_FCGI_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/conn/conn.h"

struct admission {
    unsigned waiting, waiting_max; /* requests */
    size_t bytes, bytes_max;       /* of what waiting requests share; clients choose it */
    uint64_t refused;              /* requests, since the start */
    bool told;                     /* the operator knows that there are too many */
};

extern const char ADMISSION_STOPPING[]; /* why nobody is admitted while the daemon drains */

/* Whether the request may wait; then the caller calls admission_enter. If not, it has been
 * answered.
 */
bool admission_check(struct admission *admission, struct conn *conn);

/* Answers that the request cannot wait now, and why. */
void admission_refuse(struct admission *admission, struct conn *conn, const char *why);

/* One more waits. */
void admission_enter(struct admission *admission);

/* One that waited does not any more. */
void admission_leave(struct admission *admission);

/* Whether there is room for so many bytes more. */
static inline bool admission_has_bytes(const struct admission *admission, size_t bytes)
{
    return admission->bytes + bytes <= admission->bytes_max;
}

#endif

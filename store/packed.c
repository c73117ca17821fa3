#include "store/packed.h"

#include <string.h>

enum { MOST_BYTES = 10 }; /* of a number */

bool packed_add(struct packed *packed, uint64_t number)
{
    uint8_t bytes[MOST_BYTES];
    size_t len = 0;
    for (uint64_t rest = number - packed->last; len == 0 || rest; rest >>= 7)
        bytes[len++] = (uint8_t)((rest & 0x7f) | (rest >> 7 ? 0x80 : 0));
    if (number <= packed->last || packed->len + len > PACKED_BYTES)
        return false;
    memcpy(packed->bytes + packed->len, bytes, len);
    packed->len += len;
    packed->last = number;
    return true;
}

int packed_next(struct unpacking *unpacking)
{
    uint64_t step = 0;
    unsigned shift = 0;
    if (unpacking->at == unpacking->end)
        return 0;
    for (bool more = true; more; shift += 7) {
        if (unpacking->at == unpacking->end || shift > 56)
            return -1; /* 63 bits: what SQLite's numbers have */
        step |= (uint64_t)(*unpacking->at & 0x7f) << shift;
        more = *unpacking->at++ & 0x80;
    }
    if (step == 0 || step > INT64_MAX - unpacking->last)
        return -1;
    unpacking->last += step;
    return 1;
}

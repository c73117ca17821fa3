/* packed.h - rising numbers in few bytes: the first, and then how much each is above the one
 * before, as LEB128 (seven bits a byte, the lowest first, the top bit set on all but the last
 * byte).
 *
 * The index by channel (schema.h) has its seqs so: neighbours of a busy channel take a byte each.
 *
 * Any thread.
 */
#ifndef ENCKE_STORE_PACKED_H
#define ENCKE_STORE_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PACKED_BYTES = 512 }; /* so that a row of the index fits into a quarter of a page */

struct packed {
    uint64_t last; /* of the numbers; 0: there is none yet */
    size_t len;
    uint8_t bytes[PACKED_BYTES];
};

/* Adds a number above all before. Returns false if there is no room for it. */
bool packed_add(struct packed *packed, uint64_t number);

/* Where the reading of packed numbers is. */
struct unpacking {
    const uint8_t *at, *end; /* borrowed */
    uint64_t last;           /* the number that was read last; 0: none */
};

/* Reads the next number. Returns 1 with it in unpacking->last, 0 at the end, or -1 if the bytes are
 * not packed numbers. */
int packed_next(struct unpacking *unpacking);

#endif

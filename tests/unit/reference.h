/* reference.h - a plain reading of FastCGI requests, after the specification alone, and whether
 * the gate and libfcgi read the same bytes in the same way. */
#ifndef ENCKE_TESTS_REFERENCE_H
#define ENCKE_TESTS_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/wire/request.h"

/* The largest body that agree() lets through: small, so that too large ones are met as well. */
enum { REFERENCE_BODY_MAX = 20000 };

/* Passes bytes[0, len) through the gate, in portions that seed chooses, and if it lets them
 * through, to libfcgi, by a decoder for bodies of REFERENCE_BODY_MAX. Returns NULL when both read
 * what the specification says, or the gate refused what is no request for us; else what differs.
 * Sets *whole to whether the gate let a request through. */
const char *agree(struct decoder *decoder, const uint8_t *bytes, size_t len, unsigned seed,
                  bool *whole);

#endif

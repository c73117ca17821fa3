/* fcgi_bytes.h - builds the bytes of FastCGI requests for the unit tests. */
#ifndef ENCKE_TESTS_FCGI_BYTES_H
#define ENCKE_TESTS_FCGI_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "fcgi/io/buf.h"

/* Appends one record (FastCGI 1.0, 3.3) with that much padding behind it. */
void put_record(struct buf *out, int type, uint16_t id, const void *content, size_t len,
                uint8_t padding);

/* Appends BEGIN_REQUEST for a responder. */
void put_begin(struct buf *out, uint16_t id, uint8_t flags);

/* Appends one name-value pair (3.4) to the content of a PARAMS record. */
void put_pair(struct buf *out, const char *name, const char *value);

/* Appends a whole request; body may be NULL. */
void put_request(struct buf *out, uint16_t id, const char *method, const char *uri,
                 const char *content_type, const char *body);

#endif

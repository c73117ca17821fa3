/* gate.h - says whether a whole, sane FastCGI request has arrived, before libfcgi sees a byte.
 *
 * libfcgi blocks on half a request and aborts the process on absurd lengths and on management
 * records. So the bytes of a connection pass this gate first: it walks the records (FastCGI 1.0,
 * section 3.3) and the lengths of the name-value pairs (3.4), decodes nothing, and lets through
 * one complete request of the responder role or nothing.
 *
 * Pure: no I/O, no allocation, no clock; any bytes, in any portions. The state only remembers how
 * far it has looked, so that a request which dribbles in is looked at once.
 */
#ifndef ENCKE_FCGI_GATE_H
#define ENCKE_FCGI_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GATE_PARAMS_MAX = 64 * 1024 /* bytes of all parameters of a request */
};

enum gate_verdict {
    GATE_MORE,   /* so far so good, more bytes are needed */
    GATE_WHOLE,  /* bytes [0, scanned) are one complete request */
    GATE_REFUSED /* these bytes are no request for us: close; why says what is wrong */
};

enum gate_stage { GATE_BEGIN, GATE_PARAMS, GATE_STDIN, GATE_END };

struct gate {
    enum gate_stage stage; /* the record that is expected next */
    uint16_t id;           /* the request's id, once past GATE_BEGIN */
    bool keep;             /* FCGI_KEEP_CONN was asked for */
    bool too_large;        /* the body is over body_max */
    size_t scanned;        /* whole records looked at, in bytes */
    size_t params_len;     /* PARAMS content so far */
    size_t stdin_start;    /* where the first STDIN record begins */
    size_t body_len;       /* STDIN content so far, dropped bytes included */
    size_t body_max;
    const char *why;
    /* where in a name-value pair the PARAMS content stands */
    uint32_t pair_skip; /* bytes of name and value still to pass */
    uint8_t length_len; /* bytes of the two lengths collected */
    uint8_t lengths[8];
};

/* Starts a new request whose body may have body_max bytes. */
void gate_start(struct gate *gate, size_t body_max);

/* Looks at bytes[0, len), of which earlier calls may have seen a part: the caller appends to its
 * bytes between calls and keeps what is there. After GATE_WHOLE or GATE_REFUSED only gate_start
 * may follow. Bytes behind `scanned` after GATE_WHOLE belong to nobody. */
enum gate_verdict gate_scan(struct gate *gate, const uint8_t *bytes, size_t len);

/* Drops the STDIN records scanned so far from bytes when the body is too large, and returns the
 * new length. The rest stays a valid request with an empty body, so that an oversized body is
 * read to its end, which a web server wants, in constant memory. */
size_t gate_trim(struct gate *gate, uint8_t *bytes, size_t len);

#endif

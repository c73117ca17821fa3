/* gate.h - takes in the bytes of a FastCGI request, before libfcgi sees one.
 *
 * libfcgi blocks on half a request, aborts the process on absurd lengths and on management records,
 * and reads the padding of some records as the records that follow. So the bytes of a connection
 * pass this gate first: it walks the records (FastCGI 1.0, section 3.3) and the lengths of the
 * name-value pairs (3.4), and lets through one complete request of the responder role or nothing.
 *
 * What it lets through it writes anew, in place, record by record as it understood them: the same
 * contents in records without padding, reserved bytes or unknown flags. libfcgi reads that and not
 * what came, so that two decoders cannot take the same bytes for two requests.
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
    GATE_WHOLE,  /* bytes[0, scanned) are one complete request, written anew */
    GATE_REFUSED /* these bytes are no request for us: close; why says what is wrong */
};

enum gate_stage { GATE_BEGIN, GATE_PARAMS, GATE_STDIN, GATE_END };

struct gate {
    enum gate_stage stage; /* the record that is expected next */
    uint16_t id;           /* the request's id, once past GATE_BEGIN */
    bool keep;             /* FCGI_KEEP_CONN was asked for */
    bool too_large;        /* the body is over body_max: what is let through has an empty one */
    size_t scanned;        /* what is written of the request, in bytes: whole records */
    size_t params_len;     /* PARAMS content so far */
    size_t pairs;          /* name-value pairs that it has begun */
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

/* Looks at bytes[0, *len), of which earlier calls may have seen and changed a part: the caller
 * appends to what they left and changes nothing. Writes the whole records anew, followed by what
 * is not yet whole, and sets *len to where that ends, which is never more. Of a body that is too
 * large only its length is kept: it is read to its end, which a web server wants, in constant
 * memory. After GATE_WHOLE or GATE_REFUSED only gate_start may follow. Bytes behind `scanned` after
 * GATE_WHOLE belong to nobody. */
enum gate_verdict gate_scan(struct gate *gate, uint8_t *bytes, size_t *len);

#endif

/* gate.h - checks the bytes of a FastCGI request before libfcgi reads them.
 *
 * libfcgi blocks on half a request, ends the process on absurd lengths and on management records,
 * and reads the padding of some records as further records. So the bytes of a connection pass this
 * gate first. It checks the records (FastCGI 1.0, section 3.3) and the lengths of the name-value
 * pairs (3.4), and lets one complete request for a responder pass, or nothing.
 *
 * The gate writes a request again, in place, record by record as it understood them: the same
 * contents in records without padding, reserved bytes and unknown flags, and without the parameters
 * that nobody asks for (param.h). libfcgi reads what the gate has written, so that the two decoders
 * cannot understand the same bytes differently.
 *
 * Pure: no I/O, no allocation, no clock; takes any bytes, in any portions. It remembers how far it
 * has looked, and looks at each byte once, however slowly a request arrives.
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
    GATE_MORE,   /* no fault so far; more bytes are needed */
    GATE_WHOLE,  /* bytes[0, scanned) are one complete request, written again */
    GATE_REFUSED /* the bytes are not a request for us: close; why says what is wrong */
};

enum gate_stage { GATE_BEGIN, GATE_PARAMS, GATE_STDIN, GATE_END };

struct gate {
    enum gate_stage stage; /* the record that is expected next */
    uint16_t id;           /* the request's id; known after GATE_BEGIN */
    bool keep;             /* the web server set FCGI_KEEP_CONN */
    bool too_large;        /* the body is over body_max: the request written has an empty one */
    size_t scanned;        /* bytes of the request written so far: whole records */
    size_t params_len;     /* bytes of PARAMS content so far, with what is left out */
    size_t pairs;          /* name-value pairs that the request written has begun */
    size_t stdin_start;    /* where its first STDIN record begins */
    size_t body_len;       /* bytes of STDIN content so far, with those dropped */
    size_t body_max;
    const char *why;
    /* the name-value pair in which the PARAMS content ends so far: */
    uint32_t pair_skip; /* bytes of its name and value that are still to come */
    uint8_t length_len; /* bytes of its two lengths in lengths */
    uint8_t lengths[8];
};

/* Starts a new request whose body may have body_max bytes. */
void gate_start(struct gate *gate, size_t body_max);

/* Looks at bytes[0, *len). The caller appends to what earlier calls have left there, and changes
 * none of it. Writes the whole records again, moves the bytes of a record that is not whole after
 * them, and sets *len to the new end, which is never higher. Of a body that is too large only the
 * length is kept: the web server wants it to be read to its end, and this takes constant memory.
 * After GATE_WHOLE or GATE_REFUSED only gate_start may follow. After GATE_WHOLE, bytes after
 * `scanned` belong to no request. */
enum gate_verdict gate_scan(struct gate *gate, uint8_t *bytes, size_t *len);

#endif

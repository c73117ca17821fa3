/* reply.h - answers, framed once as FastCGI records and sent as they are.
 *
 * A frame is a whole answer: the CGI header (RFC 3875, 6.3), the body, the end of STDOUT and
 * END_REQUEST (FastCGI 1.0, 3.3 and 5.5). Or it is one part of an answer that goes on. It is
 * counted, so that one frame serves every reader that gets the same, and a reader whose socket is
 * full keeps a reference, not a copy.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_REPLY_H
#define ENCKE_FCGI_REPLY_H

#include <stddef.h>
#include <stdint.h>

struct frame {
    uint32_t refs;
    uint32_t len;
    uint32_t lacking;    /* connections that have not taken all of it: see unsent.h */
    uint16_t request_id; /* that the records carry now; 0: it has none */
    uint16_t messages;   /* how many messages it delivers, for the counters */
    uint64_t seq;        /* of a stream's part: the cursor once it is sent */
    uint8_t bytes[];
};

/* The content types in use. */
extern const char TYPE_JSON[], TYPE_TEXT[];

/* Frames an answer for request 1. header is NULL or further header lines, each ended by CRLF.
 * The headers that every answer carries are set here and nowhere else. Returns one reference, or
 * NULL when out of memory. */
struct frame *frame_new(int status, const char *type, const char *header, const void *body,
                        size_t body_len);

/* Frames what a distant server answered: its status, its reason (may be empty), its content type
 * ("" if it sent none) and its body, none of which may break a header line. */
struct frame *frame_relayed(int status, const char *reason, const char *type, const void *body,
                            size_t body_len);

/* The same for `{"error":text}`, text being JSON-safe ASCII without quotes. */
struct frame *frame_error(int status, const char *header, const char *text);

/* Writes a Retry-After of some seconds, random, so that not all come back at once; returns it. */
enum { RETRY_AFTER_SIZE = 32 };
const char *retry_after(char header[RETRY_AFTER_SIZE]);

/* The parts of an answer that goes on, for that request: the first, with the headers of a stream;
 * any bytes that follow; and the end. Ownership as with frame_new. */
struct frame *frame_opening(uint16_t request_id, const char *type, const char *header,
                            const void *body, size_t body_len);
struct frame *frame_part(uint16_t request_id, const void *body, size_t body_len);
struct frame *frame_end(uint16_t request_id);

/* Bytes that are no FastCGI, as they are: for request 0, which is no FastCGI request's number. */
struct frame *frame_raw(const void *bytes, size_t len);

/* The answer, whole or its opening, as it is to a HEAD: its header, Content-Length and all, and the
 * end (RFC 9110, 9.3.2). Takes over the reference. NULL when out of memory. */
struct frame *frame_bodiless(struct frame *frame);

struct frame *frame_hold(struct frame *frame);
void frame_drop(struct frame *frame); /* NULL is allowed */

/* Sends as much of the frame from *sent on as the socket takes, without blocking, to the request
 * of that id. All web servers number their only request 1; another number is patched into the
 * records, of a copy if somebody else still needs the frame: then *frame changes.
 * Returns 1 when all is sent, 0 when the socket is full (go on from *sent once it is writable),
 * -1 when the peer is gone or memory ran out. */
int frame_send(struct frame **frame, uint32_t *sent, int fd, uint16_t request_id);

#endif

/* reply.h - answers, written once as FastCGI records and sent as they are.
 *
 * A frame is a whole answer: the CGI header (RFC 3875, 6.3), the body, the end of STDOUT and
 * END_REQUEST (FastCGI 1.0, 3.3 and 5.5). Or it is one part of an answer that goes on. Frames count
 * their references: one frame serves every reader that gets the same bytes, and a reader whose
 * socket is full keeps a reference, not a copy.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_REPLY_H
#define ENCKE_FCGI_REPLY_H

#include <stddef.h>
#include <stdint.h>

#include "fcgi/io/buf.h"
#include "fcgi/io/text.h"

struct frame {
    uint32_t refs;
    uint32_t len;
    uint32_t lacking;    /* connections that have not taken all of it: see unsent.h */
    uint16_t request_id; /* in the records; 0: the frame is not FastCGI */
    uint16_t messages;   /* how many messages it has, for the counters */
    uint8_t bytes[];
};

/* Content types. */
extern const char TYPE_JSON[], TYPE_TEXT[];

/* Makes a whole answer to request 1. header: more header lines, each ended by CRLF, or NULL. The
 * headers of every answer are added here and nowhere else. Returns one reference, or NULL when out
 * of memory. */
struct frame *frame_new(int status, const char *type, const char *header, const void *body,
                        size_t body_len);

/* The same with a body of count pieces, one after the other. */
struct frame *frame_gather(int status, const char *type, const char *header,
                           const struct text *body, size_t count);

/* Makes the answer from what a distant server answered: its status, its reason phrase (may be
 * empty), its content type ("" if it sent none) and its body. Reason and type must have no CR and
 * no LF. */
struct frame *frame_relayed(int status, const char *reason, const char *type, const void *body,
                            size_t body_len);

/* Makes the answer `{"error":text}`. text: ASCII that JSON needs not escape. */
struct frame *frame_error(int status, const char *header, const char *text);

/* Makes the answer `{"error":"element N: text","element":N}`: what is wrong with an element of an
 * array, counted from 0. */
struct frame *frame_error_at(int status, const char *header, size_t element, const char *text);

/* Writes the header Retry-After with 1 to 10 seconds, at random, so that not all clients come back
 * at once. Returns header. */
enum { RETRY_AFTER_SIZE = 32 };
const char *retry_after(char header[RETRY_AFTER_SIZE]);

/* Make the parts of an answer that goes on, to that request: the first with the headers of a
 * stream, then any bytes, and the end. Each returns one reference, or NULL when out of memory. */
struct frame *frame_opening(uint16_t request_id, const char *type, const char *header,
                            const void *body, size_t body_len);
struct frame *frame_part(uint16_t request_id, const void *body, size_t body_len);
struct frame *frame_end(uint16_t request_id);

/* Makes a frame of bytes that are not FastCGI. It is for request 0, which no FastCGI request is. */
struct frame *frame_raw(const void *bytes, size_t len);

/* Makes a frame of len bytes, which the caller writes: what frame_put_part writes, or for request 0
 * any bytes. */
struct frame *frame_blank(uint16_t request_id, size_t len);

/* Appends the bytes of frame_part. */
void frame_put_part(struct buf *out, uint16_t request_id, const void *body, size_t body_len);

/* Makes the answer to a HEAD from the one to a GET, or from its first part: the header without any
 * change, and the end (RFC 9110, 9.3.2). Drops the given reference. NULL when out of memory. */
struct frame *frame_bodiless(struct frame *frame);

/* Take and drop a reference. */
struct frame *frame_hold(struct frame *frame);
void frame_drop(struct frame *frame); /* NULL is allowed */

/* Sends the frame from byte *sent on, as much as the socket takes, without blocking, to the request
 * of that id. All web servers give their only request the id 1. Another id is written into the
 * records; if the frame has other references, into a copy of it, and *frame changes.
 * Returns 1 when all is sent, 0 when the socket is full (call again once it is writable), -1 when
 * the peer is gone or memory ran out. */
int frame_send(struct frame **frame, uint32_t *sent, int fd, uint16_t request_id);

#endif

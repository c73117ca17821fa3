/* refusal.h - answers that say why there is none.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_REFUSAL_H
#define ENCKE_FCGI_REFUSAL_H

#include "fcgi/conn/conn.h"
#include "fcgi/wire/reply.h"
#include "store/log.h"

/* Answers with an error, in the protocol of the connection: see frame_error, handshake_put_error.
 * The connection may have ended when this returns, here and below. */
void conn_refuse(struct conn *conn, int status, const char *header, const char *text);

/* Answers 503 with a Retry-After: what was asked for may be possible soon. */
void conn_refuse_for_now(struct conn *conn, const char *text);

/* Answers why the log did not do what it was asked: 507 for a full disk and too many channels or
 * keys, 409 for a key that was used, 500 when the log has failed, and 503 for what may pass. */
void conn_refuse_for_log(struct conn *conn, enum log_status status);

/* The same answer for several requests: one reference, or NULL when out of memory. */
struct frame *refusal_frame(enum log_status status);

/* The same, about one element of an array: see frame_error_at. */
struct frame *refusal_frame_at(enum log_status status, size_t element);

#endif

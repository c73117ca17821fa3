/* answer.h - the end of a request: its answer is sent, at once or as the socket takes it, and the
 * connection waits for the next request, lingers, or ends.
 *
 * Loop's thread only. Nothing here blocks.
 */
#ifndef ENCKE_FCGI_ANSWER_H
#define ENCKE_FCGI_ANSWER_H

#include "fcgi/conn/conn.h"
#include "fcgi/wire/reply.h"

/* Answers the request, whatever it waited for, with the caller's reference to frame (NULL, for
 * out of memory, ends the connection). The connection may have ended when this returns. */
void conn_answer(struct conn *conn, struct frame *frame);

#endif

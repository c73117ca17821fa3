/* json.h - a message, and a cursor, as all readers of JSON get them.
 *
 * Pure.
 */
#ifndef ENCKE_FCGI_JSON_H
#define ENCKE_FCGI_JSON_H

#include <stdint.h>

#include "fcgi/io/buf.h"
#include "store/message.h"

/* Appends the cursor's text. It needs no quoting. */
void json_put_cursor(struct buf *out, const char *epoch, uint64_t seq);

/* Appends a message as an object: {"id":…,"channel":…,"time":…,"data":…} */
void json_put_message(struct buf *out, const char *epoch, const struct message *message);

#endif

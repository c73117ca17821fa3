/* key.h - the key under which a message is stored once, however often it is sent: the field
 * `once`, or the header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header).
 *
 * Pure.
 */
#ifndef ENCKE_FCGI_KEY_H
#define ENCKE_FCGI_KEY_H

#include <stdbool.h>

#include "fcgi/io/text.h"
#include "store/message.h"

/* Room for the key of a header, which is decoded. */
struct key_room {
    char bytes[KEY_MAX];
};

/* Finds the key of a request from its field and its header, each absent if it was not sent. If both
 * are there, they must name the same key. Sets *key, which is absent if there is none, to the
 * field's bytes or to a part of room. Returns what is wrong, static and JSON-safe, or NULL.
 *
 * In the header the key is a string in quotes (RFC 8941, 3.3.3), or, as many programs send it,
 * visible ASCII without quotes, backslashes, commas and semicolons. */
const char *key_find(struct text field, struct text header, struct key_room *room,
                     struct text *key);

/* What makes a key unfit, static and JSON-safe; or NULL, also for an absent one. A key is UTF-8
 * without control characters. */
const char *key_complaint(struct text key);

#endif

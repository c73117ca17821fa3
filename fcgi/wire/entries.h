/* entries.h - the JSON of a batch: an array of messages, or one message.
 *
 *     [{"channel":"news","msg":"hello","once":"key"}, …]      or      {"msg":"hello"}
 *
 * A body has this shape or is refused, at its first byte that does not fit. So nothing that a
 * client can nest, repeat or number takes memory or time: no value is built, strings are decoded
 * where they are, and each byte is looked at once. (A parser for any JSON makes gigabytes of a body
 * of `[],[],…` and takes seconds, on the loop's thread.) Inside that shape it is as strict as RFC
 * 8259: a member that comes twice, an escape that does not exist and half a surrogate pair are
 * refused, too.
 *
 * Pure; works in place, in time linear in the body.
 */
#ifndef ENCKE_FCGI_ENTRIES_H
#define ENCKE_FCGI_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>

#include "fcgi/io/text.h"

enum { ENTRIES_MAX = 1000 }; /* elements of an array */

/* One message as a client names it, before anything is checked: any bytes, NULs included. Each is
 * absent if it was not given; a NUL follows the bytes. */
struct entry {
    struct text channel;
    struct text message;
    struct text once; /* the key */
};

struct entries {
    char *at;
    char *end;
    size_t count;    /* entries read so far; of a bad one, its index */
    bool array;      /* else there is one entry, without an array around it */
    bool in_entry;   /* what is wrong is in the entry with the index `count` */
    const char *why; /* one sentence, static and JSON-safe; NULL: nothing is wrong */
};

/* Begins with json[0, len). json[len] must be a NUL, and writable. */
void entries_start(struct entries *entries, char *json, size_t len);

/* Reads the next entry, of which the texts lie in json. Returns false at the end, or if something
 * is wrong: then entries->why says what. Not to be called after that. */
bool entries_next(struct entries *entries, struct entry *entry);

#endif

/* render.h - writes the answers of long polls: pages of messages as JSON, as HTML in JSON, as plain
 * text, or as one word (enum format, wanted.h). What streams get is written in transport.c.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_RENDER_H
#define ENCKE_FCGI_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/io/buf.h"
#include "fcgi/readers/rendered.h"
#include "fcgi/readers/wanted.h"
#include "fcgi/wire/reply.h"
#include "store/log.h"

/* The framed answer with the messages of the page, which are rendered in the store. It ends with
 * the message that reaches `most` bytes (at least 1), or the LIMIT_MAX-th, and then says that there
 * is more. Returns one reference, or NULL when out of memory. */
struct frame *render_page(struct rendered *rendered, enum format format, const struct page *page,
                          size_t most);

/* The answer at the end of a hold: nothing new, and the cursor to go on with. */
struct frame *render_nothing(struct rendered *rendered, enum format format, uint64_t head);

/* The word alone: {"ret":"new"}, or {"ret":"punt"}. */
struct frame *render_word(bool news);

/* Where an append's messages were stored: for each `{"id":CURSOR}`, and `"duplicate":true` in it if
 * it was there already; in an array, or it is the only one. scratch is overwritten. */
struct frame *render_stored(struct buf *scratch, const char *epoch, const struct append *append,
                            bool array);

#endif

/* render.h - writes answers: pages of messages as JSON, as the board's HTML, as plain text, or as
 * one word. How streams write them is transport.c's business.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_RENDER_H
#define ENCKE_FCGI_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/io/buf.h"
#include "fcgi/wire/reply.h"
#include "fcgi/readers/strip.h"
#include "fcgi/readers/wanted.h"
#include "store/log.h"

/* The framed answer that gives page to a reader of the log of that epoch: all of it, or as much as
 * takes `most` bytes (at least 1; it ends with the message that reaches them), with more to ask
 * for. scratch is overwritten. Returns one reference, or NULL when out of memory. */
struct frame *render_page(struct buf *scratch, enum format format, const char *epoch,
                          const struct page *page, size_t most);

/* The same as JSON, for a page that was read from count channels and has messages: they are cut out
 * of a strip. */
struct frame *render_from_strip(struct strips *strips, struct buf *scratch, const char *epoch,
                                const char *const *channels, size_t count, const struct page *page,
                                size_t most);

/* The answer at the end of a hold: nothing new, and the cursor to go on with. */
struct frame *render_nothing(struct buf *scratch, enum format format, const char *epoch,
                             uint64_t head);

/* The word alone: {"ret":"new"}, or {"ret":"punt"}. */
struct frame *render_word(bool news);

/* Appends the cursor's text. */
void render_cursor(struct buf *out, const char *epoch, uint64_t seq);

/* Appends a message as the JSON object that all readers of JSON get:
 * {"id":…,"channel":…,"time":…,"data":…} */
void render_message(struct buf *out, const char *epoch, const struct message *message);

/* `{"id":"<cursor of seq>"}` */
struct frame *render_id(const char *epoch, uint64_t seq);

#endif

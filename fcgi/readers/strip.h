/* strip.h - runs of messages as JSON text, rendered once.
 *
 * When a web server was restarted, thousands of long polls come back at once. They begin at
 * different cursors and end at the same head, so their answers are pieces of one text. A strip is
 * such a text, of one set of channels, with the place at which each message begins in it. An answer
 * is cut out of it, and what came since is added to its end.
 *
 * The log decides which messages an answer has. Strips only save rendering them: where no strip has
 * just these messages in a row, a new one is made.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_STRIP_H
#define ENCKE_FCGI_STRIP_H

#include <stddef.h>
#include <stdint.h>

#include "fcgi/io/buf.h"
#include "store/log.h"

enum {
    STRIPS = 4,           /* kept: for other channels, or for readers that are further behind */
    STRIP_BYTES = 2 << 20 /* of text; a longer run is not kept */
};

struct strips {
    struct strip {
        struct buf channels; /* their names, a NUL behind each */
        struct buf text;     /* {…},{…},…, with a comma behind the last */
        struct buf places;   /* of struct place: where each message begins */
        uint64_t used;       /* the number of the page for which it was used last */
    } strips[STRIPS];
    uint64_t pages; /* that were cut out of strips so far */
};

/* Appends the messages of the page to out, as JSON objects with commas between them, up to the one
 * that reaches `most` bytes. The page was read from count channels (sorted) and has at least one
 * message. Returns how many messages were appended. */
size_t strip_page(struct strips *strips, struct buf *out, const char *epoch,
                  const char *const *channels, size_t count, const struct page *page, size_t most);

/* Frees all. They may be used again. */
void strips_free(struct strips *strips);

#endif

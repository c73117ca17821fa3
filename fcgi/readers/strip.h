/* strip.h - runs of messages as JSON text, rendered once.
 *
 * Long polls that come back after a pause, thousands at once when a web server was restarted, begin
 * at different cursors and end at the same head: their answers are pieces of one text. A strip is
 * such a text, of one set of channels, with the place at which each message begins in it; a page is
 * cut out of it, and what came since is added to its end.
 *
 * What a page holds is decided by the log, as ever. Strips only save rendering it: of a page whose
 * messages are not just those of a strip, a new one is made.
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
    STRIPS = 4,           /* sets of channels, or ages of readers, that are kept */
    STRIP_BYTES = 2 << 20 /* of text; a run that does not fit is not kept */
};

struct strips {
    struct strip {
        struct buf channels; /* their names, a NUL behind each */
        struct buf text;     /* {…},{…},…, with a comma behind the last */
        struct buf places;   /* of struct place: where each message begins */
        uint64_t used;       /* by the how many-th page, last */
    } strips[STRIPS];
    uint64_t pages;
};

/* Appends the messages of the page, which was read from count channels (sorted; at least one
 * message), to out: JSON objects with commas between them. It ends with the one that reaches `most`
 * bytes. Returns how many these are. */
size_t strip_page(struct strips *strips, struct buf *out, const char *epoch,
                  const char *const *channels, size_t count, const struct page *page, size_t most);

/* Forgets all; they may be used again. */
void strips_free(struct strips *strips);

#endif

/* pages.h - gives readers their pages: from memory at once, or later from the disk.
 *
 * It belongs to the log (log.c), which keeps it up to date: head, messages, and the tail. The
 * loop's thread only. Nothing waits for the disk, but pages_close.
 */
#ifndef ENCKE_STORE_PAGES_H
#define ENCKE_STORE_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "store/cursor.h"
#include "store/page.h"
#include "store/read.h"
#include "store/reads.h"
#include "store/status.h"
#include "store/tail.h"

struct pages {
    uint64_t head;     /* the visible head */
    uint64_t messages; /* retained on the disk */
    uint64_t life;     /* another after each restart */
    struct tail tail;
    struct reads *reads;
    uint64_t *floors; /* of the channels of one page */
    size_t floors_size;
};

/* Loads the tail of the log at path, and starts the thread that reads what is older. Returns 0, or
 * -1 with the reason in why; either way pages_close. */
int pages_open(struct pages *pages, const char *path, struct pause *pause, size_t memory_bytes,
               const struct reads_limits *limits, char *why, size_t why_size);

/* Ends the thread, and closes its connection. */
void pages_close(struct pages *pages);

/* See log_read. */
enum log_status pages_read(struct pages *pages, const char *const *channels, size_t count,
                           struct cursor cursor, struct page_limit limit, struct page *page);

/* See log_read_later and log_read_newest. */
enum log_status pages_read_later(struct pages *pages, const char *const *channels, size_t count,
                                 struct cursor cursor, struct page_limit limit, read_done *done,
                                 void *owner, struct read **out);
enum log_status pages_read_newest(struct pages *pages, const char *channel, uint64_t before,
                                  read_done *done, void *owner, struct read **out);

/* The next read whose owner is to be told: it is the caller's, with its status, and its page to be
 * freed. NULL: there is none now. */
struct read *pages_next(struct pages *pages, enum log_status *status, struct page *page);

/* The log begins anew: nothing up to floor is retained. Reads that wait begin anew, too, and their
 * pages have a reset. */
void pages_restart(struct pages *pages, uint64_t floor);

/* Drops what need not be in memory. */
void pages_trim(struct pages *pages);

#endif

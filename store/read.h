/* read.h - one read of the log that waits for the disk.
 *
 * log_read_later (log.h) makes it, the reader's thread (reads.h) reads, and log_tell_reads tells
 * the owner. It is part of the log's interface.
 */
#ifndef ENCKE_STORE_READ_H
#define ENCKE_STORE_READ_H

#include <sys/queue.h>

#include "store/page.h"
#include "store/plan.h"
#include "store/status.h"

struct disk_read;

/* Tells the owner how its read ended: with LOG_OK and the page, which the log frees after the call;
 * or with the reason, and an empty page. The read is over: it must not be cancelled any more. */
typedef void read_done(void *owner, enum log_status status, struct page *page);

/* It belongs to the log; the caller keeps only the pointer. */
struct read {
    TAILQ_ENTRY(read) link; /* among those that get the same page */
    struct disk_read *disk;
    struct plan plan;
    read_done *done;
    void *owner;
};

#endif

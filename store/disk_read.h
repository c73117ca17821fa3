/* disk_read.h - what is read from the disk once, for all who ask the same.
 *
 * For reads.c, and pages.c, which makes pages of it. One thread at a time: it is the reader's
 * thread's while it is under way (reads.h), and else the loop's.
 */
#ifndef ENCKE_STORE_DISK_READ_H
#define ENCKE_STORE_DISK_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "store/page.h"
#include "store/plan.h"
#include "store/read.h"
#include "store/status.h"
#include "store/table.h"

/* What is to be read. */
struct question {
    const char *const *channels; /* borrowed for the call */
    size_t count;
    uint64_t life;           /* of the log: answers of another one are no answers */
    bool newest;             /* only the newest message up to seq, of one channel; else … */
    uint64_t seq;            /* … a page of what comes after seq, … */
    struct page_limit limit; /* … up to this */
};

/* What is read once, for all its owners. */
struct disk_read {
    UT_hash_handle hh;
    TAILQ_ENTRY(disk_read) next; /* among those that wait, that are under way, … */
    STAILQ_ENTRY(disk_read) job; /* in the thread's queue */
    TAILQ_HEAD(, read) owners;   /* to be told, in this order */
    enum { READ_WAITS, READ_UNDER_WAY, READ_OVER, READ_KEPT } stage;
    enum log_status status;   /* when it is over */
    struct disk_page page;    /* likewise; its floors' room is behind this, … */
    struct question question; /* … as are the names, and what they point to */
    size_t page_bytes;        /* of memory that the page takes */
    size_t key_len;
    char *key; /* equal for equal questions */
};

/* Makes one that asks nobody yet, for nobody; the question is copied. NULL when out of memory. */
struct disk_read *disk_read_new(const struct question *question);

/* Frees it, and the reads of its owners. */
void disk_read_free(struct disk_read *disk);

/* Bytes of memory that it takes; and that its page takes, with it. */
size_t disk_read_size(const struct disk_read *disk);
size_t disk_read_page_bytes(const struct disk_read *disk);

#endif

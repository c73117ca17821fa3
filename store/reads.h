/* reads.h - the thread that reads from the disk, and what waits for it.
 *
 * Reads are handed to the thread in the order in which they were asked for, a few at a time; the
 * others wait. All that ask the same share one: a read that waits or is under way takes in whoever
 * asks for the same page, and so does one that was over a moment ago. So readers that page through
 * the log in step have each page read once.
 *
 *     asked --> waiting --> under way, in the thread --> over --every owner told--> kept --> freed
 *
 * A page from the disk ends where memory began when its read was handed over. Until its owners are
 * told, the tail should not drop what comes after that (reads_pinned): otherwise a reader of a
 * quiet channel would never reach the head of a busy log.
 *
 * The thread owns the reader (reader.h), and what it was handed until it says that it is over. All
 * else, and these functions, belong to the loop's thread. None of them waits for the disk, but
 * reads_stop.
 */
#ifndef ENCKE_STORE_READS_H
#define ENCKE_STORE_READS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/disk_read.h"
#include "store/pause.h"
#include "store/read.h"
#include "store/reader.h"
#include "store/sql.h"
#include "store/status.h"
#include "store/tail.h"

enum {
    READS_AHEAD = 8,           /* reads under way, or over with owners to be told */
    READS_KEPT_BYTES = 1 << 20 /* of the pages that all owners were told of */
};

struct reads;

/* How much may wait, and how long a read may take. */
struct reads_limits {
    size_t queue_bytes; /* of memory, for reads that are not over */
    int64_t read_ms;    /* then a page ends, with at least one message; 0: no limit */
};

/* Starts the thread. Takes over the reader, also when it fails; the tail and the pause are
 * borrowed. Returns 0 with *out set, or -1 with the reason in why. */
int reads_start(struct reads **out, struct reader *reader, const struct tail *tail,
                struct pause *pause, const struct reads_limits *limits, char *why, size_t why_size);

/* Ends the thread, which may be in the middle of a read, and closes the reader. Nobody is told of
 * what was not over. NULL is allowed. */
void reads_stop(struct reads *reads);

/* Readable when reads_next has something to give. It belongs to the reads. */
int reads_fd(const struct reads *reads);

/* Lets read, whose fields are set, wait for the answer. Returns LOG_OK; LOG_BUSY if too much waits
 * already; or LOG_NO_MEMORY. */
enum log_status reads_ask(struct reads *reads, const struct question *question, struct read *read);

/* The read does not wait any more; the caller frees it. */
void reads_forget(struct reads *reads, struct read *read);

/* The answer does not do: asks something else. Returns as reads_ask; unless LOG_OK, the read is
 * where it was. */
enum log_status reads_ask_again(struct reads *reads, struct read *read,
                                const struct question *question);

/* The next whose answer is there: read->disk has it. NULL: there is none now. */
struct read *reads_next(struct reads *reads);

/* There may be more to give: lets reads_fd be readable. */
void reads_remind(struct reads *reads);

/* How many wait. */
size_t reads_count(const struct reads *reads);

/* What the thread said of its latest failure. */
void reads_error(struct reads *reads, char text[SQL_ERROR_SIZE]);

/* The tail should keep what comes after this seq. UINT64_MAX: no read needs anything. */
uint64_t reads_pinned(const struct reads *reads);

/* Messages were deleted: forgets the pages that are kept. */
void reads_drop_kept(struct reads *reads);

#endif

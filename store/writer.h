/* writer.h - the thread that owns the connection that writes: when it commits (commit.h), and how
 * the loop learns of it.
 *
 * It takes all that is queued as one transaction, so the slower the disk, the larger the batch, and
 * it reports once COMMIT has returned. Between batches it checkpoints the write-ahead log and
 * deletes what retention has left over. While nothing happens it sleeps, at the longest until the
 * oldest message becomes too old.
 *
 * The loop's thread calls these functions.
 */
#ifndef ENCKE_STORE_WRITER_H
#define ENCKE_STORE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/append.h"
#include "store/commit.h"
#include "store/file.h"
#include "store/ledger.h"
#include "store/retention.h"
#include "store/sql.h"

struct writer;

/* A new beginning (log_restart). */
struct restart {
    char epoch[EPOCH_LEN + 1];
    uint64_t floor;
    enum log_status status;
};

/* What happened since the last report. */
struct report {
    struct append_list done;  /* in queue order */
    struct floor_list floors; /* in the order in which they moved */
    struct totals totals;     /* as of the last COMMIT */
    char position[POSITION_MAX + 1];
    uint64_t commits;       /* since the start */
    uint64_t wal_bytes;     /* size of the write-ahead log's file */
    struct restart restart; /* that has ended; its epoch is "" if none has */
    bool failed;
    char error[SQL_ERROR_SIZE]; /* why it failed, or the last error that it survived; "" if there
                                   was none since the last report */
};

/* Starts the thread on file, which it borrows until writer_stop. Whenever a report appears, it
 * writes one byte to notify_fd (non-blocking, a pipe's end). Returns 0 with *out set, and in *first
 * the totals and the position as of now, or -1 with the reason in why. */
int writer_start(struct writer **out, struct file *file, const struct commit_limits *limits,
                 int notify_fd, struct report *first, char *why, size_t why_size);

/* Queues the appends, which are the writer's until a report has them, and empties the list. Never
 * blocks on the disk. */
void writer_push(struct writer *writer, struct append_list *appends);

/* Lets the thread empty the log; a report says how it ended. Nothing may be queued, now and until
 * then. */
void writer_restart(struct writer *writer, const struct restart *restart);

/* Lets the thread check whether the files are in place (place.h); it reports only if they are not.
 */
void writer_look(struct writer *writer);

/* Moves all that there is to report into *report. Never blocks on the disk. */
void writer_collect(struct writer *writer, struct report *report);

/* Lets the writer commit what is queued, ends its thread, moves the last report into *report and
 * frees the writer. Returns LOG_OK, or LOG_FAILED if the log has failed. Blocks on the disk. */
enum log_status writer_stop(struct writer *writer, struct report *report);

#endif

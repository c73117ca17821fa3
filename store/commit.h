/* commit.h - one transaction after the other on the connection that writes, and its checkpoints.
 *
 * Each takes a batch of appends, and what retention may delete beside them; then the books
 * (ledger.h), the mark (mark.h) and the look at the files (place.h) are seen to, and only then the
 * batch counts as committed. When to run one, and whom to tell, is writer.h's.
 *
 * An error that leaves nothing written (no room, locked, no memory) fails that batch, and the next
 * is tried afresh. After any other one, a failed fsync above all, all fail: the page cache may have
 * dropped what could not be written, and a second fsync that succeeds would prove nothing.
 *
 * The writer's thread only, but for commit_init and commit_free. All of it blocks on the disk.
 */
#ifndef ENCKE_STORE_COMMIT_H
#define ENCKE_STORE_COMMIT_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/file.h"
#include "store/ledger.h"
#include "store/log.h"
#include "store/retention.h"

enum { ERROR_SIZE = 400 };

struct committer {
    struct file *file; /* borrowed */
    struct ledger ledger;
    struct retention retention;
    sqlite3_stmt *begin, *commit, *rollback, *insert;
    uint64_t commits;      /* since the start */
    int wal_pages;         /* as of the last commit */
    int64_t checkpoint_ms; /* when to checkpoint if nothing comes; INT64_MAX: nothing to do */
    int64_t retry_ms;      /* when retention may try again */
    int64_t retry_wait_ms;
    bool failed;            /* for good */
    char error[ERROR_SIZE]; /* the last error, "" after a commit */
};

/* Prepares the statements and reads the books. Returns SQLite's result code; after a failure
 * commit_free is still due. */
int commit_init(struct committer *committer, struct file *file,
                const struct retention_limits *limits);
void commit_free(struct committer *committer);

/* Commits batch, or with none what retention left over. Returns the status of all that batch holds;
 * on LOG_OK its messages have their seq. */
enum log_status commit_batch(struct committer *committer, struct append_list *batch);

/* Looks whether the files are in place; fails the log if they are not. */
void commit_look(struct committer *committer);

/* Copies what it can into the database without waiting for readers. One that finds no room is tried
 * again later: nothing is lost, all of it is in the write-ahead log. */
void commit_checkpoint(struct committer *committer);

/* Whether a checkpoint should follow a batch that had this status. On a full disk, it lets the
 * write-ahead log start over in the room it has. */
bool commit_checkpoint_is_due(const struct committer *committer, enum log_status status);

#endif

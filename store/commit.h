/* commit.h - one transaction after another on the connection that writes, and its checkpoints.
 *
 * Each takes a batch of appends, and deletes what retention allows beside them. Then it updates the
 * books (ledger.h) and the mark (mark.h) and checks the files (place.h), and only then the batch
 * counts as committed. When to commit, and how the loop learns of it, is in writer.h.
 *
 * An error that leaves nothing written (no room, locked, no memory) fails that batch; the next one
 * is tried as usual. After any other error, above all a failed fsync, all batches fail: the page
 * cache may have dropped what could not be written, and a second fsync that succeeds would prove
 * nothing.
 *
 * Called by the writer's thread; commit_init and commit_free while it does not run. All functions
 * block on the disk.
 */
#ifndef ENCKE_STORE_COMMIT_H
#define ENCKE_STORE_COMMIT_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/append.h"
#include "store/file.h"
#include "store/insert.h"
#include "store/ledger.h"
#include "store/once.h"
#include "store/retention.h"
#include "store/sql.h"

struct commit_limits {
    struct retention_limits retention;
    struct once_limits once;
    uint64_t channels; /* with messages */
};

struct committer {
    struct file *file; /* borrowed */
    struct ledger ledger;
    struct retention retention;
    struct once once;
    struct insert insert;
    sqlite3_stmt *begin, *commit, *rollback;
    uint64_t commits;      /* since the start */
    int wal_pages;         /* as of the last commit */
    int due_pages;         /* with so many, a checkpoint is due */
    bool pausing;          /* the reader's thread is asked to pause for it */
    int64_t checkpoint_ms; /* when to checkpoint if nothing is appended; INT64_MAX: never */
    int64_t retry_ms;      /* when retention may try again */
    int64_t retry_wait_ms;
    bool settle;                /* the next transaction is to settle (ledger.h) */
    bool failed;                /* for good */
    char error[SQL_ERROR_SIZE]; /* the last error, "" after a commit */
};

/* Prepares the statements and reads the books. Returns SQLite's result code; after a failure
 * commit_free is still to be called. */
int commit_init(struct committer *committer, struct file *file, const struct commit_limits *limits);
void commit_free(struct committer *committer);

/* Commits batch; with an empty one, deletes what is due and was left over. Returns LOG_OK, and then
 * each append has its status, and the messages of those with LOG_OK have their seq; or else the
 * status of all appends of the batch. */
enum log_status commit_batch(struct committer *committer, struct append_list *batch);

/* Empties the log and gives it that epoch, in one transaction; floor is the last seq that was given
 * out then. Returns as commit_batch. */
enum log_status commit_restart(struct committer *committer, const char *epoch, uint64_t floor);

/* Settles what is not yet (ledger.h), in a transaction of its own. If there is no room for it or
 * the file is locked, it stays as it is: the next start adds it up. */
void commit_settle(struct committer *committer);

/* Checks whether the files are in place; fails the log if they are not. */
void commit_look(struct committer *committer);

/* Copies what it can into the database, without waiting for readers. If that is not all, since the
 * reader's thread reads, it asks for a pause (pause.h); after one, or if there is no room, it is
 * tried again: nothing is lost, all of it is in the write-ahead log. */
void commit_checkpoint(struct committer *committer);
void commit_settle_and_checkpoint(struct committer *committer);

/* Whether a checkpoint should follow a batch that had this status. On a full disk, it lets the
 * write-ahead log start over in the room that it has. */
bool commit_checkpoint_is_due(const struct committer *committer, enum log_status status);

#endif

#define _GNU_SOURCE
#include "store/commit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/clock.h"

/* A checkpoint is due once the write-ahead log has this many pages (4 MiB), or this long after the
 * last commit. Right after a commit, it would cost each single append two more fsyncs. */
enum { CHECKPOINT_PAGES = 1000, CHECKPOINT_IDLE_MS = 5000 };

/* How many rows a transaction may delete, beside as many as it appends. So retention always gains
 * on the appends, and never delays one for long. */
enum { RETENTION_ROWS = 1000 };

/* How many pages a row that is written or deleted may touch besides those of its data: leaves of
 * two trees, the pages above them, the list of free pages. A page holds PAGE_DATA bytes at least.
 */
enum { PAGES_A_ROW = 4, PAGE_DATA = 4000 };

/* When retention alone met a full disk or a lock, it tries again after this long, which doubles
 * each time. */
enum { RETRY_MIN_MS = 1000, RETRY_MAX_MS = 60000 };

/* ---- the start and the end ---- */

static int note_wal_pages(void *arg, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    struct committer *committer = arg;
    if (pages < committer->wal_pages)
        committer->due_pages = CHECKPOINT_PAGES; /* it has started over */
    committer->wal_pages = pages;
    place_committed(&committer->file->place, pages);
    return SQLITE_OK;
}

int commit_init(struct committer *committer, struct file *file, const struct commit_limits *limits)
{
    sqlite3 *db = file->db;
    *committer = (struct committer){.file = file, .due_pages = CHECKPOINT_PAGES};
    committer->checkpoint_ms = file->pending ? clock_steady_ms() : INT64_MAX;
    errno = 0;
    int rc = ledger_init(&committer->ledger, db, limits->channels);
    if (rc == SQLITE_OK)
        rc = retention_init(&committer->retention, db, &committer->ledger, &limits->retention);
    if (rc == SQLITE_OK)
        rc = once_init(&committer->once, db, &limits->once, &committer->retention.stamps,
                       committer->ledger.settled.keys);
    if (rc == SQLITE_OK)
        rc = insert_init(&committer->insert, db, &committer->ledger, &committer->once);
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &committer->begin, "BEGIN IMMEDIATE");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &committer->commit, "COMMIT");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &committer->rollback, "ROLLBACK");
    sqlite3_wal_hook(db, note_wal_pages, committer);
    return rc;
}

void commit_free(struct committer *committer)
{
    sqlite3_finalize(committer->begin);
    sqlite3_finalize(committer->commit);
    sqlite3_finalize(committer->rollback);
    insert_free(&committer->insert);
    once_free(&committer->once);
    retention_free(&committer->retention);
    ledger_free(&committer->ledger);
    sqlite3_wal_hook(committer->file->db, NULL, NULL);
}

/* ---- failing ---- */

static void fail_commits(struct committer *committer, const char *doing, int rc)
{
    committer->failed = true;
    if (rc == SQLITE_ABORT)
        snprintf(committer->error, sizeof committer->error,
                 "%s: another program wrote into it while it was in use", committer->file->path);
    else
        sql_explain(committer->error, sizeof committer->error, doing, committer->file->db, rc);
}

/* Checks whether the files are in place; fails the log if they are not. Returns whether they are.
 */
static bool check_files(struct committer *committer)
{
    struct place *place = &committer->file->place;
    const char *name, *trouble = place_trouble(place, &name);
    if (!trouble)
        return true;
    if (place_can_be_saved(place))
        sqlite3_wal_checkpoint_v2(committer->file->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    committer->failed = true;
    snprintf(committer->error, sizeof committer->error, "%.300s %s", name, trouble);
    return false;
}

void commit_look(struct committer *committer)
{
    if (!committer->failed)
        check_files(committer);
}

/* ---- one transaction ---- */

static int settle(struct committer *committer, const struct moment *now, bool idle)
{
    int rc = ledger_settle(&committer->ledger);
    if (rc == SQLITE_OK)
        rc = once_settle(&committer->once, now, idle);
    committer->ledger.now.keys = committer->once.settled;
    return rc;
}

/* Settles, and then deletes what is due: only what is settled can be deleted. */
static int settle_and_delete(struct committer *committer, const struct moment *now, uint64_t rows,
                             bool idle)
{
    struct retention *retention = &committer->retention;
    bool wanted = retention_is_wanted(retention, now, idle);
    int rc = SQLITE_OK;
    if (wanted || committer->insert.settles || committer->once.crowded ||
        ledger_is_due(&committer->ledger, 0) ||
        (idle && once_due_ms(&committer->once, now) <= now->steady_ms))
        rc = settle(committer, now, idle);
    return rc == SQLITE_OK && wanted ? retention_run(retention, now, rows, idle) : rc;
}

static uint64_t count_messages(const struct append_list *batch)
{
    const struct append *append;
    uint64_t count = 0;
    STAILQ_FOREACH (append, batch, next) {
        count += append->count;
    }
    return count;
}

/* Runs the transaction, COMMIT included. Returns SQLITE_OK; or the error, and then the transaction
 * may still be open. */
static int run_transaction(struct committer *committer, struct append_list *batch)
{
    const struct moment now = clock_moment();
    uint64_t messages = count_messages(batch);
    int rc = sql_run(committer->begin);
    if (rc == SQLITE_OK)
        rc = ledger_begin(&committer->ledger);
    committer->insert.settles = committer->settle || ledger_is_due(&committer->ledger, messages);
    struct append *append;
    STAILQ_FOREACH (append, batch, next) {
        if (rc != SQLITE_OK)
            return rc;
        rc = insert_append(&committer->insert, append, &now);
    }
    if (rc == SQLITE_OK)
        rc = settle_and_delete(committer, &now, RETENTION_ROWS + messages, STAILQ_EMPTY(batch));
    if (rc == SQLITE_OK)
        rc = ledger_save(&committer->ledger);
    return rc == SQLITE_OK ? sql_run(committer->commit) : rc;
}

/* The messages get their numbers only now: if seq is set, the message is committed. */
static void number_messages(struct committer *committer, struct append *append, int64_t now)
{
    if (append->status != LOG_OK)
        return;
    for (uint32_t i = 0; i < append->count; i++) {
        struct append_entry *entry = &append->entries[i];
        entry->message->seq = entry->seq;
        if (!entry->duplicate)
            stamps_note(&committer->retention.stamps, entry->seq, entry->message->time_ms, now);
    }
}

static void note_commit(struct committer *committer, struct append_list *batch)
{
    int64_t now = clock_steady_ms();
    struct append *append;
    STAILQ_FOREACH (append, batch, next) {
        number_messages(committer, append, now);
    }
    if (ledger_has_changed(&committer->ledger)) {
        committer->commits++;
        committer->checkpoint_ms = now + CHECKPOINT_IDLE_MS;
    }
    once_committed(&committer->once, committer->ledger.settling);
    ledger_committed(&committer->ledger);
    mark_set(&committer->file->mark, committer->ledger.committed.head, now); /* before the batch is
                                                                                reported */
}

static void delay_retry(struct committer *committer)
{
    committer->retry_wait_ms *= 2;
    if (committer->retry_wait_ms < RETRY_MIN_MS)
        committer->retry_wait_ms = RETRY_MIN_MS;
    if (committer->retry_wait_ms > RETRY_MAX_MS)
        committer->retry_wait_ms = RETRY_MAX_MS;
    committer->retry_ms = clock_steady_ms() + committer->retry_wait_ms;
}

/* Takes back what run_transaction did. It asks SQLite about the error first, as the rollback
 * changes what SQLite says. */
static enum log_status roll_back(struct committer *committer, int rc)
{
    enum log_status status = sql_status(rc);
    if (status == LOG_OK) /* no error where there must be one: not to be trusted */
        status = LOG_FAILED;
    if (status == LOG_FAILED)
        fail_commits(committer, "writing the log", rc);
    else
        sql_explain(committer->error, sizeof committer->error, "writing the log",
                    committer->file->db, rc);
    if (!sqlite3_get_autocommit(committer->file->db))
        rc = sql_run(committer->rollback);
    if (!sqlite3_get_autocommit(committer->file->db) && !committer->failed) {
        fail_commits(committer, "rolling back", rc);
        status = LOG_FAILED;
    }
    ledger_undo(&committer->ledger);
    once_undo(&committer->once);
    retention_undo(&committer->retention);
    delay_retry(committer);
    return status;
}

/* Makes room in the index of the write-ahead log for all that the transaction may write: the pages
 * of each message, and a few for each row that is written or deleted. */
static enum log_status reserve_index(struct committer *committer, const struct append_list *batch)
{
    int64_t pages = committer->wal_pages + (int64_t)PAGES_A_ROW * RETENTION_ROWS;
    const struct append *append;
    STAILQ_FOREACH (append, batch, next) {
        for (uint32_t i = 0; i < append->count; i++)
            pages += (int64_t)(append->entries[i].message->data_len / PAGE_DATA) + 2 * PAGES_A_ROW;
    }
    if (shm_reserve(&committer->file->shm, pages) == 0)
        return LOG_OK;
    snprintf(committer->error, sizeof committer->error, "making room for %.200s-shm: %s",
             committer->file->path, strerror(errno));
    delay_retry(committer);
    return LOG_FULL;
}

enum log_status commit_batch(struct committer *committer, struct append_list *batch)
{
    if (committer->failed)
        return LOG_FAILED;
    committer->error[0] = '\0';
    if (place_wal_is_cut(&committer->file->place) && !check_files(committer))
        return LOG_FAILED;
    if (reserve_index(committer, batch) != LOG_OK)
        return LOG_FULL;
    int rc = run_transaction(committer, batch);
    if (rc != SQLITE_OK) {
        enum log_status status = roll_back(committer, rc);
        if (status == LOG_FAILED)
            check_files(committer); /* if they are not in place, that is the reason to tell */
        return status;
    }
    if (!check_files(committer)) /* it may be committed into a file without a name */
        return LOG_FAILED;
    note_commit(committer, batch);
    committer->retry_wait_ms = 0;
    committer->retry_ms = 0;
    return LOG_OK;
}

void commit_settle(struct committer *committer)
{
    struct append_list none = STAILQ_HEAD_INITIALIZER(none);
    if (committer->failed || !ledger_is_behind(&committer->ledger))
        return;
    committer->settle = true;
    commit_batch(committer, &none); /* if it cannot be done now, the next transaction may */
    committer->settle = false;
}

/* ---- beginning anew ---- */

/* How many pages of the write-ahead log a page of the database may take when all is deleted: the
 * list of free pages holds a thousand of them on each of its own. */
enum { PAGES_FREED_A_PAGE = 500, PAGES_TO_RESTART = 1000 };

static int empty_tables(sqlite3 *db, const char *epoch, uint64_t floor)
{
    char row[300];
    snprintf(row, sizeof row,
             "UPDATE log SET epoch = '%s', settled = %lld, forgotten = %lld, messages = 0, "
             "bytes = 0, channels = 0, keys = 0, position = NULL",
             epoch, (long long)floor, (long long)floor);
    int rc = sql_exec(db, "DELETE FROM message; DELETE FROM by_channel; DELETE FROM channel; "
                          "DELETE FROM once");
    return rc == SQLITE_OK ? sql_exec(db, row) : rc;
}

static int run_restart(struct committer *committer, const char *epoch, uint64_t floor)
{
    int rc = sql_run(committer->begin);
    if (rc == SQLITE_OK)
        rc = ledger_begin(&committer->ledger);
    if (rc == SQLITE_OK)
        rc = empty_tables(committer->file->db, epoch, floor);
    return rc == SQLITE_OK ? sql_run(committer->commit) : rc;
}

enum log_status commit_restart(struct committer *committer, const char *epoch, uint64_t floor)
{
    struct place *place = &committer->file->place;
    if (committer->failed)
        return LOG_FAILED;
    if (!check_files(committer))
        return LOG_FAILED;
    int64_t pages = place->size / place->page_size / PAGES_FREED_A_PAGE + PAGES_TO_RESTART;
    if (shm_reserve(&committer->file->shm, committer->wal_pages + pages) != 0)
        return LOG_FULL;
    int rc = run_restart(committer, epoch, floor);
    if (rc != SQLITE_OK)
        return roll_back(committer, rc);
    if (!check_files(committer))
        return LOG_FAILED;
    ledger_restart(&committer->ledger, floor);
    once_restart(&committer->once);
    retention_undo(&committer->retention);
    committer->retention.stamps.count = 0;
    mark_restart(&committer->file->mark, epoch, floor);
    committer->commits++;
    committer->checkpoint_ms = clock_steady_ms() + CHECKPOINT_IDLE_MS;
    return LOG_OK;
}

/* ---- checkpoints ---- */

void commit_settle_and_checkpoint(struct committer *committer)
{
    commit_settle(committer);
    commit_checkpoint(committer);
}

/* Plans the next one, after one that was whole or not; quiet: the reader's thread was not reading,
 * so it was not the reason. If another program reads, no pause helps, and it is not tried after
 * each commit. */
static void plan_checkpoint(struct committer *committer, bool whole, bool quiet)
{
    committer->pausing = !whole && !quiet;
    if (committer->pausing)
        pause_ask(committer->file->pause);
    else
        pause_end(committer->file->pause);
    if (committer->wal_pages >= committer->due_pages)
        committer->due_pages = committer->wal_pages + CHECKPOINT_PAGES;
    committer->checkpoint_ms =
        whole ? INT64_MAX : clock_steady_ms() + (committer->pausing ? PAUSE_MS : RETRY_MAX_MS);
}

void commit_checkpoint(struct committer *committer)
{
    bool quiet = pause_is_quiet(committer->file->pause);
    int pages = 0, copied = 0;
    if (committer->failed || !check_files(committer))
        return;
    mark_sync(&committer->file->mark);
    errno = 0;
    int rc = sqlite3_wal_checkpoint_v2(committer->file->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages,
                                       &copied);
    enum log_status status = sql_status(rc);
    plan_checkpoint(committer, rc == SQLITE_OK && copied >= pages, quiet);
    place_checkpointed(&committer->file->place);
    if (status == LOG_FAILED)
        fail_commits(committer, "checkpointing the log", rc);
}

bool commit_checkpoint_is_due(const struct committer *committer, enum log_status status)
{
    if (status != LOG_OK)
        return status == LOG_FULL;
    return committer->wal_pages >= committer->due_pages ||
           (committer->pausing && pause_is_quiet(committer->file->pause));
}

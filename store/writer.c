#define _GNU_SOURCE
#include "store/writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/advice.h"
#include "store/clock.h"
#include "store/thread.h"

/* A sleep until something is too old ends after this long, as somebody may have set the wall clock.
 */
enum { CLOCK_CHECK_MS = 60000 };

/* If the kernel had no memory for the byte in the pipe, it is written again after this long. */
enum { NOTIFY_AGAIN_MS = 10 };

struct writer {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;

    /* Shared; the mutex guards them. */
    struct append_list queue;
    struct report report;
    bool reported; /* the report is not empty; its byte is in the pipe or owed */
    bool sleeping;
    struct restart restart; /* that is wanted; its epoch is "" if none is */
    bool looking;           /* something happened to the files */
    bool stopping;

    /* The thread's own. */
    struct committer committer;
    int notify_fd;
    int64_t notify_ms; /* when to write the byte that is owed; INT64_MAX: none is */
};

/* ---- reports ---- */

static void clear_report(struct report *report)
{
    *report = (struct report){0};
    STAILQ_INIT(&report->done);
    STAILQ_INIT(&report->floors);
}

/* Writes the byte that tells of the report: one for each report that the loop has taken. A pipe
 * that is full has bytes for the loop to read, so it needs no more. After any other error the byte
 * is owed: without it, everybody would wait for ever. */
static void notify_loop(struct writer *writer)
{
    ssize_t wrote;
    do
        wrote = write(writer->notify_fd, "", 1);
    while (wrote < 0 && errno == EINTR);
    writer->notify_ms =
        wrote == 1 || errno == EAGAIN ? INT64_MAX : clock_steady_ms() + NOTIFY_AGAIN_MS;
}

/* Nothing here may fail: a commit that cannot be reported would be worse than none. */
static void deliver_report(struct writer *writer, struct append_list *batch)
{
    struct report *report = &writer->report;
    pthread_mutex_lock(&writer->mutex);
    STAILQ_CONCAT(&report->done, batch);
    STAILQ_CONCAT(&report->floors, &writer->committer.ledger.floors);
    report->totals = writer->committer.ledger.committed;
    report->commits = writer->committer.commits;
    memcpy(report->position, writer->committer.ledger.position, sizeof report->position);
    report->wal_bytes = (uint64_t)writer->committer.file->place.wal_size;
    report->failed = writer->committer.failed;
    if (writer->committer.error[0])
        memcpy(report->error, writer->committer.error, sizeof report->error);
    bool first = !writer->reported;
    writer->reported = true;
    pthread_mutex_unlock(&writer->mutex);
    if (first || writer->notify_ms != INT64_MAX)
        notify_loop(writer);
}

static void set_batch_status(struct append_list *batch, enum log_status status)
{
    struct append *append;
    STAILQ_FOREACH (append, batch, next) {
        append->status = status;
    }
}

/* ---- what there is to do ---- */

/* Does work that may fail the log outside of a commit, and reports if it did. */
static void do_and_report_failure(struct writer *writer, void (*work)(struct committer *))
{
    struct append_list none = STAILQ_HEAD_INITIALIZER(none);
    bool before = writer->committer.failed;
    work(&writer->committer);
    if (writer->committer.failed && !before)
        deliver_report(writer, &none);
}

/* Commits a batch, or with an empty one deletes what is due, and reports. The mark is synced
 * after that, so only the next batch can wait for it: once in MARK_SYNC_MS, and never while
 * checkpoints, which sync it too, come more often. It cannot wait until the queue is empty, as
 * that may never be: MARK_SYNC_MS is what mark.h promises. */
static void commit_and_report(struct writer *writer, struct append_list *batch)
{
    struct committer *committer = &writer->committer;
    uint64_t before = committer->commits;
    enum log_status status = commit_batch(committer, batch);
    if (status != LOG_OK)
        set_batch_status(batch, status);
    if (committer->commits != before || status != LOG_OK || !STAILQ_EMPTY(batch))
        deliver_report(writer, batch);
    mark_sync_if_due(&committer->file->mark, clock_steady_ms());
    if (commit_checkpoint_is_due(committer, status))
        do_and_report_failure(writer, commit_checkpoint);
}

/* Only this thread ends what is wanted, so it may read that without the mutex. */
static void restart_and_report(struct writer *writer)
{
    struct append_list none = STAILQ_HEAD_INITIALIZER(none);
    struct restart *restart = &writer->restart;
    restart->status = commit_restart(&writer->committer, restart->epoch, restart->floor);
    pthread_mutex_lock(&writer->mutex);
    writer->report.restart = *restart;
    restart->epoch[0] = '\0';
    pthread_mutex_unlock(&writer->mutex);
    deliver_report(writer, &none);
}

/* ---- the thread ---- */

enum work {
    WORK_COMMIT,
    WORK_RESTART,
    WORK_NOTIFY,
    WORK_DELETE,
    WORK_CHECKPOINT,
    WORK_LOOK,
    WORK_SLEEP,
    WORK_STOP
};

/* When messages or keys are to be deleted; INT64_MAX: never. */
static int64_t deletion_due_ms(const struct writer *writer, const struct moment *now)
{
    const struct retention *retention = &writer->committer.retention;
    int64_t due = once_due_ms(&writer->committer.once, now);
    int64_t check = now->steady_ms + CLOCK_CHECK_MS;
    if (retention_is_due(retention, now))
        return now->steady_ms;
    if (due > retention->due_ms)
        due = retention->due_ms;
    return due < check || due == INT64_MAX ? due : check;
}

/* What to do now; *until is when a sleep has to end. The mutex is held. */
static enum work next_work(const struct writer *writer, int64_t *until)
{
    const struct moment clocks = clock_moment();
    int64_t now = clocks.steady_ms;
    if (!STAILQ_EMPTY(&writer->queue))
        return WORK_COMMIT;
    if (writer->restart.epoch[0])
        return WORK_RESTART;
    if (writer->stopping)
        return WORK_STOP;
    if (writer->notify_ms <= now)
        return WORK_NOTIFY;
    *until = writer->notify_ms;
    if (writer->committer.failed)
        return WORK_SLEEP;
    if (writer->looking)
        return WORK_LOOK;
    int64_t due = deletion_due_ms(writer, &clocks);
    if (due < writer->committer.retry_ms)
        due = writer->committer.retry_ms;
    if (due <= now)
        return WORK_DELETE;
    if (writer->committer.checkpoint_ms <= now)
        return WORK_CHECKPOINT;
    if (*until > due)
        *until = due;
    if (*until > writer->committer.checkpoint_ms)
        *until = writer->committer.checkpoint_ms;
    return WORK_SLEEP;
}

/* The condition's clock stands still while the machine is suspended, the steady clock does not. */
static void sleep_until(struct writer *writer, int64_t until_ms)
{
    writer->sleeping = true;
    if (until_ms == INT64_MAX)
        pthread_cond_wait(&writer->wake, &writer->mutex);
    else
        condition_wait_ms(&writer->wake, &writer->mutex, until_ms - clock_steady_ms());
    writer->sleeping = false;
}

/* Waits for something to do. Takes all that is queued. */
static enum work wait_for_work(struct writer *writer, struct append_list *batch)
{
    pthread_mutex_lock(&writer->mutex);
    enum work work;
    int64_t until;
    while ((work = next_work(writer, &until)) == WORK_SLEEP)
        sleep_until(writer, until);
    STAILQ_CONCAT(batch, &writer->queue);
    if (work == WORK_LOOK)
        writer->looking = false;
    pthread_mutex_unlock(&writer->mutex);
    return work;
}

static void *run_writer(void *arg)
{
    struct writer *writer = arg;
    struct append_list batch = STAILQ_HEAD_INITIALIZER(batch);
    enum work work;
    while ((work = wait_for_work(writer, &batch)) != WORK_STOP) {
        if (work == WORK_NOTIFY)
            notify_loop(writer);
        else if (work == WORK_RESTART)
            restart_and_report(writer);
        else if (work == WORK_CHECKPOINT)
            do_and_report_failure(writer, commit_settle_and_checkpoint);
        else if (work == WORK_LOOK)
            do_and_report_failure(writer, commit_look);
        else
            commit_and_report(writer, &batch);
    }
    do_and_report_failure(writer, commit_settle);
    return NULL;
}

static void free_writer(struct writer *writer)
{
    commit_free(&writer->committer);
    pthread_cond_destroy(&writer->wake);
    pthread_mutex_destroy(&writer->mutex);
    free(writer);
}

int writer_start(struct writer **out, struct file *file, const struct commit_limits *limits,
                 int notify_fd, struct report *first, char *why, size_t why_size)
{
    struct writer *writer = calloc(1, sizeof *writer);
    if (!writer) {
        snprintf(why, why_size, "out of memory");
        return -1;
    }
    writer->notify_fd = notify_fd;
    writer->notify_ms = INT64_MAX;
    STAILQ_INIT(&writer->queue);
    clear_report(&writer->report);
    pthread_mutex_init(&writer->mutex, NULL);
    condition_init(&writer->wake);
    int rc = commit_init(&writer->committer, file, limits);
    if (rc != SQLITE_OK) {
        advice_explain(file->path, "opened", "SQLite", file->db, rc, why, why_size);
        free_writer(writer);
        return -1;
    }
    writer->report.totals = writer->committer.ledger.committed;
    memcpy(writer->report.position, writer->committer.ledger.position, POSITION_MAX + 1);
    *first = writer->report;
    rc = thread_start(&writer->thread, "encke-writer", run_writer, writer);
    if (rc != 0) {
        snprintf(why, why_size, "the writer's thread cannot be started: %s", strerror(rc));
        free_writer(writer);
        return -1;
    }
    *out = writer;
    return 0;
}

void writer_push(struct writer *writer, struct append_list *appends)
{
    pthread_mutex_lock(&writer->mutex);
    STAILQ_CONCAT(&writer->queue, appends);
    bool wake = writer->sleeping;
    pthread_mutex_unlock(&writer->mutex);
    if (wake)
        pthread_cond_signal(&writer->wake);
}

void writer_restart(struct writer *writer, const struct restart *restart)
{
    pthread_mutex_lock(&writer->mutex);
    writer->restart = *restart;
    pthread_cond_signal(&writer->wake);
    pthread_mutex_unlock(&writer->mutex);
}

void writer_look(struct writer *writer)
{
    pthread_mutex_lock(&writer->mutex);
    writer->looking = true;
    pthread_cond_signal(&writer->wake);
    pthread_mutex_unlock(&writer->mutex);
}

void writer_collect(struct writer *writer, struct report *report)
{
    pthread_mutex_lock(&writer->mutex);
    *report = writer->report;
    /* an empty list's head points into itself: the lists are moved, not copied */
    STAILQ_INIT(&report->done);
    STAILQ_CONCAT(&report->done, &writer->report.done);
    STAILQ_INIT(&report->floors);
    STAILQ_CONCAT(&report->floors, &writer->report.floors);
    writer->report.error[0] = '\0';
    writer->report.restart.epoch[0] = '\0';
    writer->reported = false;
    pthread_mutex_unlock(&writer->mutex);
}

enum log_status writer_stop(struct writer *writer, struct report *report)
{
    pthread_mutex_lock(&writer->mutex);
    writer->stopping = true;
    pthread_cond_signal(&writer->wake);
    pthread_mutex_unlock(&writer->mutex);
    pthread_join(writer->thread, NULL);
    writer_collect(writer, report);
    free_writer(writer);
    return report->failed ? LOG_FAILED : LOG_OK;
}

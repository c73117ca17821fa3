#define _GNU_SOURCE
#include "store/writer.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/advice.h"
#include "store/sql.h"

/* A checkpoint is due once the write-ahead log has this many pages (4 MiB), or some time after the
 * last commit: at once would cost each lonely append two fsyncs more. */
enum { CHECKPOINT_PAGES = 1000, CHECKPOINT_IDLE_MS = 5000 };

/* Rows that a transaction may delete beside as many as it appends, so that retention always gains
 * on the appends and never holds one up for long. */
enum { RETENTION_ROWS = 1000 };

/* What a row that is written or deleted may touch besides its own data: leaves of two trees and
 * what is above them, the list of free pages. PAGE_DATA bytes of data fill a page at least. */
enum { PAGES_A_ROW = 4, PAGE_DATA = 4000 };

/* Retention that met a full disk or a lock, with nothing to append, tries again after this long,
 * and twice as long each time. */
enum { RETRY_MIN_MS = 1000, RETRY_MAX_MS = 60000 };

/* A sleep until a message is too old ends after this long, as the wall clock may have been set. */
enum { CLOCK_LOOK_MS = 60000 };

/* A byte that the kernel had no memory for is written again after this long. */
enum { RING_AGAIN_MS = 10 };

struct writer {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;

    /* Shared; the mutex guards them. */
    struct append_list queue;
    struct report report;
    bool reported; /* the report is not empty, and its byte is in the pipe or owed */
    bool sleeping;
    bool looking; /* something happened to the files */
    bool stopping;

    /* The thread's own. */
    struct file *file;
    struct ledger ledger;
    struct retention retention;
    sqlite3_stmt *begin, *commit, *rollback, *insert;
    int notify_fd;
    int64_t ring_ms; /* when to write the byte that is owed; INT64_MAX: none is */
    uint64_t commits;
    int wal_pages;         /* as of the last commit */
    int64_t checkpoint_ms; /* when to checkpoint if nothing comes; INT64_MAX: nothing to do */
    int64_t retry_ms;      /* when retention may try again */
    int64_t retry_wait_ms;
    bool failed;
    char error[ERROR_SIZE];
};

static int note_wal_pages(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct writer *writer = arg;

    (void)db;
    (void)name;
    writer->wal_pages = pages;
    place_committed(&writer->file->place, pages);
    return SQLITE_OK;
}

/* ---- reports ---- */

static void clear_report(struct report *report)
{
    *report = (struct report){0};
    STAILQ_INIT(&report->done);
    STAILQ_INIT(&report->floors);
}

/* Writes the byte that tells of the report. One byte a report that was taken: a pipe that is full
 * has bytes to be read, and that is as well. After any other error it is owed: without it, all who
 * wait would wait for ever. */
static void ring(struct writer *writer)
{
    ssize_t wrote;

    do
        wrote = write(writer->notify_fd, "", 1);
    while (wrote < 0 && errno == EINTR);
    writer->ring_ms =
        wrote == 1 || errno == EAGAIN ? INT64_MAX : stamps_steady_ms() + RING_AGAIN_MS;
}

/* Nothing here may fail: a commit that cannot be told would be worse than none. */
static void deliver(struct writer *writer, struct append_list *batch)
{
    struct report *report = &writer->report;
    bool first;

    pthread_mutex_lock(&writer->mutex);
    STAILQ_CONCAT(&report->done, batch);
    STAILQ_CONCAT(&report->floors, &writer->ledger.floors);
    report->totals = writer->ledger.committed;
    report->commits = writer->commits;
    report->wal_bytes = (uint64_t)writer->file->place.wal_size;
    report->failed = writer->failed;
    if (writer->error[0])
        memcpy(report->error, writer->error, sizeof report->error);
    first = !writer->reported;
    writer->reported = true;
    pthread_mutex_unlock(&writer->mutex);
    if (first || writer->ring_ms != INT64_MAX)
        ring(writer);
}

static void set_status(struct append_list *batch, enum log_status status)
{
    struct append *append;

    STAILQ_FOREACH (append, batch, next) {
        append->status = status;
    }
}

/* ---- one transaction ---- */

static int insert_message(struct writer *writer, const struct message *message)
{
    sqlite3_stmt *insert = writer->insert;
    struct channel *channel;
    uint64_t seq;
    int rc = ledger_channel(&writer->ledger, message_channel(message), &channel);

    if (rc != SQLITE_OK)
        return rc;
    seq = ledger_add(&writer->ledger, channel, message->data_len);
    rc = sqlite3_bind_int64(insert, 1, (sqlite3_int64)seq);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(insert, 2, channel->id);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(insert, 3, message->time_ms);
    if (rc == SQLITE_OK)
        rc =
            sqlite3_bind_blob64(insert, 4, message_data(message), message->data_len, SQLITE_STATIC);
    return rc == SQLITE_OK ? sql_run(insert) : rc;
}

/* Runs the transaction up to and with COMMIT. Returns SQLITE_OK, or the error, at which it may
 * still be open. */
static int transact(struct writer *writer, const struct append_list *batch)
{
    const struct moment now = stamps_now();
    uint64_t rows = RETENTION_ROWS;
    const struct append *append;
    int rc = sql_run(writer->begin);

    if (rc == SQLITE_OK)
        rc = ledger_begin(&writer->ledger);
    STAILQ_FOREACH (append, batch, next) {
        if (rc != SQLITE_OK)
            return rc;
        rc = insert_message(writer, append->message);
        rows++;
    }
    if (rc == SQLITE_OK)
        rc = retention_run(&writer->retention, &now, rows, STAILQ_EMPTY(batch));
    if (rc == SQLITE_OK && !STAILQ_EMPTY(&writer->ledger.changed))
        rc = ledger_save(&writer->ledger);
    return rc == SQLITE_OK ? sql_run(writer->commit) : rc;
}

/* The messages learn their numbers only now: seq is set means committed. */
static void committed(struct writer *writer, struct append_list *batch)
{
    uint64_t seq = writer->ledger.committed.head;
    int64_t now = stamps_steady_ms();
    struct append *append;

    STAILQ_FOREACH (append, batch, next) {
        append->message->seq = ++seq;
        retention_note(&writer->retention, seq, append->message->time_ms, now);
    }
    assert(seq == writer->ledger.now.head);
    ledger_committed(&writer->ledger);
    mark_set(&writer->file->mark, seq, now); /* before anybody is told */
    writer->commits++;
    writer->checkpoint_ms = now + CHECKPOINT_IDLE_MS;
}

static void fail(struct writer *writer, const char *doing, int rc)
{
    writer->failed = true;
    if (rc == SQLITE_ABORT)
        snprintf(writer->error, sizeof writer->error,
                 "%s: another program wrote into it while we were", writer->file->path);
    else
        sql_explain(writer->error, sizeof writer->error, doing, writer->file->db, rc);
}

/* Looks whether the files are in place; fails the log if they are not. Returns whether they are. */
static bool look(struct writer *writer)
{
    struct place *place = &writer->file->place;
    const char *name, *trouble = place_trouble(place, &name);

    if (!trouble)
        return true;
    if (place_can_be_saved(place))
        sqlite3_wal_checkpoint_v2(writer->file->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    writer->failed = true;
    snprintf(writer->error, sizeof writer->error, "%.300s %s", name, trouble);
    return false;
}

/* As look, while nothing is committed. */
static void look_and_tell(struct writer *writer)
{
    struct append_list none = STAILQ_HEAD_INITIALIZER(none);

    if (!writer->failed && !look(writer))
        deliver(writer, &none);
}

static void retry_later(struct writer *writer)
{
    writer->retry_wait_ms *= 2;
    if (writer->retry_wait_ms < RETRY_MIN_MS)
        writer->retry_wait_ms = RETRY_MIN_MS;
    if (writer->retry_wait_ms > RETRY_MAX_MS)
        writer->retry_wait_ms = RETRY_MAX_MS;
    writer->retry_ms = stamps_steady_ms() + writer->retry_wait_ms;
}

/* Takes back what transact did. What SQLite says of the error is asked first: rolling back changes
 * that. */
static enum log_status undo(struct writer *writer, int rc)
{
    enum log_status status = sql_status(rc);

    if (status == LOG_OK) /* a result that is no error, where one was due: not to be trusted */
        status = LOG_FAILED;
    if (status == LOG_FAILED)
        fail(writer, "writing the log", rc);
    else
        sql_explain(writer->error, sizeof writer->error, "writing the log", writer->file->db, rc);
    if (!sqlite3_get_autocommit(writer->file->db))
        rc = sql_run(writer->rollback);
    if (!sqlite3_get_autocommit(writer->file->db) && !writer->failed) {
        fail(writer, "rolling back", rc);
        status = LOG_FAILED;
    }
    ledger_undo(&writer->ledger);
    retention_undo(&writer->retention);
    retry_later(writer);
    return status;
}

/* Sees to it that the index of the write-ahead log has room for what the transaction may write: of
 * each message its pages, and a few for each row that comes and goes. */
static enum log_status reserve(struct writer *writer, const struct append_list *batch)
{
    int64_t pages = writer->wal_pages + (int64_t)PAGES_A_ROW * RETENTION_ROWS;
    const struct append *append;

    STAILQ_FOREACH (append, batch, next) {
        pages += (int64_t)(append->message->data_len / PAGE_DATA) + 2 * PAGES_A_ROW;
    }
    if (shm_reserve(&writer->file->shm, pages) == 0)
        return LOG_OK;
    snprintf(writer->error, sizeof writer->error, "making room for %.200s-shm: %s",
             writer->file->path, strerror(errno));
    retry_later(writer);
    return LOG_FULL;
}

/* Copies what it can into the database without waiting for readers. One that finds no room is tried
 * again later: nothing is lost, all of it is in the write-ahead log. */
static void checkpoint(struct writer *writer)
{
    struct append_list none = STAILQ_HEAD_INITIALIZER(none);
    enum log_status status;
    int pages = 0, copied = 0;
    int rc;

    look_and_tell(writer);
    if (writer->failed)
        return;
    mark_sync(&writer->file->mark);
    errno = 0;
    rc = sqlite3_wal_checkpoint_v2(writer->file->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages,
                                   &copied);
    status = sql_status(rc);
    writer->checkpoint_ms = stamps_steady_ms() + RETRY_MAX_MS;
    if (rc == SQLITE_OK && copied >= pages)
        writer->checkpoint_ms = INT64_MAX;
    place_checkpointed(&writer->file->place);
    if (status != LOG_FAILED)
        return;
    fail(writer, "checkpointing the log", rc);
    deliver(writer, &none);
}

/* Runs a transaction and sees to the books. Returns the status of all that batch holds. */
static enum log_status commit_or_undo(struct writer *writer, struct append_list *batch)
{
    int rc;

    if (writer->failed)
        return LOG_FAILED;
    writer->error[0] = '\0';
    if (place_wal_is_cut(&writer->file->place) && !look(writer))
        return LOG_FAILED;
    if (reserve(writer, batch) != LOG_OK)
        return LOG_FULL;
    rc = transact(writer, batch);
    if (rc != SQLITE_OK) {
        enum log_status status = undo(writer, rc);

        if (status == LOG_FAILED)
            look(writer); /* that is why, then */
        return status;
    }
    if (!look(writer)) /* what was committed may be in a file without a name: not acknowledged */
        return LOG_FAILED;
    if (!STAILQ_EMPTY(&writer->ledger.changed))
        committed(writer, batch);
    writer->retry_wait_ms = 0;
    writer->retry_ms = 0;
    return LOG_OK;
}

/* Commits a batch, or with none what retention left over, and reports. */
static void commit_batch(struct writer *writer, struct append_list *batch)
{
    uint64_t before = writer->commits;
    enum log_status status = commit_or_undo(writer, batch);

    set_status(batch, status);
    if (writer->commits != before || status != LOG_OK || !STAILQ_EMPTY(batch))
        deliver(writer, batch);
    mark_sync_if_due(&writer->file->mark, stamps_steady_ms());
    /* On a full disk, a checkpoint lets the write-ahead log start over in the room it has. */
    if (status == LOG_FULL || (status == LOG_OK && writer->wal_pages >= CHECKPOINT_PAGES))
        checkpoint(writer);
}

/* ---- the thread ---- */

enum work {
    WORK_COMMIT,
    WORK_RING,
    WORK_RETENTION,
    WORK_CHECKPOINT,
    WORK_LOOK,
    WORK_SLEEP,
    WORK_STOP
};

/* When to look after retention; INT64_MAX: there is nothing to wait for. */
static int64_t retention_ms(const struct writer *writer, const struct moment *now)
{
    int64_t due = writer->retention.due_ms, look = now->steady_ms + CLOCK_LOOK_MS;

    if (retention_is_due(&writer->retention, now))
        return now->steady_ms;
    return due < look || due == INT64_MAX ? due : look;
}

/* What to do now; *until is when a sleep has to end. The mutex is held. */
static enum work next_work(const struct writer *writer, int64_t *until)
{
    const struct moment clocks = stamps_now();
    int64_t now = clocks.steady_ms, due;

    if (!STAILQ_EMPTY(&writer->queue))
        return WORK_COMMIT;
    if (writer->stopping)
        return WORK_STOP;
    if (writer->ring_ms <= now)
        return WORK_RING;
    *until = writer->ring_ms;
    if (writer->failed)
        return WORK_SLEEP;
    if (writer->looking)
        return WORK_LOOK;
    due = retention_ms(writer, &clocks);
    if (due < writer->retry_ms)
        due = writer->retry_ms;
    if (due <= now)
        return WORK_RETENTION;
    if (writer->checkpoint_ms <= now)
        return WORK_CHECKPOINT;
    if (*until > due)
        *until = due;
    if (*until > writer->checkpoint_ms)
        *until = writer->checkpoint_ms;
    return WORK_SLEEP;
}

/* The condition's clock is one that stands still in a suspended machine. */
static void sleep_until(struct writer *writer, int64_t until_ms)
{
    int64_t left_ms = until_ms == INT64_MAX ? 0 : until_ms - stamps_steady_ms();
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    left_ms += until.tv_nsec / 1000000;
    until.tv_sec += left_ms > 0 ? left_ms / 1000 : 0;
    until.tv_nsec = left_ms > 0 ? left_ms % 1000 * 1000000 : 0;
    writer->sleeping = true;
    if (until_ms == INT64_MAX)
        pthread_cond_wait(&writer->wake, &writer->mutex);
    else
        pthread_cond_timedwait(&writer->wake, &writer->mutex, &until);
    writer->sleeping = false;
}

/* Waits for something to do. Takes all that is queued. */
static enum work wait_for_work(struct writer *writer, struct append_list *batch)
{
    enum work work;
    int64_t until;

    pthread_mutex_lock(&writer->mutex);
    while ((work = next_work(writer, &until)) == WORK_SLEEP)
        sleep_until(writer, until);
    STAILQ_CONCAT(batch, &writer->queue);
    if (work == WORK_LOOK)
        writer->looking = false;
    pthread_mutex_unlock(&writer->mutex);
    return work;
}

static void *run(void *arg)
{
    struct writer *writer = arg;
    struct append_list batch = STAILQ_HEAD_INITIALIZER(batch);
    enum work work;

    while ((work = wait_for_work(writer, &batch)) != WORK_STOP) {
        if (work == WORK_RING)
            ring(writer);
        else if (work == WORK_CHECKPOINT)
            checkpoint(writer);
        else if (work == WORK_LOOK)
            look_and_tell(writer);
        else
            commit_batch(writer, &batch);
    }
    return NULL;
}

/* Signals are the loop's: the thread starts with all of them blocked. */
static int start_thread(struct writer *writer)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&writer->thread, NULL, run, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        pthread_setname_np(writer->thread, "encke-writer");
    return error;
}

static int prepare(struct writer *writer, const struct retention_limits *limits)
{
    sqlite3 *db = writer->file->db;
    int rc;

    errno = 0;
    rc = ledger_init(&writer->ledger, db);
    if (rc == SQLITE_OK)
        rc = retention_init(&writer->retention, db, &writer->ledger, limits);
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &writer->begin, "BEGIN IMMEDIATE");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &writer->commit, "COMMIT");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &writer->rollback, "ROLLBACK");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &writer->insert,
                         "INSERT INTO message(seq, channel, time_ms, data) "
                         "VALUES (?1, ?2, ?3, ?4)");
    sqlite3_wal_hook(db, note_wal_pages, writer);
    return rc;
}

static void free_writer(struct writer *writer)
{
    sqlite3_finalize(writer->begin);
    sqlite3_finalize(writer->commit);
    sqlite3_finalize(writer->rollback);
    sqlite3_finalize(writer->insert);
    retention_free(&writer->retention);
    ledger_free(&writer->ledger);
    sqlite3_wal_hook(writer->file->db, NULL, NULL);
    pthread_cond_destroy(&writer->wake);
    pthread_mutex_destroy(&writer->mutex);
    free(writer);
}

static void init_wake(pthread_cond_t *wake)
{
    pthread_condattr_t steady;

    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(wake, &steady);
    pthread_condattr_destroy(&steady);
}

int writer_start(struct writer **out, struct file *file, const struct retention_limits *limits,
                 int notify_fd, struct totals *totals, char *why, size_t why_size)
{
    struct writer *writer = calloc(1, sizeof *writer);
    int rc;

    if (!writer) {
        snprintf(why, why_size, "out of memory");
        return -1;
    }
    writer->file = file;
    writer->notify_fd = notify_fd;
    writer->ring_ms = INT64_MAX;
    writer->checkpoint_ms = file->pending ? stamps_steady_ms() : INT64_MAX;
    STAILQ_INIT(&writer->queue);
    clear_report(&writer->report);
    pthread_mutex_init(&writer->mutex, NULL);
    init_wake(&writer->wake);
    rc = prepare(writer, limits);
    if (rc != SQLITE_OK) {
        advice_explain(file->path, "opened", "SQLite", file->db, rc, why, why_size);
        free_writer(writer);
        return -1;
    }
    *totals = writer->report.totals = writer->ledger.committed;
    rc = start_thread(writer);
    if (rc != 0) {
        snprintf(why, why_size, "the writer's thread cannot be started: %s", strerror(rc));
        free_writer(writer);
        return -1;
    }
    *out = writer;
    return 0;
}

void writer_push(struct writer *writer, struct append *append)
{
    pthread_mutex_lock(&writer->mutex);
    STAILQ_INSERT_TAIL(&writer->queue, append, next);
    if (writer->sleeping)
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
    /* A list's head points into itself while it is empty: move the lists, do not copy them. */
    STAILQ_INIT(&report->done);
    STAILQ_CONCAT(&report->done, &writer->report.done);
    STAILQ_INIT(&report->floors);
    STAILQ_CONCAT(&report->floors, &writer->report.floors);
    writer->report.error[0] = '\0';
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

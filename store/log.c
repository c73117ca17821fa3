/* The log puts two parts together: the writer's thread, and what gives readers their pages, which
 * has the recent messages in memory and the reader's thread. The visible head, the tail and the
 * counters belong to the loop's thread and change in log_drain and log_news_free only. No function
 * here takes a lock, except that those of writer.h and reads.h hold one for a few instructions. */
#define _GNU_SOURCE
#include "store/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/clock.h"
#include "store/epoch.h"
#include "store/file.h"
#include "store/ledger.h"
#include "store/lock.h"
#include "store/mark.h"
#include "store/pages.h"
#include "store/path.h"
#include "store/retention.h"
#include "store/sql.h"
#include "store/writer.h"

struct log {
    struct file file;
    struct writer *writer;
    struct pages pages;
    struct pause pause;
    char epoch[EPOCH_LEN + 1];
    char position[POSITION_MAX + 1];
    struct totals totals; /* as of the last drain */
    int lock_fd;
    int pipe[2];                  /* reading end, writing end */
    struct append_list collected; /* appends that are not with the writer yet */
    bool collect;
    size_t queue_limit;
    size_t queued_bytes; /* message_size of what was appended and not yet drained */
    uint64_t queued, appended, commits;
    uint64_t wal_bytes;
    bool wal_told; /* the operator was told that it has grown */
    log_tell *tell;
    bool restarting;
    bool failed;
    bool put_back;
    char error[SQL_ERROR_SIZE];
};

/* Readers see what the totals say. */
static void show_totals(struct log *log)
{
    log->pages.head = log->totals.head;
    log->pages.messages = log->totals.messages;
    log->pages.tail.forgotten = log->totals.forgotten;
}

/* ---- opening and closing ---- */

static int open_parts(struct log *log, const struct log_options *options, char *why,
                      size_t why_size)
{
    const struct commit_limits limits = {
        .retention = {options->keep_messages, options->keep_age_ms, options->keep_bytes},
        .once = {options->once_ms, options->once_keys ? options->once_keys : UINT64_MAX},
        .channels = options->max_channels ? options->max_channels : UINT64_MAX,
    };
    const struct reads_limits reads_limits = {options->reads_bytes, options->read_ms};
    struct report first;
    char *path = path_resolve(options->path, why, why_size);
    if (!path)
        return -1;
    log->lock_fd = lock_take(path, why, why_size);
    if (log->lock_fd < 0 || file_open(&log->file, path, options->tell, why, why_size) != 0) {
        free(path);
        return -1;
    }
    log->file.pause = &log->pause;
    int put_back =
        mark_open(&log->file.mark, log->lock_fd, log->file.db, log->file.epoch, why, why_size);
    if (put_back < 0)
        return -1;
    log->put_back = put_back;
    memcpy(log->epoch, log->file.epoch, sizeof log->epoch);
    if (pipe2(log->pipe, O_NONBLOCK | O_CLOEXEC) != 0) {
        snprintf(why, why_size, "no notification pipe: %s", strerror(errno));
        return -1;
    }
    /* the tail is loaded before the writer starts, which may delete something at once */
    if (pages_open(&log->pages, log->file.path, &log->pause, options->memory_bytes, &reads_limits,
                   why, why_size) != 0 ||
        writer_start(&log->writer, &log->file, &limits, log->pipe[1], &first, why, why_size) != 0)
        return -1;
    log->totals = first.totals;
    memcpy(log->position, first.position, sizeof log->position);
    show_totals(log);
    return 0;
}

static void close_parts(struct log *log)
{
    pages_close(&log->pages);
    if (log->file.db)
        file_close(&log->file, !log->failed);
    for (int i = 0; i < 2; i++)
        if (log->pipe[i] >= 0)
            close(log->pipe[i]);
    if (log->lock_fd >= 0)
        close(log->lock_fd);
    pause_free(&log->pause);
    free(log);
}

int log_open(struct log **out, const struct log_options *options, char *why, size_t why_size)
{
    struct log *log = calloc(1, sizeof *log);
    if (!log) {
        snprintf(why, why_size, "out of memory");
        return -1;
    }
    log->file = FILE_NONE;
    pause_init(&log->pause);
    log->lock_fd = log->pipe[0] = log->pipe[1] = -1;
    STAILQ_INIT(&log->collected);
    log->collect = options->collect;
    log->queue_limit = options->queue_bytes;
    log->tell = options->tell;
    /* SQLite need not count each allocation under a lock. It refuses this once it is in use, and
     * then stays as it is. */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    if (open_parts(log, options, why, why_size) != 0) {
        close_parts(log);
        return -1;
    }
    *out = log;
    return 0;
}

static enum log_status worst_of(const struct append_list *list, enum log_status worst)
{
    const struct append *append;
    STAILQ_FOREACH (append, list, next) {
        if (append->status == LOG_FAILED)
            return LOG_FAILED;
        if (append->status != LOG_OK)
            worst = append->status;
    }
    return worst;
}

enum log_status log_close(struct log *log)
{
    if (!log)
        return LOG_OK;
    /* the reader is closed first: the connection that is closed last checkpoints, and that must be
     * the one that writes */
    pages_close(&log->pages);
    struct report report;
    log_hand_over(log);
    enum log_status status = writer_stop(log->writer, &report);
    status = worst_of(&report.done, status);
    log->failed = log->failed || report.failed;
    if (log->failed)
        status = LOG_FAILED;
    append_free_list(&report.done);
    ledger_free_floors(&report.floors);
    close_parts(log);
    return status;
}

/* ---- asking ---- */

int log_fd(const struct log *log)
{
    return log->pipe[0];
}

int log_watch_fd(struct log *log)
{
    return place_watch(&log->file.place);
}

void log_look(struct log *log)
{
    place_drain(&log->file.place);
    writer_look(log->writer);
}

const char *log_epoch(const struct log *log)
{
    return log->epoch;
}

bool log_was_put_back(const struct log *log)
{
    return log->put_back;
}

const char *log_position(const struct log *log)
{
    return log->position;
}

uint64_t log_head(const struct log *log)
{
    return log->totals.head;
}

const char *log_error(const struct log *log)
{
    return log->error[0] ? log->error : NULL;
}

void log_stats(const struct log *log, struct log_stats *stats)
{
    *stats = (struct log_stats){.messages = log->totals.messages,
                                .bytes = log->totals.bytes,
                                .appended = log->appended,
                                .commits = log->commits,
                                .queued = log->queued,
                                .reads = reads_count(log->pages.reads),
                                .wal_bytes = log->wal_bytes};
}

/* ---- appending ---- */

/* A message larger than the whole queue may still be queued when it is alone. */
static bool has_room(const struct log *log, size_t size)
{
    return log->queued == 0 || log->queued_bytes + size <= log->queue_limit;
}

static size_t size_of_all(struct message *const *messages, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += message_size(messages[i]);
    return size;
}

enum log_status log_append_at(struct log *log, struct message *const *messages, size_t count,
                              uint64_t seq, const char *position, const struct append_ops *ops,
                              void *owner, struct append **out)
{
    size_t size = size_of_all(messages, count);
    if (log->failed)
        return LOG_FAILED;
    if (log->restarting || !has_room(log, size))
        return LOG_QUEUE;
    struct append *append = append_new(messages, count, position);
    if (!append)
        return LOG_NO_MEMORY;
    append->seq = seq;
    append->ops = ops;
    append->owner = owner;
    log->queued += count;
    log->queued_bytes += size;
    if (out)
        *out = append;
    STAILQ_INSERT_TAIL(&log->collected, append, next);
    if (!log->collect)
        log_hand_over(log);
    return LOG_OK;
}

enum log_status log_append(struct log *log, struct message *const *messages, size_t count,
                           const struct append_ops *ops, void *owner, struct append **out)
{
    return log_append_at(log, messages, count, 0, NULL, ops, owner, out);
}

void log_hand_over(struct log *log)
{
    if (!STAILQ_EMPTY(&log->collected))
        writer_push(log->writer, &log->collected);
}

enum log_status log_restart(struct log *log, const char *epoch, uint64_t floor)
{
    struct restart restart = {.floor = floor};
    assert(epoch_is_valid(epoch) && floor <= INT64_MAX);
    if (log->failed)
        return LOG_FAILED;
    if (log->queued > 0 || log->restarting)
        return LOG_QUEUE;
    log->restarting = true;
    memcpy(restart.epoch, epoch, sizeof restart.epoch);
    writer_restart(log->writer, &restart);
    return LOG_OK;
}

/* ---- draining ---- */

/* To be called before the report is taken: then the byte of a report that comes in between stays.
 */
static void empty_pipe(int fd)
{
    char bytes[64];
    ssize_t len;
    do
        len = read(fd, bytes, sizeof bytes);
    while (len == (ssize_t)sizeof bytes || (len < 0 && errno == EINTR)); /* less: it is empty */
}

static void take_append(struct log *log, const struct append *append)
{
    for (uint32_t i = 0; i < append->count; i++) {
        const struct append_entry *entry = &append->entries[i];
        log->queued--;
        log->queued_bytes -= message_size(entry->message);
        if (append->status != LOG_OK || entry->duplicate)
            continue;
        log->appended++;
        tail_add(&log->pages.tail, entry->message);
    }
}

static void take_messages(struct log *log, const struct append_list *done)
{
    const struct append *append;
    STAILQ_FOREACH (append, done, next) {
        take_append(log, append);
    }
}

/* The floors are taken after all messages, also of later commits: a floor that moved in an earlier
 * commit is below what later commits appended. */
static void take_floors(struct log *log, struct floor_list *floors)
{
    struct floor *floor;
    STAILQ_FOREACH (floor, floors, next) {
        tail_forget(&log->pages.tail, floor->channel, floor->seq);
    }
    if (!STAILQ_EMPTY(floors))
        reads_drop_kept(log->pages.reads);
    ledger_free_floors(floors);
}

static void tell_wal(struct log *log, uint64_t bytes)
{
    bool much = bytes >= (log->wal_told ? LOG_WAL_USUAL + 1 : LOG_WAL_MUCH);
    log->wal_bytes = bytes;
    if (!log->tell || much == log->wal_told)
        return;
    log->wal_told = much;
    char line[2 * PATH_MAX + 200];
    if (much)
        snprintf(line, sizeof line,
                 "%s-wal has grown to %llu MiB: if another program reads the log in one long "
                 "transaction, end it (fuser -v %s lists who has it open)",
                 log->file.path, (unsigned long long)bytes >> 20, log->file.path);
    else
        snprintf(line, sizeof line, "%s-wal has its usual size again", log->file.path);
    log->tell(much ? LOG_TELL_WARN : LOG_TELL_INFO, line);
}

static void take_totals(struct log *log, const struct report *report)
{
    log->totals = report->totals;
    memcpy(log->position, report->position, sizeof log->position);
    show_totals(log);
    log->commits = report->commits;
    tell_wal(log, report->wal_bytes);
    log->failed = log->failed || report->failed;
    if (report->error[0])
        memcpy(log->error, report->error, sizeof log->error);
}

/* The totals of the report are those after it. Nothing was appended meanwhile. */
static void take_restart(struct log *log, const struct restart *restart, struct log_news *news)
{
    news->restarted = restart->epoch[0] != '\0';
    news->restart = restart->status;
    if (!news->restarted)
        return;
    log->restarting = false;
    if (restart->status != LOG_OK)
        return;
    memcpy(log->epoch, restart->epoch, sizeof log->epoch);
    pages_restart(&log->pages, restart->floor);
}

void log_drain(struct log *log, struct log_news *news)
{
    log_hand_over(log);
    empty_pipe(log->pipe[0]);
    struct report report;
    writer_collect(log->writer, &report);
    news->before = log->totals.head;
    take_messages(log, &report.done);
    take_floors(log, &report.floors);
    take_restart(log, &report.restart, news);
    take_totals(log, &report);
    news->head = log->totals.head;
    news->failed = log->failed;
    STAILQ_INIT(&news->done);
    STAILQ_CONCAT(&news->done, &report.done);
}

void log_news_free(struct log *log, struct log_news *news)
{
    append_free_list(&news->done);
    pages_trim(&log->pages);
}

/* ---- reading ---- */

enum log_status log_read(struct log *log, const char *const *channels, size_t count,
                         struct cursor cursor, struct page_limit limit, struct page *page)
{
    *page = (struct page){.next = log->pages.head};
    if (log->failed)
        return LOG_FAILED;
    return pages_read(&log->pages, channels, count, cursor, limit, page);
}

enum log_status log_read_later(struct log *log, const char *const *channels, size_t count,
                               struct cursor cursor, struct page_limit limit, read_done *done,
                               void *owner, struct read **out)
{
    if (log->failed)
        return LOG_FAILED;
    return pages_read_later(&log->pages, channels, count, cursor, limit, done, owner, out);
}

enum log_status log_read_newest(struct log *log, const char *channel, uint64_t before,
                                read_done *done, void *owner, struct read **out)
{
    if (log->failed)
        return LOG_FAILED;
    return pages_read_newest(&log->pages, channel, before, done, owner, out);
}

void log_read_cancel(struct log *log, struct read *read)
{
    reads_forget(log->pages.reads, read);
    free(read);
}

int log_reads_fd(const struct log *log)
{
    return reads_fd(log->pages.reads);
}

/* After what the reader's connection met, the log cannot be trusted. The next drain reports it, as
 * it reports the writer's failures. */
static void note_reader_failure(struct log *log)
{
    if (log->failed)
        return;
    reads_error(log->pages.reads, log->error);
    log->failed = true;
    if (write(log->pipe[1], "", 1) < 0 && errno != EAGAIN)
        return; /* who asked is told LOG_FAILED, too */
}

void log_tell_reads(struct log *log, int64_t ms)
{
    int64_t until_ms = clock_steady_ms() + ms;
    enum log_status status;
    struct page page;
    struct read *read;
    while ((read = pages_next(&log->pages, &status, &page)) != NULL) {
        if (status == LOG_FAILED)
            note_reader_failure(log);
        read->done(read->owner, log->failed ? LOG_FAILED : status, &page);
        page_free(&page);
        free(read);
        if (clock_steady_ms() >= until_ms) {
            reads_remind(log->pages.reads);
            return;
        }
    }
}

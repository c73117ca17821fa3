#define _GNU_SOURCE
#include "store/reads.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "store/clock.h"
#include "store/thread.h"

TAILQ_HEAD(disk_reads, disk_read);
STAILQ_HEAD(jobs, disk_read);

struct reads {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;

    /* Shared; the mutex guards them. */
    struct jobs jobs;           /* handed over, not begun */
    unsigned finished;          /* so many of those under way are over: the first ones */
    char error[SQL_ERROR_SIZE]; /* of the latest that failed */
    bool sleeping, stopping, ended;

    /* The thread's own. */
    struct reader *reader;
    struct pause *pause;
    int64_t read_ms;

    /* The loop's own. */
    const struct tail *tail;
    struct disk_read *by_key; /* all of them */
    struct disk_reads waiting, under_way, over, kept;
    unsigned ahead; /* under way, or over */
    size_t queue_limit, queue_bytes, kept_bytes;
    size_t count;  /* owners that wait */
    bool reminded; /* the descriptor is readable, although nothing may have finished */
    int event_fd;
};

/* ---- the thread ---- */

static struct disk_read *wait_for_job(struct reads *reads)
{
    pthread_mutex_lock(&reads->mutex);
    reads->sleeping = true;
    while (STAILQ_EMPTY(&reads->jobs) && !reads->stopping)
        pthread_cond_wait(&reads->wake, &reads->mutex);
    reads->sleeping = false;
    struct disk_read *job = reads->stopping ? NULL : STAILQ_FIRST(&reads->jobs);
    if (job)
        STAILQ_REMOVE_HEAD(&reads->jobs, job);
    pthread_mutex_unlock(&reads->mutex);
    return job;
}

static enum log_status read_newest(struct reader *reader, struct disk_read *job)
{
    struct message *message;
    struct page_fill fill = {.page = &job->page.page, .limit = {1, 1}};
    enum log_status status =
        reader_newest(reader, *job->question.channels, job->page.upto, &message);
    if (status != LOG_OK || !message || page_add(&fill, message) == 0)
        return status;
    message_drop(message);
    return LOG_NO_MEMORY;
}

static enum log_status read_disk_page(const struct reads *reads, struct disk_read *job)
{
    struct page_fill fill = {.page = &job->page.page, .limit = job->question.limit};
    if (reads->read_ms > 0)
        fill.until_ms = clock_steady_ms() + reads->read_ms;
    return reader_read(reads->reader, job->question.channels, job->question.count, job->page.after,
                       job->page.upto, &fill, &job->page.floors);
}

/* The descriptor is readable as long as something has finished, or the loop reminds itself. */
static void finish_job(struct reads *reads, const struct disk_read *job)
{
    pthread_mutex_lock(&reads->mutex);
    if (reads->finished++ == 0)
        eventfd_write(reads->event_fd, 1);
    if (job->status != LOG_OK)
        snprintf(reads->error, sizeof reads->error, "%s", reader_error(reads->reader));
    pthread_mutex_unlock(&reads->mutex);
}

static void *run_reads(void *arg)
{
    struct reads *reads = arg;
    struct disk_read *job;
    while ((job = wait_for_job(reads)) != NULL) {
        pause_before_read(reads->pause);
        job->status =
            job->question.newest ? read_newest(reads->reader, job) : read_disk_page(reads, job);
        pause_after_read(reads->pause);
        finish_job(reads, job);
    }
    pthread_mutex_lock(&reads->mutex);
    reads->ended = true;
    pthread_cond_signal(&reads->wake);
    pthread_mutex_unlock(&reads->mutex);
    return NULL;
}

/* ---- from asked to freed ---- */

/* Hands reads over, as long as there are few ahead. */
static void hand_reads_over(struct reads *reads)
{
    struct disk_read *disk;
    while (reads->ahead < READS_AHEAD && (disk = TAILQ_FIRST(&reads->waiting)) != NULL) {
        TAILQ_REMOVE(&reads->waiting, disk, next);
        TAILQ_INSERT_TAIL(&reads->under_way, disk, next);
        disk->stage = READ_UNDER_WAY;
        disk->page.upto = disk->question.newest ? disk->question.seq : reads->tail->start;
        reads->ahead++;
        pthread_mutex_lock(&reads->mutex);
        STAILQ_INSERT_TAIL(&reads->jobs, disk, job);
        bool wake = reads->sleeping;
        pthread_mutex_unlock(&reads->mutex);
        if (wake)
            pthread_cond_signal(&reads->wake);
    }
}

/* Takes over what the thread has finished. */
static void collect_finished(struct reads *reads)
{
    pthread_mutex_lock(&reads->mutex);
    unsigned finished = reads->finished;
    eventfd_t count;
    if (finished > 0 || reads->reminded)
        eventfd_read(reads->event_fd, &count);
    reads->finished = 0;
    reads->reminded = false;
    pthread_mutex_unlock(&reads->mutex);
    while (finished-- > 0) {
        struct disk_read *disk = TAILQ_FIRST(&reads->under_way);
        TAILQ_REMOVE(&reads->under_way, disk, next);
        TAILQ_INSERT_TAIL(&reads->over, disk, next);
        disk->stage = READ_OVER;
    }
}

static void drop_disk_read(struct reads *reads, struct disk_read *disk)
{
    HASH_DEL(reads->by_key, disk);
    reads->queue_bytes -= disk_read_size(disk);
    disk_read_free(disk);
}

static void unkeep(struct reads *reads, struct disk_read *disk)
{
    TAILQ_REMOVE(&reads->kept, disk, next);
    reads->kept_bytes -= disk->page_bytes;
    reads->queue_bytes += disk_read_size(disk);
}

static void drop_kept(struct reads *reads, struct disk_read *disk)
{
    unkeep(reads, disk);
    drop_disk_read(reads, disk);
}

static void keep_disk_read(struct reads *reads, struct disk_read *disk)
{
    TAILQ_INSERT_TAIL(&reads->kept, disk, next);
    disk->stage = READ_KEPT;
    reads->kept_bytes += disk->page_bytes;
    reads->queue_bytes -= disk_read_size(disk);
    while (reads->kept_bytes > READS_KEPT_BYTES)
        drop_kept(reads, TAILQ_FIRST(&reads->kept));
}

/* One that is kept is over once more: somebody else is to be told. */
static void revive_kept(struct reads *reads, struct disk_read *disk)
{
    unkeep(reads, disk);
    TAILQ_INSERT_TAIL(&reads->over, disk, next);
    disk->stage = READ_OVER;
    reads->ahead++;
    reads_remind(reads);
}

/* All owners of one that is over have been told. */
static void retire(struct reads *reads, struct disk_read *disk)
{
    TAILQ_REMOVE(&reads->over, disk, next);
    reads->ahead--;
    disk->page_bytes = disk_read_page_bytes(disk);
    if (disk->status == LOG_OK)
        keep_disk_read(reads, disk);
    else
        drop_disk_read(reads, disk);
    hand_reads_over(reads);
}

/* ---- asking and answering ---- */

static bool has_read_room(const struct reads *reads, size_t size)
{
    return reads->queue_bytes == 0 || reads->queue_bytes + size <= reads->queue_limit;
}

/* Lets a new read wait, if there is room. */
static enum log_status enter_queue(struct reads *reads, struct disk_read *disk)
{
    size_t size = disk_read_size(disk);
    if (!has_read_room(reads, size + sizeof(struct read)))
        return LOG_BUSY;
    HASH_ADD_KEYPTR(hh, reads->by_key, disk->key, disk->key_len, disk);
    if (!disk->hh.tbl)
        return LOG_NO_MEMORY;
    TAILQ_INSERT_TAIL(&reads->waiting, disk, next);
    reads->queue_bytes += size;
    return LOG_OK;
}

/* Whether a page that is kept no longer says all it could: it was the last one, and memory does not
 * go on from its end any more. */
static bool is_outdated(const struct reads *reads, const struct disk_read *disk)
{
    return disk->stage == READ_KEPT && !disk->page.page.more &&
           reads->tail->start > disk->page.upto;
}

static struct disk_read *find_read(struct reads *reads, const struct disk_read *like)
{
    struct disk_read *disk;
    HASH_FIND(hh, reads->by_key, like->key, like->key_len, disk);
    if (!disk || !is_outdated(reads, disk))
        return disk;
    drop_kept(reads, disk);
    return NULL;
}

/* The read that answers the question: one that is there already, or a new one. */
static enum log_status find_or_make_read(struct reads *reads, const struct question *question,
                                         struct disk_read **out)
{
    struct disk_read *disk = disk_read_new(question);
    if (!disk)
        return LOG_NO_MEMORY;
    enum log_status status = LOG_OK;
    *out = find_read(reads, disk);
    if (*out)
        status = has_read_room(reads, sizeof(struct read)) ? LOG_OK : LOG_BUSY;
    else if ((status = enter_queue(reads, disk)) == LOG_OK)
        *out = disk;
    if (*out != disk)
        disk_read_free(disk);
    return status;
}

static void enter_owners(struct reads *reads, struct disk_read *disk, struct read *read)
{
    reads->count++;
    reads->queue_bytes += sizeof *read;
    TAILQ_INSERT_TAIL(&disk->owners, read, link);
    read->disk = disk;
}

enum log_status reads_ask(struct reads *reads, const struct question *question, struct read *read)
{
    struct disk_read *disk = NULL;
    enum log_status status = find_or_make_read(reads, question, &disk);
    if (status != LOG_OK)
        return status;
    if (disk->stage == READ_KEPT)
        revive_kept(reads, disk);
    enter_owners(reads, disk, read);
    hand_reads_over(reads);
    return LOG_OK;
}

static void leave_owners(struct reads *reads, struct read *read)
{
    TAILQ_REMOVE(&read->disk->owners, read, link);
    reads->queue_bytes -= sizeof *read;
    reads->count--;
}

/* Lets go of a read that has no owners any more. One that is under way cannot be stopped. */
static void let_go_unowned(struct reads *reads, struct disk_read *disk)
{
    if (!TAILQ_EMPTY(&disk->owners))
        return;
    if (disk->stage == READ_OVER) {
        retire(reads, disk);
    } else if (disk->stage == READ_WAITS) {
        TAILQ_REMOVE(&reads->waiting, disk, next);
        drop_disk_read(reads, disk);
    }
}

void reads_forget(struct reads *reads, struct read *read)
{
    leave_owners(reads, read);
    let_go_unowned(reads, read->disk);
}

enum log_status reads_ask_again(struct reads *reads, struct read *read,
                                const struct question *question)
{
    struct disk_read *disk = read->disk;
    leave_owners(reads, read);
    enum log_status status = reads_ask(reads, question, read);
    if (status != LOG_OK)
        enter_owners(reads, disk, read);
    let_go_unowned(reads, disk);
    return status;
}

struct read *reads_next(struct reads *reads)
{
    struct disk_read *disk;
    if (TAILQ_EMPTY(&reads->over))
        collect_finished(reads);
    while ((disk = TAILQ_FIRST(&reads->over)) != NULL && TAILQ_EMPTY(&disk->owners))
        retire(reads, disk);
    return disk ? TAILQ_FIRST(&disk->owners) : NULL;
}

void reads_remind(struct reads *reads)
{
    reads->reminded = true;
    eventfd_write(reads->event_fd, 1);
}

int reads_fd(const struct reads *reads)
{
    return reads->event_fd;
}

void reads_error(struct reads *reads, char text[SQL_ERROR_SIZE])
{
    pthread_mutex_lock(&reads->mutex);
    memcpy(text, reads->error, sizeof reads->error);
    pthread_mutex_unlock(&reads->mutex);
}

size_t reads_count(const struct reads *reads)
{
    return reads->count;
}

uint64_t reads_pinned(const struct reads *reads)
{
    const struct disk_read *first = TAILQ_FIRST(&reads->over);
    if (!first)
        first = TAILQ_FIRST(&reads->under_way);
    return first ? first->page.upto : UINT64_MAX;
}

void reads_drop_kept(struct reads *reads)
{
    while (!TAILQ_EMPTY(&reads->kept))
        drop_kept(reads, TAILQ_FIRST(&reads->kept));
}

/* ---- life ---- */

static void free_reads(struct reads *reads)
{
    struct disk_read *disk, *next;
    HASH_ITER (hh, reads->by_key, disk, next) {
        HASH_DEL(reads->by_key, disk);
        disk_read_free(disk);
    }
    if (reads->event_fd >= 0)
        close(reads->event_fd);
    pthread_cond_destroy(&reads->wake);
    pthread_mutex_destroy(&reads->mutex);
    reader_close(reads->reader);
    free(reads);
}

static struct reads *reads_new(struct reader *reader, const struct tail *tail, struct pause *pause,
                               const struct reads_limits *limits)
{
    struct reads *reads = calloc(1, sizeof *reads);
    if (!reads)
        return NULL;
    reads->reader = reader;
    reads->tail = tail;
    reads->pause = pause;
    reads->queue_limit = limits->queue_bytes;
    reads->read_ms = limits->read_ms;
    reads->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&reads->mutex, NULL);
    condition_init(&reads->wake);
    STAILQ_INIT(&reads->jobs);
    TAILQ_INIT(&reads->waiting);
    TAILQ_INIT(&reads->under_way);
    TAILQ_INIT(&reads->over);
    TAILQ_INIT(&reads->kept);
    return reads;
}

int reads_start(struct reads **out, struct reader *reader, const struct tail *tail,
                struct pause *pause, const struct reads_limits *limits, char *why, size_t why_size)
{
    struct reads *reads = reads_new(reader, tail, pause, limits);
    if (!reads) {
        reader_close(reader);
        snprintf(why, why_size, "out of memory");
        return -1;
    }
    int rc = reads->event_fd < 0 ? errno
                                 : thread_start(&reads->thread, "encke-reader", run_reads, reads);
    if (rc != 0) {
        snprintf(why, why_size, "the reader's thread cannot be started: %s", strerror(rc));
        free_reads(reads);
        return -1;
    }
    *out = reads;
    return 0;
}

/* A statement can be interrupted only while it runs, so that is done until the thread has ended. */
void reads_stop(struct reads *reads)
{
    enum { INTERRUPT_AGAIN_MS = 10 };
    if (!reads)
        return;
    pause_end(reads->pause);
    pthread_mutex_lock(&reads->mutex);
    reads->stopping = true;
    pthread_cond_signal(&reads->wake);
    while (!reads->ended) {
        reader_interrupt(reads->reader);
        condition_wait_ms(&reads->wake, &reads->mutex, INTERRUPT_AGAIN_MS);
    }
    pthread_mutex_unlock(&reads->mutex);
    pthread_join(reads->thread, NULL);
    free_reads(reads);
}

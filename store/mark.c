#include "store/mark.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/advice.h"
#include "store/epoch.h"
#include "store/lock.h"
#include "store/schema.h"
#include "store/sql.h"

/* What the file holds behind the owner's process id. */
struct record {
    _Atomic uint64_t seq; /* aligned: it is stored as a whole, however the process ends */
    char epoch[EPOCH_LEN];
};

enum { RECORD_LEN = offsetof(struct record, epoch) + EPOCH_LEN, PAGE = 4096 };

/* ---- the record ---- */

static bool read_record(const struct mark *mark, char epoch[EPOCH_LEN + 1], uint64_t *seq)
{
    struct record record;
    if (pread(mark->fd, &record, RECORD_LEN, LOCK_OWNER_SIZE) != RECORD_LEN)
        return false;
    memcpy(epoch, record.epoch, EPOCH_LEN);
    epoch[EPOCH_LEN] = '\0';
    *seq = record.seq;
    return epoch_is_valid(epoch);
}

/* Writes the whole record, and maps it. */
static bool make_record(struct mark *mark)
{
    struct record record = {.seq = mark->seq};
    memcpy(record.epoch, mark->epoch, EPOCH_LEN);
    errno = ENOSPC; /* if the write is short */
    if (pwrite(mark->fd, &record, RECORD_LEN, LOCK_OWNER_SIZE) != RECORD_LEN)
        return false;
    mark->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, mark->fd, 0);
    if (mark->page == MAP_FAILED)
        mark->page = NULL;
    return mark->page != NULL;
}

/* Whether a store to the page would end the process by SIGBUS: somebody cut the file short, or its
 * file system writes to another place each time, and is full. */
static bool page_is_lost(const struct mark *mark)
{
    return madvise(mark->page, PAGE, MADV_POPULATE_WRITE) != 0 &&
           errno != EINVAL; /* Linux before 5.14 cannot tell */
}

static void store_seq(struct mark *mark)
{
    struct record *record = (struct record *)((char *)mark->page + LOCK_OWNER_SIZE);
    atomic_store_explicit(&record->seq, mark->seq, memory_order_relaxed);
}

static bool sync_record(struct mark *mark)
{
    mark->unsynced = fdatasync(mark->fd) != 0;
    return !mark->unsynced;
}

void mark_set(struct mark *mark, uint64_t seq, int64_t now_ms)
{
    if (seq == mark->seq)
        return;
    mark->seq = seq;
    if (mark->page ? page_is_lost(mark) : !make_record(mark))
        return; /* the mark stays behind, which is sound: see mark.h */
    store_seq(mark);
    if (!mark->unsynced)
        mark->sync_ms = now_ms + MARK_SYNC_MS;
    mark->unsynced = true;
}

static void unmap_record(struct mark *mark)
{
    if (mark->page)
        munmap(mark->page, PAGE);
    mark->page = NULL;
}

void mark_restart(struct mark *mark, const char *epoch, uint64_t seq)
{
    unmap_record(mark);
    memcpy(mark->epoch, epoch, sizeof mark->epoch);
    mark->seq = seq;
    if (make_record(mark))
        sync_record(mark);
}

void mark_sync(struct mark *mark)
{
    if (mark->unsynced && !sync_record(mark))
        return; /* as above */
}

void mark_sync_if_due(struct mark *mark, int64_t now_ms)
{
    if (now_ms >= mark->sync_ms)
        mark_sync(mark);
}

void mark_close(struct mark *mark)
{
    mark_sync(mark);
    unmap_record(mark);
    *mark = (struct mark){.fd = -1};
}

/* ---- at the start ---- */

static int read_head(sqlite3 *db, uint64_t *head)
{
    sqlite3_int64 value = 0;
    int rc = sql_number_of(db, "SELECT " SCHEMA_HEAD " FROM log", &value);
    *head = (uint64_t)value;
    return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int renew_epoch(sqlite3 *db, char epoch[EPOCH_LEN + 1], char *why, size_t why_size)
{
    char drawn[EPOCH_LEN + 1];
    if (epoch_draw(drawn) != 0) {
        snprintf(why, why_size, "no random number for the log's epoch: %s", strerror(errno));
        return -1;
    }
    int rc = sql_run_with(db, "UPDATE log SET epoch = ?1", drawn); /* durable with SQLITE_OK */
    if (rc != SQLITE_OK) {
        sql_explain(why, why_size, "the log was put back, but cannot be given a new epoch", db, rc);
        return -1;
    }
    memcpy(epoch, drawn, sizeof drawn);
    return 0;
}

/* Writes the record of the log as it is. With a new epoch that must succeed: if the old record
 * stayed, each later start would take the log for one that was put back. */
static int start_record(struct mark *mark, bool new_epoch, char *why, size_t why_size)
{
    if ((make_record(mark) && sync_record(mark)) || !new_epoch)
        return 0;
    snprintf(why, why_size, "the log's .lock cannot be written: %s: %s", strerror(errno),
             advice_for(errno));
    return -1;
}

int mark_open(struct mark *mark, int fd, sqlite3 *db, char epoch[EPOCH_LEN + 1], char *why,
              size_t why_size)
{
    uint64_t head, left = 0;
    *mark = (struct mark){.fd = fd};
    errno = 0;
    int rc = read_head(db, &head);
    if (rc != SQLITE_OK) {
        sql_explain(why, why_size, "the log's head cannot be read", db, rc);
        return -1;
    }
    char left_epoch[EPOCH_LEN + 1];
    bool known = read_record(mark, left_epoch, &left);
    bool other = known && strcmp(left_epoch, epoch) != 0;
    bool renew = other || (known && head < left);
    if (renew && renew_epoch(db, epoch, why, why_size) != 0)
        return -1;
    memcpy(mark->epoch, epoch, sizeof mark->epoch);
    mark->seq = head;
    if (start_record(mark, renew, why, why_size) != 0)
        return -1;
    /* an empty log of another epoch has most likely just been made, where one was removed */
    return renew && !(other && head == 0);
}

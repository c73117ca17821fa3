#include "store/mark.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/advice.h"
#include "store/file.h"
#include "store/lock.h"
#include "store/sql.h"

/* "EPOCH SEQ\n", the seq with leading zeros, so that it always has the same place. */
enum { SEQ_LEN = 20, RECORD_LEN = EPOCH_LEN + 1 + SEQ_LEN + 1 };

/* ---- the record ---- */

static bool read_record(const struct mark *mark, char epoch[EPOCH_LEN + 1], uint64_t *seq)
{
    char text[RECORD_LEN + 1] = "";

    if (pread(mark->fd, text, RECORD_LEN, LOCK_OWNER_SIZE) != RECORD_LEN)
        return false;
    if (strspn(text, "0123456789abcdef") != EPOCH_LEN || text[EPOCH_LEN] != ' ' ||
        strspn(text + EPOCH_LEN + 1, "0123456789") != SEQ_LEN || text[RECORD_LEN - 1] != '\n')
        return false;
    memcpy(epoch, text, EPOCH_LEN);
    epoch[EPOCH_LEN] = '\0';
    *seq = strtoull(text + EPOCH_LEN + 1, NULL, 10);
    return true;
}

static bool write_record(const struct mark *mark)
{
    char text[RECORD_LEN + 1];

    snprintf(text, sizeof text, "%s %0*" PRIu64 "\n", mark->epoch, SEQ_LEN, mark->seq);
    errno = ENOSPC; /* of a short write */
    return pwrite(mark->fd, text, RECORD_LEN, LOCK_OWNER_SIZE) == RECORD_LEN;
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
    if (!write_record(mark))
        return; /* it stays behind, which is sound: see mark.h */
    if (!mark->unsynced)
        mark->sync_ms = now_ms + MARK_SYNC_MS;
    mark->unsynced = true;
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

/* ---- at the start ---- */

static int read_head(sqlite3 *db, uint64_t *head)
{
    sqlite3_stmt *select = NULL;
    sqlite3_int64 value = 0;
    int rc = sql_prepare(db, &select, "SELECT head FROM log");

    if (rc == SQLITE_OK)
        rc = sql_number(select, &value);
    sqlite3_finalize(select);
    *head = (uint64_t)value;
    return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* One transaction, durable when this returns SQLITE_OK. */
static int save_epoch(sqlite3 *db, const char *epoch)
{
    sqlite3_stmt *update = NULL;
    int rc = sql_prepare(db, &update, "UPDATE log SET epoch = ?1");

    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(update, 1, epoch, EPOCH_LEN, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sql_run(update);
    sqlite3_finalize(update);
    return rc;
}

static int renew_epoch(sqlite3 *db, char epoch[EPOCH_LEN + 1], char *why, size_t why_size)
{
    char drawn[EPOCH_LEN + 1];
    int rc;

    if (file_draw_epoch(drawn) != 0) {
        snprintf(why, why_size, "no random number for the log's epoch: %s", strerror(errno));
        return -1;
    }
    errno = 0;
    rc = save_epoch(db, drawn);
    if (rc != SQLITE_OK) {
        sql_explain(why, why_size, "the log was put back, but cannot be given a new epoch", db, rc);
        return -1;
    }
    memcpy(epoch, drawn, sizeof drawn);
    return 0;
}

/* Begins to remember the log as it is. That must succeed for a new epoch: if the record of another
 * stayed, each start from now on would take the log for one that was put back. */
static int begin(struct mark *mark, bool new_epoch, char *why, size_t why_size)
{
    if ((write_record(mark) && sync_record(mark)) || !new_epoch)
        return 0;
    snprintf(why, why_size, "the log's .lock cannot be written: %s: %s", strerror(errno),
             advice_for(errno));
    return -1;
}

int mark_open(struct mark *mark, int fd, sqlite3 *db, char epoch[EPOCH_LEN + 1], char *why,
              size_t why_size)
{
    char left_epoch[EPOCH_LEN + 1];
    uint64_t head, left = 0;
    bool known, other, renew;
    int rc;

    *mark = (struct mark){.fd = fd};
    errno = 0;
    rc = read_head(db, &head);
    if (rc != SQLITE_OK) {
        sql_explain(why, why_size, "the log's head cannot be read", db, rc);
        return -1;
    }
    known = read_record(mark, left_epoch, &left);
    other = known && strcmp(left_epoch, epoch) != 0;
    renew = other || (known && head < left);
    if (renew && renew_epoch(db, epoch, why, why_size) != 0)
        return -1;
    memcpy(mark->epoch, epoch, sizeof mark->epoch);
    mark->seq = head;
    if (begin(mark, renew, why, why_size) != 0)
        return -1;
    /* An empty log of another epoch has most likely just been made, where one was removed. */
    return renew && !(other && head == 0);
}

/* mark.h - how far the log had come, remembered beside it. So an older copy of the log that is put
 * back is recognised, and no number of one epoch is given out twice.
 *
 * The record is in the lock's file (lock.h), behind the owner's process id: the epoch and a seq,
 * the mark. If the log at the start has another epoch, or its head is below the mark, it is not the
 * log that was left here. Then it gets a new epoch, in a durable transaction, before anybody is
 * served: so older cursors are of another epoch, and the clients that hold them are told.
 *
 * Why that is right. Let `head` be the newest seq that is durably in the log, and `shown` the
 * newest that anybody was told of.
 * - The writer commits (head rises), then sets the mark, then reports. So at every moment
 *   shown <= mark <= head.
 * - No false alarm: the next start finds the mark, or, after a power cut, an earlier value of it;
 *   never a mixture, as it is stored at once and lies in one sector. That value is at most `head`,
 *   and the log still has its head.
 * - Nothing missed: when the process ends, in whatever way, the mark stays in the kernel's memory,
 *   and it is at least `shown`. A copy that lacks anything shown has a head below that. A copy that
 *   lacks nothing shown needs no new epoch.
 * - After a power cut the mark may be up to MARK_SYNC_MS and one commit old, as it is not synced
 *   with each commit. So a copy is missed if it was made in the last seconds before a power cut and
 *   put back after it. To recognise that, too, would cost a second sync for each commit.
 * - A crash between the new epoch and its mark: the epochs differ, and the next start draws another
 *   one; nobody was served in between.
 * What cannot be recognised from inside: the record was removed, or put back together with the log.
 * A log without a record, as an earlier version left it, is trusted, and gets one. If the record
 * cannot be written (the disk is full), it stays behind, and copies that are older than it are
 * still recognised. Only a record of another epoch must not stay: then the start fails, or each
 * later start would be a false alarm.
 *
 * The file is mapped into memory, because a write() to it makes a lone commit a fifteenth slower:
 * each write changes the file's time, and so its inode.
 *
 * mark_open while the log is opened, mark_close when the writer has ended, the rest by the writer's
 * thread.
 */
#ifndef ENCKE_STORE_MARK_H
#define ENCKE_STORE_MARK_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/epoch.h"

enum { MARK_SYNC_MS = 5000 };

struct mark {
    int fd;     /* of the lock's file, borrowed; -1: none */
    void *page; /* its first page; NULL while it cannot be mapped or written */
    char epoch[EPOCH_LEN + 1];
    uint64_t seq;
    bool unsynced;
    int64_t sync_ms; /* when a sync is due, while unsynced */
};

/* Checks whether the log on db, whose epoch is given, is the one that was left; if not, gives it a
 * new epoch, there and in epoch. Blocks on the disk. Returns 0; 1 if the log was put back; or -1
 * with the reason in why. */
int mark_open(struct mark *mark, int fd, sqlite3 *db, char epoch[EPOCH_LEN + 1], char *why,
              size_t why_size);

/* Remembers that seq is committed. It stores to memory, and waits for the disk only if that page is
 * just being written out and the file system keeps it unchanged meanwhile. now_ms is of the steady
 * clock (clock.h). */
void mark_set(struct mark *mark, uint64_t seq, int64_t now_ms);

/* The log begins anew, with that epoch and seq (log_restart): writes the whole record, and syncs
 * it. After a crash before that, the next start takes the log for one that was put back, and gives
 * it another epoch. Blocks on the disk. */
void mark_restart(struct mark *mark, const char *epoch, uint64_t seq);

/* Syncs what was set: at once, or only if that is due. Blocks on the disk. */
void mark_sync(struct mark *mark);
void mark_sync_if_due(struct mark *mark, int64_t now_ms);

/* Syncs what was set, and unmaps the page. fd stays open. */
void mark_close(struct mark *mark);

#endif

/* mark.h - how far the log had come, remembered beside it: so an older copy that is put back is
 * recognised, and no number of one epoch is given out twice.
 *
 * A record in the lock's file (lock.h), behind the owner's process id: the epoch and a seq, the
 * mark. At the start a log of another epoch, or whose head is below the mark, is not what was left
 * here. It gets a new epoch, in a durable transaction, before anybody is served: then cursors of
 * before are of another epoch, and those who hold them are told.
 *
 * Why that is right. Let `head` be the newest seq that is durably in the log, and `shown` the
 * newest that anybody was told of.
 * - The writer commits (head rises), then writes the mark, then reports. So at every moment
 *   shown <= mark <= head.
 * - No false alarm: what the next start finds is the mark, or, after a power cut, what it was
 *   earlier; never a mixture, as it is stored at once and lies in one sector. That is at most head,
 * which the log itself still has.
 * - Nothing missed: a process that ends, in whatever way, leaves the mark in the kernel's memory,
 *   and so at least at `shown`. A copy that lacks anything shown has a head below that. One that
 *   lacks nothing shown needs no new epoch.
 * - After a power cut it may be what it was up to MARK_SYNC_MS and one commit earlier, as it is not
 *   synced with each commit. So what is missed is a copy made in the last seconds before a power
 *   cut and put back after it. To tell that, too, would cost a second sync a commit.
 * - A crash between the new epoch and its mark: the epochs differ, and the next start draws
 *   another; nobody was served in between.
 * What cannot be told from inside: the record was removed, or put back together with the log. A log
 * without one, as an earlier version left it, is taken for what it says, and gets its record. If it
 * cannot be written (the disk is full), it stays behind, and older copies than that are recognised.
 * Only one of another epoch must not stay: then the start fails, or each later one would be a false
 * alarm.
 *
 * The file is mapped into memory, as a write() to it costs a lone commit a fifteenth: each changes
 * the file's time, and so its inode.
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

#include "store/cursor.h"

enum { MARK_SYNC_MS = 5000 };

struct mark {
    int fd;     /* of the lock's file, borrowed; -1: none */
    void *page; /* its first page; NULL while it cannot be mapped or written */
    char epoch[EPOCH_LEN + 1];
    uint64_t seq;
    bool unsynced;
    int64_t sync_ms; /* when a sync is due, while there is one to do */
};

/* Looks whether the log on db, whose epoch is given, is what was left; if it is not, gives it a new
 * one, there and in epoch. Blocks on the disk. Returns 0; 1 if the log had been put back; or -1
 * with the reason in why. */
int mark_open(struct mark *mark, int fd, sqlite3 *db, char epoch[EPOCH_LEN + 1], char *why,
              size_t why_size);

/* Remembers that seq is committed. A store to memory: it waits for the disk at most where the page
 * is just being written out and the file system keeps it still meanwhile. now_ms is of a clock that
 * is never set. */
void mark_set(struct mark *mark, uint64_t seq, int64_t now_ms);

/* Syncs what was set, at once or only if that is due. Blocks on the disk. */
void mark_sync(struct mark *mark);
void mark_sync_if_due(struct mark *mark, int64_t now_ms);

/* Syncs what was set, and lets go of the page. fd stays open. */
void mark_close(struct mark *mark);

#endif

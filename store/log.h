/* log.h - the durable message log: channels of messages in one sequence, in one SQLite file.
 *
 * It knows SQL, files, commits and cursors. It knows nothing of FastCGI, HTTP or JSON.
 *
 *     log_open(&log, &options, why, sizeof why);
 *     log_append(log, &message, 1, &ops, owner, &append); // goes to the writer's thread
 *     ... log_fd(log) becomes readable ...
 *     log_drain(log, &news);                          // moves the visible head
 *     ... answer the appends in news.done, wake the readers of their channels ...
 *     log_news_free(log, &news);
 *     log_read(log, channels, count, cursor, limit, &page);  // if memory holds it; if not:
 *     log_read_later(log, channels, count, cursor, limit, done, owner, &read);
 *     ... log_reads_fd(log) becomes readable ...
 *     log_tell_reads(log, ms);                        // done(owner, LOG_OK, &page)
 *
 * log_open starts two threads. The writer's thread owns the one connection that writes and
 * checkpoints. It takes all that is queued as one transaction and reports through a pipe. The
 * reader's thread reads what is no longer in memory. Everything declared here is called by the
 * loop's thread alone. Nothing waits for the disk but log_open and log_close.
 *
 * What it promises (the design's invariants 1, 2, 3, 8 and 9):
 * - an append is reported done, and log_read gives its message, only after its COMMIT under
 *   synchronous=FULL has returned;
 * - one connection writes; a second log_open of the same file is refused;
 * - the visible head moves only in log_drain, so when log_read says "nothing newer", that stays
 *   true until the next log_drain;
 * - a reader that may have missed messages is told so (page.reset).
 *
 * The files of store/, in an order in which each uses only those of the lines before it (and,
 * within a line, those to its left):
 *
 *     values   decimal epoch clock table status message gap cursor append page thread pause
 *     SQLite   sql schema packed index channels stretch rows ledger stamps keys once insert
 *              retention
 *     files    path advice lock shm migrate header create mark place wal file
 *     threads  commit writer (the writer's), tail plan read disk_read reader reads
 *              pages
 *     log      what the daemon calls; it also includes cursor, message, gap, page, append, read,
 *              status
 */
#ifndef ENCKE_STORE_LOG_H
#define ENCKE_STORE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/append.h"
#include "store/cursor.h"
#include "store/gap.h"
#include "store/message.h"
#include "store/page.h"
#include "store/read.h"
#include "store/status.h"

struct log;

struct log_options {
    const char *path; /* the SQLite file; made if it is missing. Borrowed for the call. */
    log_tell *tell;   /* gets lines about what takes long, and what needs attention; NULL: nobody */
    /* What is kept at least; there may be a little more (retention.h). */
    uint64_t keep_messages; /* of each channel; 0: no limit */
    int64_t keep_age_ms;    /* how long a message is kept; 0: no limit */
    uint64_t keep_bytes;    /* message_size of all that is kept; 0: no limit */
    /* At most. */
    uint64_t max_channels; /* that have messages; 0: no limit */
    uint64_t once_keys;    /* keys that are kept at a time; 0: no limit */
    int64_t once_ms;       /* how long a key is kept at least */
    size_t memory_bytes;   /* message_size of the recent messages kept in memory */
    size_t queue_bytes;    /* message_size of the appends that may wait for their commit */
    bool collect;       /* appends are handed to the writer by log_hand_over; else each at once */
    size_t reads_bytes; /* of memory for the reads that may wait for the disk: some 300 each */
    /* After so long a page from the disk ends, so that others have their turn; 0: no limit. */
    int64_t read_ms;
};

/* Opens or creates the log, loads its recent messages and starts the writer's thread. Blocks on the
 * disk. Returns 0 with *out set, or -1 with one line in why that says what is wrong and what to do.
 * A file that is foreign, newer, corrupt or in use by another process is left untouched. */
int log_open(struct log **out, const struct log_options *options, char *why, size_t why_size);

/* Lets the writer commit what is queued, checkpoints, ends the thread and frees all. Appends that
 * log_drain has not taken yet are committed and freed; their owners are not told. Blocks on the
 * disk. Returns LOG_OK; the reason if something queued could not be committed; or LOG_FAILED if the
 * log has failed. NULL is allowed. */
enum log_status log_close(struct log *log);

/* The notification pipe's reading end: readable when log_drain has something to report. It belongs
 * to the log: watch it, do not read or close it. */
int log_fd(const struct log *log);

/* A descriptor that is readable when something happened to the log's files, and during checkpoints.
 * Then call log_look: the writer checks whether the files are in place, and if not, a log_drain
 * reports it. One or two checks a second are enough. -1 if the system cannot tell: then only a
 * commit notices. It belongs to the log. */
int log_watch_fd(struct log *log);
void log_look(struct log *log);

/* The log's epoch (epoch.h): EPOCH_LEN digits and a NUL. */
const char *log_epoch(const struct log *log);

/* Whether log_open found an older copy of the log, or another log, than the one that was left at
 * its path (mark.h). It has a new epoch then: no seq of one epoch is ever given out twice. */
bool log_was_put_back(const struct log *log);

/* The visible head: the seq of the newest message that any reader may see; 0 for an empty log. */
uint64_t log_head(const struct log *log);

/* Why the log failed, or the last error that it survived (disk full, locked); NULL if there was
 * none. Valid until the next log_drain. */
const char *log_error(const struct log *log);

/* The position that was committed last (log_append_at); "" if there was none. */
const char *log_position(const struct log *log);

/* Queues count messages (at least 1) for the next commit: all of them are stored in one
 * transaction, or none. A message with a key (message_new_once) that was stored before is not
 * stored again. On LOG_OK the log has taken over the caller's references, and *out (if out is not
 * NULL) is the append, valid until the log_news that reports it is freed. On LOG_QUEUE,
 * LOG_NO_MEMORY or LOG_FAILED nothing was taken, and the references are still the caller's. ops is
 * static, or NULL. Never blocks on the disk. The report may also say LOG_CONFLICT, LOG_CHANNELS or
 * LOG_KEYS, and for which message. */
enum log_status log_append(struct log *log, struct message *const *messages, size_t count,
                           const struct append_ops *ops, void *owner, struct append **out);

/* The same for who follows another log. The first message gets that seq (0: the next one), the
 * others those after it: LOG_ORDER is reported if it is not above the head; numbers may be left
 * out. position (a string of at most POSITION_MAX bytes, copied; NULL: none) is committed together
 * with the messages, and log_position gives it back, also after a restart. */
enum log_status log_append_at(struct log *log, struct message *const *messages, size_t count,
                              uint64_t seq, const char *position, const struct append_ops *ops,
                              void *owner, struct append **out);

/* Hands the appends so far to the writer's thread, all at once: to wake it for each, and then for a
 * commit of few, costs more than the commit. With log_options.collect, call it before a wait and
 * before what may take long. log_drain and log_close do it, too. Never blocks on the disk. */
void log_hand_over(struct log *log);

/* Begins anew in place, for who follows another log that did: everything is deleted, the epoch is
 * that one (EPOCH_LEN digits, epoch_is_valid), and floor is the last seq that was given out. So all
 * cursors of before are of another epoch. Nothing may be queued; until a drain has reported the end
 * of it, log_append returns LOG_QUEUE. Returns LOG_OK, LOG_QUEUE if something is queued, or
 * LOG_FAILED. Never blocks on the disk. */
enum log_status log_restart(struct log *log, const char *epoch, uint64_t floor);

/* What the writer has reported since the last drain. */
struct log_news {
    uint64_t before;         /* the visible head until this drain */
    uint64_t head;           /* the visible head from now on */
    struct append_list done; /* in queue order; those with LOG_OK have rising seq */
    bool restarted;          /* log_restart has ended: */
    enum log_status restart; /* LOG_OK: log_epoch and the head are new, and nothing of before can be
                                read; or why all is as it was */
    bool failed;             /* the writer has stopped for good; see log_error */
};

/* Empties the pipe, moves the visible head and takes the new messages into memory. Never blocks.
 * The caller walks news->done, then calls log_news_free. Until then all messages of the news are in
 * memory: what is newer than news->before is read at once, however little memory there is for
 * recent messages. (Unless it was lacking in log_drain: then it is LOG_LATER, as any page may be.)
 */
void log_drain(struct log *log, struct log_news *news);
void log_news_free(struct log *log, struct log_news *news);

/* Reads what is newer than the cursor on count channels (names, NUL-terminated, distinct; at least
 * one), up to limit. Never blocks: it gives what is in memory.
 * - CURSOR_START: everything retained. CURSOR_NOW: an empty page, whose next is the head.
 * - CURSOR_UNKNOWN, or CURSOR_AT ahead of the head: everything retained, with reset.
 * - CURSOR_AT, but retention has deleted newer messages of some of the channels: what is newer than
 *   the cursor, with reset. It does not start over with everything retained: channels lose messages
 *   up to different seqs, and a reader that started over each time would never get past the first
 *   page. Such a reader may get reset with several pages in a row (a stream only once: gap.h).
 * An empty page without reset means that nothing newer is visible: the reader may wait.
 * Returns LOG_OK with *page filled (page_free it); or LOG_LATER (messages are older than what is in
 * memory: call log_read_later), LOG_NO_MEMORY or LOG_FAILED with it empty. */
enum log_status log_read(struct log *log, const char *const *channels, size_t count,
                         struct cursor cursor, struct page_limit limit, struct page *page);

/* Reads the same, and what is not in memory from the disk. Returns LOG_OK, with the read in *out
 * until done (read.h) is called; or LOG_BUSY (too much waits already), LOG_NO_MEMORY or LOG_FAILED,
 * and done is not called. In the end done gets LOG_OK and the page: all that is visible then, up to
 * the limit; or LOG_NO_MEMORY, LOG_LOCKED (another program holds the file: ask again) or
 * LOG_FAILED. Pages come in the order in which they were asked for, except that those who ask for
 * the same get it at the same time. Never blocks. */
enum log_status log_read_later(struct log *log, const char *const *channels, size_t count,
                               struct cursor cursor, struct page_limit limit, read_done *done,
                               void *owner, struct read **out);

/* Likewise reads the newest visible message of a channel whose seq is below `before`: the page has
 * that one message, or none. */
enum log_status log_read_newest(struct log *log, const char *channel, uint64_t before,
                                read_done *done, void *owner, struct read **out);

/* The owner of a read goes away, and is not told. */
void log_read_cancel(struct log *log, struct read *read);

/* Readable when log_tell_reads has something to tell. It belongs to the log: watch it, do not read
 * or close it. It is not the notification pipe, so that the loop can give pages to those who catch
 * up after all others (loop.h). */
int log_reads_fd(const struct log *log);

/* Calls done for the owners of reads that are over, for about ms milliseconds, at least for one. If
 * some are left, log_reads_fd stays readable. Never blocks on the disk. done may ask for more, and
 * may cancel any read. */
void log_tell_reads(struct log *log, int64_t ms);

/* Counters for the operator, as of the last drain; but reads as of now. */
struct log_stats {
    uint64_t messages;  /* retained on disk */
    uint64_t bytes;     /* message_size of them */
    uint64_t appended;  /* acknowledged since log_open */
    uint64_t commits;   /* transactions committed since log_open */
    uint64_t queued;    /* appends waiting now */
    uint64_t reads;     /* reads waiting for the disk now */
    uint64_t wal_bytes; /* size of the write-ahead log's file. Usually at most LOG_WAL_USUAL; it
                           grows while another program reads in one long transaction */
};

/* log_options.tell gets a line when the file of the write-ahead log reaches LOG_WAL_MUCH bytes, and
 * one when it has LOG_WAL_USUAL or less again: SQLite cuts it to that when it starts over. */
enum { LOG_WAL_MUCH = 64 << 20, LOG_WAL_USUAL = 16 << 20 };

void log_stats(const struct log *log, struct log_stats *stats);

#endif

/* log.h - the durable message log: channels of messages in one sequence, in one SQLite file.
 *
 * It knows SQL, files, commits and cursors. It knows nothing of FastCGI, HTTP or JSON.
 *
 *     log_open(&log, &options, why, sizeof why);
 *     log_append(log, message, &ops, conn, &append); // goes to the writer's thread
 *     ... log_fd(log) becomes readable ...
 *     log_drain(log, &news);                    // the visible head moves here, and only here
 *     ... answer the appends, wake the readers of their channels ...
 *     log_news_free(&news);
 *     log_read(log, channels, count, cursor, limit, &page);
 *
 * Two threads meet here. The writer's thread, started by log_open, owns the one connection that
 * writes and checkpoints; it takes all that is queued as one transaction and reports through a
 * pipe. Everything declared below is called by the loop's thread alone. Nothing waits for the
 * writer but log_open and log_close.
 *
 * What it promises (the design's invariants 1, 2, 3, 8 and 9):
 * - an append is reported done, and is seen by log_read, only after its COMMIT under
 *   synchronous=FULL returned;
 * - one connection writes; a second log_open of the same file is refused;
 * - the visible head moves only in log_drain, so what log_read says of "nothing newer" stays true
 *   until the next log_drain;
 * - a reader whose cursor cannot be honoured to the last message is told so (page.reset).
 */
#ifndef ENCKE_STORE_LOG_H
#define ENCKE_STORE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "store/cursor.h"
#include "store/gap.h"
#include "store/message.h"

struct log;

enum log_status {
    LOG_OK,
    LOG_FULL,      /* no room on the disk: nothing was written, reads go on */
    LOG_LOCKED,    /* another program holds the file's write lock: nothing was written */
    LOG_QUEUE,     /* too many bytes are waiting for their commit */
    LOG_NO_MEMORY, /* out of memory: nothing was written */
    LOG_FAILED     /* the log cannot be trusted any more; log_error says why; end the process */
};

/* One sentence for a person, without a full stop. Static. */
const char *log_status_text(enum log_status status);

/* Takes a line for the operator, without a newline. Called by the thread that called the log. */
enum log_tell_level { LOG_TELL_INFO, LOG_TELL_WARN };
typedef void log_tell(enum log_tell_level level, const char *line);

struct log_options {
    const char *path; /* the SQLite file; made if it is missing. Borrowed for the call. */
    log_tell *tell;   /* told what takes long, and what should be seen to; NULL: nobody */
    /* What is kept at least; there may be a little more (retention.h). */
    uint64_t keep_messages; /* messages kept a channel; 0: no limit */
    int64_t keep_age_ms;    /* how long a message is kept; 0: no limit */
    uint64_t keep_bytes;    /* message_size of all that is kept; 0: no limit */
    size_t memory_bytes;    /* message_size of the recent messages kept in memory */
    size_t queue_bytes;     /* message_size of the appends that may wait for their commit */
};

/* Opens or creates the log, loads its recent messages and starts the writer's thread. Blocks on
 * the disk. Returns 0 with *out set, or -1 with one line in why that says what is wrong and what
 * to do; a file that is foreign, newer, corrupt or in use by another process is left untouched. */
int log_open(struct log **out, const struct log_options *options, char *why, size_t why_size);

/* Lets the writer commit what is queued, checkpoints, ends its thread, and frees all. Appends not
 * yet taken by log_drain are committed and freed, their owners untouched. Blocks on the disk.
 * Returns LOG_OK; why something queued could not be committed; or LOG_FAILED when the log failed.
 * NULL is allowed. */
enum log_status log_close(struct log *log);

/* The notification pipe's reading end: readable when log_drain has something to say. Stays the
 * log's own; watch it, do not read or close it. */
int log_fd(const struct log *log);

/* Readable when something happened to the log's files, and during checkpoints: call log_look, which
 * has the writer look whether they are in place; a log_drain says if not. A look or two a second
 * are enough. -1 if the system cannot tell: then only a commit notices. The log's own. */
int log_watch_fd(struct log *log);
void log_look(struct log *log);

/* The log's epoch: EPOCH_LEN digits and a NUL, drawn when the file was created or put back. */
const char *log_epoch(const struct log *log);

/* Whether log_open found an older copy of the log, or another log, than was left at its path
 * (mark.h). It has a new epoch: no seq of one epoch is ever given out twice. */
bool log_was_put_back(const struct log *log);

/* The visible head: the seq of the newest message that any reader may see; 0 for an empty log. */
uint64_t log_head(const struct log *log);

/* Why the log failed, or the last error that it lived through (disk full, locked); NULL if there
 * was none. Valid until the next log_drain. */
const char *log_error(const struct log *log);

struct append;

/* How the owner of an append is told of its end. The log calls neither: whoever drains the log
 * does, on the loop's thread. NULL: the owner need not know. */
struct append_ops {
    /* The status is known. No reader has been given the message yet. */
    void (*done)(struct append *append);
    /* All readers that wait have been given the message, if it was stored. */
    void (*delivered)(struct append *append);
};

/* One message on its way to the disk. The log's own; the caller keeps only the pointer. */
struct append {
    STAILQ_ENTRY(append) next;
    struct message *message; /* seq is set by the time log_drain reports LOG_OK */
    enum log_status status;
    const struct append_ops *ops; /* the caller's; NULL: nobody waits for the end (any more) */
    void *owner;                  /* the caller's, for ops */
};
STAILQ_HEAD(append_list, append);

/* Queues message for the next commit. On LOG_OK the log has taken over the caller's reference,
 * *out (if not NULL) is the append, valid until the log_news that reports it is freed. On
 * LOG_QUEUE, LOG_NO_MEMORY or LOG_FAILED nothing was taken and the reference is still the caller's.
 * ops is static, or NULL. Never blocks on the disk. */
enum log_status log_append(struct log *log, struct message *message, const struct append_ops *ops,
                           void *owner, struct append **out);

/* What came out of the writer since the last drain. */
struct log_news {
    uint64_t before;         /* the visible head until this drain */
    uint64_t head;           /* the visible head from now on */
    struct append_list done; /* in queue order; those with LOG_OK have rising seq */
    bool failed;             /* the writer has stopped for good; see log_error */
};

/* Empties the pipe, moves the visible head and takes the new messages into memory. Never blocks.
 * The caller walks news->done, then calls log_news_free. */
void log_drain(struct log *log, struct log_news *news);
void log_news_free(struct log_news *news);

/* Messages of a set of channels, in the order of the log. */
struct page {
    struct message **messages; /* count references, dropped by page_free */
    size_t count;
    uint64_t next;   /* the cursor's seq to go on with: the visible head, or with `more` the last
                        message given */
    bool more;       /* the limit or the bytes ended the page: ask again from next */
    bool reset;      /* the cursor could not be honoured: something in between may be missing */
    struct gap *gap; /* how far the channels' messages are gone, if that is past the cursor; a
                        reader who knows of it need not be told (gap.h). NULL: no channel's are */
};

/* How much a page may hold. It ends with the message that reaches either. */
struct page_limit {
    size_t messages; /* at least 1 */
    size_t bytes;    /* of data; at least 1 */
};

/* Reads what is newer than the cursor on count channels (names, NUL-terminated, distinct; at
 * least one), up to limit. What the memory holds is read from there; only older pages touch the
 * disk.
 * - CURSOR_START: everything retained. CURSOR_NOW: nothing, next is the head.
 * - CURSOR_UNKNOWN, or CURSOR_AT ahead of the head: everything retained, with reset.
 * - CURSOR_AT older than what retention kept on some of the channels: what is newer than the
 *   cursor, with reset. On those channels that is everything retained; on the others, where
 *   nothing was missed, it does not start over: a reader who pages through channels with
 *   different floors would never get past the first page. Such a reader may be told reset again
 *   (one that stays need not: gap.h).
 * An empty page without reset means that nothing newer is visible: the reader may wait.
 * Returns LOG_OK with *page filled (page_free it); LOG_NO_MEMORY, LOG_LOCKED (another program
 * holds the file: ask again) or LOG_FAILED with it empty. */
enum log_status log_read(struct log *log, const char *const *channels, size_t count,
                         struct cursor cursor, struct page_limit limit, struct page *page);
void page_free(struct page *page);

/* Reads the newest visible message of a channel whose seq is below `before`, from the disk: one
 * reference in *message, NULL if none is retained. Returns as log_read does. */
enum log_status log_newest(struct log *log, const char *channel, uint64_t before,
                           struct message **message);

/* Counters for the operator, as of the last drain. */
struct log_stats {
    uint64_t messages;  /* retained on disk */
    uint64_t bytes;     /* message_size of them */
    uint64_t appended;  /* acknowledged since log_open */
    uint64_t commits;   /* transactions committed since log_open */
    uint64_t queued;    /* appends waiting now */
    uint64_t wal_bytes; /* the write-ahead log's file; LOG_WAL_USUAL or less, but while another
                           program reads in one long transaction it cannot start over */
};

/* log_options.tell hears when the write-ahead log grows beyond LOG_WAL_MUCH bytes, and when it is
 * down to LOG_WAL_USUAL again, to which it is cut when it starts over. */
enum { LOG_WAL_MUCH = 64 << 20, LOG_WAL_USUAL = 16 << 20 };

void log_stats(const struct log *log, struct log_stats *stats);

#endif

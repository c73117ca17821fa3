/* reader.h - messages from the disk, for readers whose cursor is older than what memory holds.
 *
 * It has a read-only connection of its own, which belongs to the reader's thread (reads.h) once
 * that has started. Each read is one read transaction, so floors and messages agree with each
 * other. Its statements are reset before it returns, so that no checkpoint waits for them. It may
 * see commits that log_drain has not reported yet: the caller reads only up to the visible head,
 * and if such a commit deleted messages, the floors that are read with them show the gap.
 *
 * A read costs what it reads, whatever the size of the log: every statement searches an index.
 */
#ifndef ENCKE_STORE_READER_H
#define ENCKE_STORE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/page.h"
#include "store/status.h"
#include "store/tail.h"

struct reader;

/* Opens the log at path, which file_open has checked. Returns 0, or -1 with the reason in why. */
int reader_open(struct reader **out, const char *path, char *why, size_t why_size);

/* To be called before the writer's connection is closed, which must be the last (log_close). NULL
 * is allowed. */
void reader_close(struct reader *reader);

/* Fills an empty tail with the newest messages that fit its limit, and their channels' floors. For
 * log_open: nothing may write meanwhile. Returns 0, or -1 with the reason in why. */
int reader_load(struct reader *reader, struct tail *tail, char *why, size_t why_size);

/* Fills the page with the messages of count channels whose seq is above `after` and at most upto,
 * in order. Sets page->more if there are more of them, and adds the channels' floors, as they are
 * in the same transaction. A page that takes until fill->until_ms ends. Blocks on the disk. Returns
 * LOG_OK; or LOG_NO_MEMORY, LOG_LOCKED or LOG_FAILED (see reader_error), with the page partly
 * filled. */
enum log_status reader_read(struct reader *reader, const char *const *channels, size_t count,
                            uint64_t after, uint64_t upto, struct page_fill *fill,
                            struct floors *floors);

/* Reads the channel's newest message whose seq is at most upto: one reference in *message, NULL if
 * there is none. Returns as reader_read does. */
enum log_status reader_newest(struct reader *reader, const char *channel, uint64_t upto,
                              struct message **message);

/* Lets the statement that runs now, if any, end with LOG_FAILED. Any thread. */
void reader_interrupt(struct reader *reader);

/* The reason why the latest failed read failed. Valid until the next call that fails. */
const char *reader_error(const struct reader *reader);

#endif

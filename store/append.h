/* append.h - messages on their way to the disk: one, or several that are stored all or none.
 *
 * log_append (log.h) makes it, the writer's thread (writer.h) commits it, and log_drain reports it.
 * It is part of the log's interface.
 */
#ifndef ENCKE_STORE_APPEND_H
#define ENCKE_STORE_APPEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "store/message.h"
#include "store/status.h"

enum { POSITION_MAX = 128 }; /* bytes of a position (log.h), without its NUL */

struct append;

/* Functions that tell the owner of an append how it ended. The log does not call them: the code
 * that calls log_drain does, on the loop's thread. NULL: the owner need not know. */
struct append_ops {
    /* The status is known. No reader has been given the messages yet. */
    void (*done)(struct append *append);
    /* All readers that wait have been given the messages, if they were stored. */
    void (*delivered)(struct append *append);
};

struct append_entry {
    struct message *message; /* its seq is set when log_drain reports LOG_OK: for a duplicate, to
                                that of the message that was stored first */
    bool duplicate;          /* a message with its key and its text was stored before: this one was
                                not */
    uint64_t seq;            /* the writer's, until the commit */
};

/* It belongs to the log; the caller keeps only the pointer. */
struct append {
    STAILQ_ENTRY(append) next;
    enum log_status status;
    uint32_t refused;             /* which entry is the reason, if one is (status.h) */
    const struct append_ops *ops; /* the caller's; NULL: nobody waits for the end (any more) */
    void *owner;                  /* the caller's, for ops */
    uint64_t seq;                 /* what its first message is to get; 0: the next one */
    char *position;               /* is committed with it (log.h); NULL: none */
    uint32_t count;               /* of entries, at least 1 */
    struct append_entry entries[];
};
STAILQ_HEAD(append_list, append);

/* ---- for the log alone ---- */

/* Makes an append of count messages, whose references it takes over. position (at most POSITION_MAX
 * bytes; NULL: none) is copied. NULL when out of memory, and nothing is taken over. */
struct append *append_new(struct message *const *messages, size_t count, const char *position);

/* Frees all, with their messages, and empties the list. The loop's thread only. */
void append_free_list(struct append_list *list);

#endif

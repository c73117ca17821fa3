/* append.h - one message on its way to the disk.
 *
 * log_append (log.h) makes it, the writer's thread (writer.h) commits it, and log_drain reports it.
 * It is part of the log's interface.
 */
#ifndef ENCKE_STORE_APPEND_H
#define ENCKE_STORE_APPEND_H

#include <sys/queue.h>

#include "store/message.h"
#include "store/status.h"

struct append;

/* Functions that tell the owner of an append how it ended. The log does not call them: the code
 * that calls log_drain does, on the loop's thread. NULL: the owner need not know. */
struct append_ops {
    /* The status is known. No reader has been given the message yet. */
    void (*done)(struct append *append);
    /* All readers that wait have been given the message, if it was stored. */
    void (*delivered)(struct append *append);
};

/* It belongs to the log; the caller keeps only the pointer. */
struct append {
    STAILQ_ENTRY(append) next;
    struct message *message; /* its seq is set when log_drain reports LOG_OK */
    enum log_status status;
    const struct append_ops *ops; /* the caller's; NULL: nobody waits for the end (any more) */
    void *owner;                  /* the caller's, for ops */
};
STAILQ_HEAD(append_list, append);

#endif

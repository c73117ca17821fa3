/* status.h - what the store tells its caller: the status of a call, and lines for the operator.
 *
 * It is part of the log's interface (log.h); the files below the log use it too.
 */
#ifndef ENCKE_STORE_STATUS_H
#define ENCKE_STORE_STATUS_H

#include <stdbool.h>

enum log_status {
    LOG_OK,
    LOG_FULL,      /* no room on the disk: nothing was written, reads go on */
    LOG_LOCKED,    /* another program holds the file's write lock: nothing was written */
    LOG_QUEUE,     /* too many bytes are waiting for their commit */
    LOG_CONFLICT,  /* the key of a message was used for another text: nothing was written */
    LOG_CHANNELS,  /* a message is on a new channel, and no more are kept: nothing was written */
    LOG_KEYS,      /* a message has a new key, and no more are kept: nothing was written */
    LOG_ORDER,     /* its seq is not above the head: nothing was written */
    LOG_NO_MEMORY, /* out of memory: nothing was written */
    LOG_FAILED,    /* the log cannot be trusted any more; log_error says why; end the process */
    LOG_BUSY,      /* too many reads are waiting for the disk */
    LOG_LATER      /* no error: the disk is needed for this, see log_read_later */
};

/* One sentence for a person, without a full stop. Static. */
const char *log_status_text(enum log_status status);

/* Whether one message is the reason of the status, not the state of the log: others are stored
 * meanwhile. append.refused says which (append.h). */
bool log_status_is_of_message(enum log_status status);

/* Takes a line for the operator, without a newline. Called by the thread that called the log. */
enum log_tell_level { LOG_TELL_INFO, LOG_TELL_WARN };
typedef void log_tell(enum log_tell_level level, const char *line);

#endif

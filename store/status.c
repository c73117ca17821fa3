#include "store/status.h"

const char *log_status_text(enum log_status status)
{
    switch (status) {
    case LOG_OK:
        return "done";
    case LOG_FULL:
        return "there is no room left on the disk";
    case LOG_LOCKED:
        return "another program holds the log's lock";
    case LOG_QUEUE:
        return "too many messages are waiting to be written";
    case LOG_CONFLICT:
        return "the key was used for another message";
    case LOG_CHANNELS:
        return "as many channels are kept as may be";
    case LOG_KEYS:
        return "as many keys of messages are kept as may be";
    case LOG_ORDER:
        return "the message's number is not above the newest one's";
    case LOG_NO_MEMORY:
        return "there is no memory left";
    case LOG_FAILED:
        return "the log has failed";
    case LOG_BUSY:
        return "too many readers are waiting for the disk";
    case LOG_LATER:
        return "the disk is needed";
    }
    return "unknown";
}

bool log_status_is_of_message(enum log_status status)
{
    return status == LOG_CONFLICT || status == LOG_CHANNELS || status == LOG_KEYS;
}

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
    case LOG_NO_MEMORY:
        return "there is no memory left";
    case LOG_FAILED:
        return "the log has failed";
    }
    return "unknown";
}

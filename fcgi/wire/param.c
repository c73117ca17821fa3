#include "fcgi/wire/param.h"

#include <string.h>

/* A name of a constant length is compared without a call: this is asked for each header that a
 * client sent. */
#define RETURN_IF_NAMED(param)                                                                     \
    if (len == sizeof #param - 1 && memcmp(name, #param, sizeof #param - 1) == 0)                  \
    return param

enum param param_named(const void *name, size_t len)
{
    RETURN_IF_NAMED(REQUEST_METHOD);
    RETURN_IF_NAMED(REQUEST_URI);
    RETURN_IF_NAMED(QUERY_STRING);
    RETURN_IF_NAMED(SCRIPT_NAME);
    RETURN_IF_NAMED(PATH_INFO);
    RETURN_IF_NAMED(CONTENT_TYPE);
    RETURN_IF_NAMED(CONTENT_LENGTH);
    RETURN_IF_NAMED(HTTP_HOST);
    RETURN_IF_NAMED(HTTP_ORIGIN);
    RETURN_IF_NAMED(HTTP_LAST_EVENT_ID);
    RETURN_IF_NAMED(HTTP_IDEMPOTENCY_KEY);
    RETURN_IF_NAMED(HTTP_SEC_FETCH_SITE);
    return PARAMS;
}

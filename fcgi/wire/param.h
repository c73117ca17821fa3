/* param.h - the parameters of a request that are used (RFC 3875, 4.1; web servers add REQUEST_URI).
 *
 * A web server sends many more: of itself, and each header that the client sent. Pure.
 */
#ifndef ENCKE_FCGI_PARAM_H
#define ENCKE_FCGI_PARAM_H

#include <stddef.h>

enum param {
    REQUEST_METHOD,
    REQUEST_URI,
    QUERY_STRING,
    SCRIPT_NAME,
    PATH_INFO,
    CONTENT_TYPE,
    CONTENT_LENGTH,
    HTTP_HOST,
    HTTP_ORIGIN,
    HTTP_LAST_EVENT_ID,
    HTTP_IDEMPOTENCY_KEY,
    HTTP_SEC_FETCH_SITE,
    PARAMS
};

/* The parameter of that name; PARAMS: it is not used. */
enum param param_named(const void *name, size_t len);

#endif

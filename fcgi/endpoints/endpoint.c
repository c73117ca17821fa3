#include "fcgi/endpoints/endpoint.h"

#include "fcgi/conn/refusal.h"

bool endpoint_understand(const struct service *service, struct conn *conn,
                         const struct request *request, const struct terms *terms,
                         struct wanted *wanted)
{
    const char *complaint = wanted_parse(wanted, request, terms, service->max_channels,
                                         log_epoch(service->readers->log));
    if (complaint)
        conn_refuse(conn, 400, NULL, complaint);
    return complaint == NULL;
}

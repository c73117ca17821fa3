/* streaming, iframe, events - answers that go on: what is in the log from the reader's cursor on,
 * and then what comes. */
#include "fcgi/conn/answer.h"
#include "fcgi/endpoints/endpoint.h"
#include "fcgi/readers/stream.h"
#include "fcgi/readers/transport.h"
#include "fcgi/readers/wanted.h"

static void open_stream(struct service *service, struct conn *conn, const struct request *request,
                        struct terms *terms)
{
    struct wanted wanted;
    terms->wait_s = terms->wait_max_s = service->stream_s;
    if (!endpoint_understand(service, conn, request, terms, &wanted))
        return;
    wanted.shape.request_id = conn->request_id;
    if (request->head) {
        buf_reset(&conn->conns->scratch);
        conn_answer(conn, transport_opening(&wanted.shape, &conn->conns->scratch));
        return;
    }
    stream_open(service->readers, conn, &wanted, NULL, NULL);
}

void endpoint_streaming(struct service *service, struct conn *conn, const struct request *request)
{
    struct terms terms = {.formats = {{"json", FORMAT_LINES}}};
    open_stream(service, conn, request, &terms);
}

void endpoint_iframe(struct service *service, struct conn *conn, const struct request *request)
{
    struct terms terms = {.formats = {{"script", FORMAT_SCRIPT}}};
    open_stream(service, conn, request, &terms);
}

/* A browser that connects again uses the address that it was given first, with the old id in it.
 * Only the header Last-Event-ID says how far it has come (HTML standard, 9.2.4), or the field of
 * that name in the address. So it counts for more than id. */
void endpoint_events(struct service *service, struct conn *conn, const struct request *request)
{
    struct terms terms = {.formats = {{"text", FORMAT_EVENTS}, {"json", FORMAT_EVENTS_JSON}},
                          .last_first = true};
    open_stream(service, conn, request, &terms);
}

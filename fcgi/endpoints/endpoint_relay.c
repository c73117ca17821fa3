/* subscribe, of an upstream: the request is held here, and the distant comet server is asked. */
#include "fcgi/conn/answer.h"
#include "fcgi/conn/refusal.h"
#include "fcgi/endpoints/endpoint.h"
#include "fcgi/readers/render.h"
#include "fcgi/relay/relay.h"

/* How long the client is held at most: the seconds in its field timeout. A timeout that is not a
 * number is no fault, since the upstream may know what it means. */
static uint64_t relay_hold_ms(const struct service *service, const struct request *request)
{
    uint64_t most = (uint64_t)service->hold_max_s, seconds;
    if (!text_number(request_field(request, "timeout"), &seconds) || seconds > most)
        seconds = most;
    return (seconds > 0 ? seconds : 1) * 1000;
}

bool endpoint_relayed(struct service *service, struct conn *conn, const struct request *request)
{
    struct buf *query = &conn->conns->scratch;
    struct text name = request_field(request, "upstream");
    const struct upstream *upstream = upstreams_find(service->upstreams, name);
    if (!upstream && !name.bytes)
        return false;
    const char *complaint = NULL;
    if (!upstream)
        complaint = "there is no upstream of that name";
    else
        complaint = upstream_query(upstream, request, query);
    if (complaint) {
        conn_refuse(conn, 400, NULL, complaint);
    } else if (!buf_ok(query)) {
        conn_refuse_for_log(conn, LOG_NO_MEMORY);
    } else if (request->head) {
        conn_answer(conn,
                    render_word(false)); /* as if its time were over; the upstream is not asked */
    } else {
        relay_ask(service->relay, conn, upstream, query->bytes, relay_hold_ms(service, request));
    }
    return true;
}

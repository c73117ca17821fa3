/* subscribe, for a distant comet server: the request is held here and asked for there. */
#include "fcgi/relay/relay.h"
#include "fcgi/readers/render.h"
#include "fcgi/endpoints/routes.h"
#include "fcgi/server.h"

/* How long the client is held at most: the seconds in its field timeout. A timeout that is not a
 * number is no fault, since the upstream may know what it means. */
static uint64_t hold_ms(const struct options *options, const struct request *request)
{
    uint64_t most = (uint64_t)options->hold_max_s, seconds;
    if (!text_number(request_field(request, "timeout"), &seconds) || seconds > most)
        seconds = most;
    return (seconds > 0 ? seconds : 1) * 1000;
}

bool subscribe_relayed(struct conn *conn, const struct request *request)
{
    struct server *server = conn->server;
    struct text name = request_field(request, "upstream");
    const struct upstream *upstream = upstreams_find(&server->upstreams, name);
    if (!upstream && !name.bytes)
        return false;
    const char *complaint = NULL;
    if (!upstream)
        complaint = "there is no upstream of that name";
    else
        complaint = upstream_query(upstream, request, &server->scratch);
    if (complaint) {
        conn_refuse(conn, 400, NULL, complaint);
    } else if (!buf_ok(&server->scratch)) {
        conn_refuse_for(conn, LOG_NO_MEMORY);
    } else if (request->head) {
        conn_answer(conn, render_word(false)); /* as if its time were over; nobody is asked */
    } else {
        relay_ask(server->relay, conn, upstream, server->scratch.bytes,
                  hold_ms(server->options, request));
    }
    return true;
}

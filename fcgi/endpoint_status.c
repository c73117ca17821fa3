/* status - how the daemon is doing, as JSON. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/routes.h"
#include "fcgi/server.h"

#ifndef ENCKE_VERSION
#define ENCKE_VERSION "unknown"
#endif

static void add_channel(void *context, const char *name, unsigned count)
{
    json_object_set_new(context, name, json_integer(count));
}

static json_t *status_of(const struct server *server)
{
    struct log_stats log;
    log_stats(server->log, &log);
    char head[CURSOR_SIZE];
    cursor_print(head, log_epoch(server->log), log_head(server->log));
    json_t *channels = json_object();
    groups_each_channel(&server->groups, add_channel, channels);
    json_t *streams = json_object();
    for (int kind = 0; kind < STREAM_KINDS; kind++)
        json_object_set_new(streams, transport_name((enum stream_kind)kind),
                            json_integer(server->streams[kind]));
    /* clang-format off */
    return json_pack("{s:s, s:I, s:s, s:s, s:i, s:i, s:i, s:o, s:I, s:o, s:i, s:b, s:I, s:I, s:I, s:I, s:I, s:s?}",
                     "version", ENCKE_VERSION,
                     "uptime", (json_int_t)(timer_now_ms() - server->started_ms) / 1000,
                     "epoch", log_epoch(server->log),
                     "head", head,
                     "connections", (int)server->conns,
                     "holds", (int)server->held,
                     "holds_max", (int)server->waiting_max,
                     "readers_by_channel", channels,
                     "holds_refused", (json_int_t)server->refused,
                     "streams", streams,
                     "streams_behind", (int)server->streams_behind,
                     "websocket", server->websocket.listener.fd >= 0,
                     "messages", (json_int_t)log.messages,
                     "bytes", (json_int_t)log.bytes,
                     "creates", (json_int_t)log.appended,
                     "deliveries", (json_int_t)server->deliveries,
                     "commits", (json_int_t)log.commits,
                     "last_error", log_error(server->log));
    /* clang-format on */
}

void endpoint_status(struct conn *conn, const struct request *request)
{
    (void)request;
    json_t *status = status_of(conn->server);
    char *text = status ? json_dumps(status, JSON_INDENT(2)) : NULL;
    struct frame *frame = NULL;
    if (text) {
        size_t len = strlen(text);
        text[len] = '\n'; /* in the place of the NUL, for whoever asks with curl */
        frame = frame_new(200, TYPE_JSON, NULL, text, len + 1);
    }
    free(text);
    json_decref(status);
    conn_answer(conn, frame);
}

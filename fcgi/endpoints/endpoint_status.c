/* status - how the daemon is doing, as JSON. */
#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#include "fcgi/endpoints/routes.h"
#include "fcgi/server.h"

#ifndef ENCKE_VERSION
#define ENCKE_VERSION "unknown"
#endif

enum { BUSIEST_MAX = 20 }; /* channels that are named: there may be any number */

struct busiest {
    size_t most, count;
    struct {
        const char *name;
        unsigned readers;
    } channels[BUSIEST_MAX + 1]; /* the most readers first, then by name; one of room */
};

static bool is_busier(unsigned readers, const char *name, unsigned than, const char *other)
{
    return readers != than ? readers > than : strcmp(name, other) < 0;
}

static void note_channel(void *context, const char *name, unsigned readers)
{
    struct busiest *busiest = context;
    size_t at = busiest->count;
    for (; at > 0 && is_busier(readers, name, busiest->channels[at - 1].readers,
                               busiest->channels[at - 1].name);
         at--)
        busiest->channels[at] = busiest->channels[at - 1];
    busiest->channels[at].name = name;
    busiest->channels[at].readers = readers;
    if (busiest->count < busiest->most)
        busiest->count++;
}

/* The busiest channels and their readers. All channels are looked at, so only on request. */
static json_t *busiest_of(const struct server *server, size_t most)
{
    struct busiest busiest = {.most = most};
    json_t *channels = json_object();
    groups_each_channel(&server->groups, note_channel, &busiest);
    for (size_t i = 0; i < busiest.count; i++)
        json_object_set_new(channels, busiest.channels[i].name,
                            json_integer(busiest.channels[i].readers));
    return channels;
}

/* A count as JSON; they are far from 2^63. */
static json_t *count(uint64_t number)
{
    return json_integer((json_int_t)number);
}

static json_t *upstream_of(const struct server *server, const struct upstream *upstream)
{
    struct relay_stats stats;
    struct feed_stats feed;
    relay_stats(server->relay, upstream, &stats);
    feed_stats(server->feeds, upstream, &feed);
    const uint64_t *errors = stats.errors;
    const char *state = stats.down         ? "down"
                        : stats.trouble_ms ? "failing"
                        : stats.tried      ? "up"
                                           : "idle";
    /* clang-format off */
    return json_pack("{s:s, s:s, s:s, s:o, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:s?, s:s?, s:s?, s:o, s:o}",
                     "name", upstream->name,
                     "url", upstream->shown,
                     "state", state,
                     "down_for", count(stats.trouble_ms / 1000),
                     "clients", (int)stats.clients,
                     "under_way", (int)stats.under_way,
                     "asked", count(stats.asked),
                     "requests", count(stats.requests),
                     "coalesced", count(stats.coalesced),
                     "answers", count(stats.answers),
                     "turned_away", count(stats.turned_away),
                     "errors", json_pack("{s:o, s:o, s:o, s:o, s:o}",
                                         "unreachable", count(errors[RELAY_UNREACHABLE]),
                                         "timeout", count(errors[RELAY_TIMEOUT]),
                                         "status", count(errors[RELAY_STATUS]),
                                         "broken", count(errors[RELAY_BROKEN]),
                                         "refused", count(errors[RELAY_REFUSED])),
                     "last_error", stats.last_error,
                     "channel", feed.channel,
                     "cursor", feed.cursor,
                     "appended", count(feed.appended),
                     "shortened", count(feed.shortened));
    /* clang-format on */
}

static json_t *upstreams_of(const struct server *server)
{
    json_t *upstreams = json_array();
    for (size_t i = 0; i < server->upstreams.count; i++)
        json_array_append_new(upstreams, upstream_of(server, &server->upstreams.items[i]));
    return upstreams;
}

static json_t *status_of(const struct server *server)
{
    struct log_stats log;
    log_stats(server->log, &log);
    char head[CURSOR_SIZE];
    cursor_print(head, log_epoch(server->log), log_head(server->log));
    json_t *streams = json_object();
    for (int kind = 0; kind < STREAM_KINDS; kind++)
        json_object_set_new(streams, transport_name((enum stream_kind)kind),
                            json_integer(server->streams[kind]));
    /* clang-format off */
    return json_pack("{s:s, s:I, s:s, s:s, s:i, s:i, s:i, s:i, s:I, s:o, s:i, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:s?, s:o}",
                     "version", ENCKE_VERSION,
                     "uptime", (json_int_t)(timer_now_ms() - server->started_ms) / 1000,
                     "epoch", log_epoch(server->log),
                     "head", head,
                     "connections", (int)server->conns,
                     "holds", (int)server->held,
                     "holds_max", (int)server->waiting_max,
                     "channels_read", (int)groups_channels(&server->groups),
                     "holds_refused", (json_int_t)server->refused,
                     "streams", streams,
                     "streams_behind", (int)server->streams_behind,
                     "unsent", (json_int_t)server->unsent.bytes,
                     "readers_cut_off", (json_int_t)server->cut_off,
                     "websocket", server->websocket.listener.fd >= 0,
                     "messages", (json_int_t)log.messages,
                     "bytes", (json_int_t)log.bytes,
                     "wal_bytes", (json_int_t)log.wal_bytes,
                     "creates", (json_int_t)log.appended,
                     "deliveries", (json_int_t)server->deliveries,
                     "commits", (json_int_t)log.commits,
                     "last_error", log_error(server->log),
                     "upstreams", upstreams_of(server));
    /* clang-format on */
}

/* json_dumps goes on where it found no memory for a part: so all of it is asked for first. */
static void dump(struct buf *out, const json_t *json)
{
    size_t len = json ? json_dumpb(json, NULL, 0, JSON_INDENT(2)) : 0;
    char *room = len > 0 ? buf_room(out, len) : NULL;
    if (room && json_dumpb(json, room, len, JSON_INDENT(2)) == len)
        out->len += len;
    else
        out->failed = true;
}

void endpoint_status(struct conn *conn, const struct request *request)
{
    uint64_t named;
    const char *complaint = wanted_number(request, "channels", 0, BUSIEST_MAX, 0, &named);
    if (complaint) {
        conn_answer(conn, frame_error(400, NULL, complaint));
        return;
    }
    struct buf *out = &conn->server->scratch;
    json_t *status = status_of(conn->server);
    if (status && named > 0)
        json_object_set_new(status, "readers_by_channel", busiest_of(conn->server, named));
    buf_reset(out);
    dump(out, status);
    json_decref(status);
    buf_puts(out, "\n"); /* for whoever asks with curl */
    if (buf_ok(out))
        conn_answer(conn, frame_new(200, TYPE_JSON, NULL, out->bytes, out->len));
    else
        conn_refuse_for(conn, LOG_NO_MEMORY);
}

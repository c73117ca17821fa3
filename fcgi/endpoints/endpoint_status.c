/* status - how the daemon is doing, as JSON. */
#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#include "fcgi/conn/answer.h"
#include "fcgi/conn/refusal.h"
#include "fcgi/endpoints/endpoint.h"

#ifndef ENCKE_VERSION
#define ENCKE_VERSION "unknown"
#endif

enum { BUSIEST_MAX = 20 }; /* channels that are listed, of any number */

struct busiest {
    size_t most, count;
    struct {
        const char *name;
        unsigned readers;
    } channels[BUSIEST_MAX + 1]; /* the most readers first, then by name; room for one more */
};

static bool is_busier(unsigned readers, const char *name, unsigned than, const char *other)
{
    return readers != than ? readers > than : strcmp(name, other) < 0;
}

static void note_busy_channel(void *context, const char *name, unsigned readers)
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

/* The busiest channels and their readers. Only on request, since it looks at all channels. */
static json_t *busiest_of(const struct readers *readers, size_t most)
{
    struct busiest busiest = {.most = most};
    json_t *channels = json_object();
    groups_each_channel(&readers->groups, note_busy_channel, &busiest);
    for (size_t i = 0; i < busiest.count; i++)
        json_object_set_new(channels, busiest.channels[i].name,
                            json_integer(busiest.channels[i].readers));
    return channels;
}

/* A count as JSON. No count comes near 2^63. */
static json_t *json_count(uint64_t number)
{
    return json_integer((json_int_t)number);
}

static json_t *upstream_of(const struct service *service, const struct upstream *upstream)
{
    struct relay_stats stats;
    struct feed_stats feed;
    relay_stats(service->relay, upstream, &stats);
    feed_stats(service->feeds, upstream, &feed);
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
                     "down_for", json_count(stats.trouble_ms / 1000),
                     "clients", (int)stats.clients,
                     "under_way", (int)stats.under_way,
                     "asked", json_count(stats.asked),
                     "requests", json_count(stats.requests),
                     "coalesced", json_count(stats.coalesced),
                     "answers", json_count(stats.answers),
                     "turned_away", json_count(stats.turned_away),
                     "errors", json_pack("{s:o, s:o, s:o, s:o, s:o}",
                                         "unreachable", json_count(errors[RELAY_UNREACHABLE]),
                                         "timeout", json_count(errors[RELAY_TIMEOUT]),
                                         "status", json_count(errors[RELAY_STATUS]),
                                         "broken", json_count(errors[RELAY_BROKEN]),
                                         "refused", json_count(errors[RELAY_REFUSED])),
                     "last_error", stats.last_error,
                     "channel", feed.channel,
                     "cursor", feed.cursor,
                     "appended", json_count(feed.appended),
                     "shortened", json_count(feed.shortened));
    /* clang-format on */
}

static json_t *upstreams_of(const struct service *service)
{
    json_t *upstreams = json_array();
    for (size_t i = 0; i < service->upstreams->count; i++)
        json_array_append_new(upstreams, upstream_of(service, &service->upstreams->items[i]));
    return upstreams;
}

static json_t *status_of(const struct service *service)
{
    const struct conns *conns = service->conns;
    const struct readers *readers = service->readers;
    const struct admission *admission = readers->admission;
    unsigned holds = admission->waiting; /* less the streams, below */
    struct log_stats log;
    log_stats(readers->log, &log);
    char head[CURSOR_SIZE];
    cursor_print(head, log_epoch(readers->log), log_head(readers->log));
    json_t *streams = json_object();
    for (int kind = 0; kind < STREAM_KINDS; kind++) {
        holds -= readers->streams[kind];
        json_object_set_new(streams, transport_name((enum stream_kind)kind),
                            json_integer(readers->streams[kind]));
    }
    /* clang-format off */
    return json_pack("{s:s, s:I, s:s, s:s, s:i, s:i, s:i, s:i, s:I, s:o, s:i, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:s?, s:o}",
                     "version", ENCKE_VERSION,
                     "uptime", (json_int_t)(timer_now_ms() - service->started_ms) / 1000,
                     "epoch", log_epoch(readers->log),
                     "head", head,
                     "connections", (int)conns->count,
                     "holds", (int)holds,
                     "holds_max", (int)admission->waiting_max,
                     "channels_read", (int)groups_channels(&readers->groups),
                     "holds_refused", (json_int_t)admission->refused,
                     "streams", streams,
                     "streams_behind", (int)readers->streams_behind,
                     "reads_waiting", (json_int_t)log.reads,
                     "unsent", (json_int_t)conns->unsent.bytes,
                     "readers_cut_off", (json_int_t)conns->unsent.cut_off,
                     "websocket", service->websocket,
                     "messages", (json_int_t)log.messages,
                     "bytes", (json_int_t)log.bytes,
                     "wal_bytes", (json_int_t)log.wal_bytes,
                     "creates", (json_int_t)log.appended,
                     "deliveries", (json_int_t)conns->deliveries,
                     "commits", (json_int_t)log.commits,
                     "last_error", log_error(readers->log),
                     "upstreams", upstreams_of(service));
    /* clang-format on */
}

/* json_dumps leaves out a part for which it finds no memory. So the room for all of it is made
 * first. */
static void dump_json(struct buf *out, const json_t *json)
{
    size_t len = json ? json_dumpb(json, NULL, 0, JSON_INDENT(2)) : 0;
    char *room = len > 0 ? buf_room(out, len) : NULL;
    if (room && json_dumpb(json, room, len, JSON_INDENT(2)) == len)
        out->len += len;
    else
        out->failed = true;
}

void endpoint_status(struct service *service, struct conn *conn, const struct request *request)
{
    uint64_t named;
    const char *complaint = wanted_number(request, "channels", 0, BUSIEST_MAX, 0, &named);
    if (complaint) {
        conn_answer(conn, frame_error(400, NULL, complaint));
        return;
    }
    struct buf *out = &conn->conns->scratch;
    json_t *status = status_of(service);
    if (status && named > 0)
        json_object_set_new(status, "readers_by_channel", busiest_of(service->readers, named));
    buf_reset(out);
    dump_json(out, status);
    json_decref(status);
    buf_puts(out, "\n"); /* for those who ask with curl */
    if (buf_ok(out))
        conn_answer(conn, frame_new(200, TYPE_JSON, NULL, out->bytes, out->len));
    else
        conn_refuse_for_log(conn, LOG_NO_MEMORY);
}

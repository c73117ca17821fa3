#include "fcgi/server.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "fcgi/conflicts.h"
#include "fcgi/conn/reading.h"
#include "fcgi/endpoints/routes.h"
#include "fcgi/io/diag.h"
#include "fcgi/io/signals.h"
#include "fcgi/readers/hold.h"
#include "fcgi/readers/stream.h"
#include "fcgi/wire/handshake.h"
#include "fcgi/wire/request.h"

enum {
    OWN_DESCRIPTORS = 24, /* stdio, epoll, the files of the log, the memory file, the listeners … */
    UPSTREAM_SHARE = 8,   /* one connection in so many may be for a request to an upstream, … */
    POLL_DESCRIPTORS = 2, /* … which has so many descriptors while it tries two addresses */
    SPARE_SHARE = 8,      /* one in so many connections is kept free of holds, for short requests */
    GROUPS_SHARE = 1600,  /* bytes that groups and channels may take for each held request, … */
    GROUPS_LEAST = 1 << 20, /* … and bytes that they may take in any case */
    SWEEP_MS = 1000,        /* how long a group is kept that nobody is in */
    TIDY_MS = 1000,         /* after much memory was freed, until it is given back to the system */
    TIDY_FROM = 4 << 20,    /* bytes that are much */
    LOOK_MS = 500, /* between two looks at the log's files while something happens to them */
    READS_BYTES = 8 << 20, /* of memory for reads that wait for the disk: about 20,000 */
    READ_MS = 100,         /* the longest that one of them takes, if the disk is slow */
    TELL_MS = 2,           /* for giving pages from the disk in one round of the loop */
    DRAIN_MS = 1500        /* what a drain may take before it cuts connections off */
};

/* There is room for another connection. */
static void on_room_made(struct conns *conns)
{
    struct server *server = OWNER(struct server, conns, conns);
    door_resume(&server->fastcgi);
    door_resume(&server->websocket);
}

/* ---- memory ---- */

static size_t kept_for_readers(const struct server *server)
{
    return server->conns.unsent.bytes + server->admission.bytes;
}

/* What was freed lies scattered between what is still in use, and would never go back to the system
 * by itself. */
static void on_tidy(struct timer *timer)
{
    struct server *server = OWNER(struct server, timer, tidy_timer);
    server->most_kept = kept_for_readers(server);
    readers_tidy(&server->readers);
    buf_free(&server->conns.scratch);
    malloc_trim(0);
}

static void on_sweep(struct timer *timer)
{
    groups_sweep(&OWNER(struct server, timer, sweep_timer)->readers.groups, SWEEP_MS);
}

static void schedule_tidy(struct server *server)
{
    size_t kept = kept_for_readers(server);
    if (kept > server->most_kept)
        server->most_kept = kept;
    if (server->most_kept >= TIDY_FROM && kept < server->most_kept / 4 &&
        server->tidy_timer.due_tick == 0)
        timer_set(&server->loop.timers, &server->tidy_timer, TIDY_MS);
}

/* Does what must not be done while a list of connections is walked. */
static void settle_server(struct loop *loop)
{
    struct server *server = OWNER(struct server, loop, loop);
    struct unsent *unsent = &server->conns.unsent;
    struct conn *worst;
    while ((worst = unsent_worst(unsent)) != NULL) {
        unsent_note_cut_off(unsent);
        conn_end(worst);
    }
    unsent_note_better(unsent);
    schedule_tidy(server);
    if (!TAILQ_EMPTY(&server->readers.groups.deserted) && server->sweep_timer.due_tick == 0)
        timer_set(&loop->timers, &server->sweep_timer, SWEEP_MS);
}

static void hand_over_appends(struct loop *loop)
{
    log_hand_over(OWNER(struct server, loop, loop)->log);
}

/* ---- draining ---- */

/* Checks at each tick whether all requests are served, also those that come late on kept
 * connections. */
static void on_drain_timer(struct timer *timer)
{
    struct server *server = OWNER(struct server, timer, drain_timer);
    bool served = LIST_EMPTY(&server->conns.busy);
    bool ended = LIST_EMPTY(&server->readers.behind);
    if ((!served || !ended) && timer_now_ms() < server->drain_until_ms) {
        timer_set(&server->loop.timers, timer, 0);
        return;
    }
    if (!served)
        hold_refuse_deferred(&server->readers);
    if (!LIST_EMPTY(&server->conns.busy))
        diag(DIAG_WARN, "some requests were not finished in time and are cut off");
    if (!ended)
        diag(DIAG_INFO, "%u streams whose readers take nothing are cut off",
             server->readers.streams_behind);
    loop_stop(&server->loop);
}

static void drain(struct server *server)
{
    if (server->conns.draining)
        return;
    diag(DIAG_INFO, "draining: answering %u held requests and streams", server->admission.waiting);
    sd_notify(0, "STOPPING=1");
    door_close(&server->fastcgi);
    door_close(&server->websocket);
    server->conns.draining = true;
    server->drain_until_ms = timer_now_ms() + DRAIN_MS;
    groups_release(&server->readers.groups);
    if (server->relay) {
        feeds_stop(server->feeds);
        relay_release(server->relay);
    }
    stream_release_behind(&server->readers);
    hold_refuse_reads(&server->readers);
    timer_set(&server->loop.timers, &server->drain_timer, 0);
}

static void on_signal(struct source *source, uint32_t events)
{
    (void)events;
    struct server *server = OWNER(struct server, source, signal_source);
    if (signals_stop(server->signal_fd))
        drain(server);
}

/* ---- news from the log ---- */

/* Every cursor is of another epoch now. */
static void restart_readers(struct readers *readers)
{
    hold_restart(readers);
    stream_restart(readers);
    readers_restart(readers);
}

static void on_log(struct source *source, uint32_t events)
{
    (void)events;
    struct server *server = OWNER(struct server, source, log_source);
    struct log_news news;
    log_drain(server->log, &news);
    publish_done(&server->publisher, &news);
    if (news.restarted && news.restart == LOG_OK)
        restart_readers(&server->readers);
    readers_news(&server->readers, &news);
    publish_delivered(&news);
    if (news.failed) {
        server->exit_code = EXIT_FAILURE;
        drain(server);
    }
    log_news_free(server->log, &news);
}

/* Pages that were read from the disk are there. */
static void on_reads(struct source *source, uint32_t events)
{
    (void)events;
    log_tell_reads(OWNER(struct server, source, reads_source)->log, TELL_MS);
}

static void watch_log_files(struct server *server, uint32_t events)
{
    loop_change(&server->loop, log_watch_fd(server->log), TURN_NOW, TURN_NOW, events,
                &server->log_files_source);
}

/* Something happened to the log's files. In each checkpoint much happens to the database, so the
 * next look comes a while later. */
static void on_log_files(struct source *source, uint32_t events)
{
    (void)events;
    struct server *server = OWNER(struct server, source, log_files_source);
    log_look(server->log);
    watch_log_files(server, 0);
    timer_set(&server->loop.timers, &server->look_timer, LOOK_MS);
}

static void on_look_timer(struct timer *timer)
{
    watch_log_files(OWNER(struct server, timer, look_timer), EPOLLIN);
}

/* ---- life ---- */

/* Raises the limit of open files as far as it goes. Returns the limit. */
static rlim_t raise_files_limit(void)
{
    struct rlimit files = {1024, 1024};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_NOFILE, &files);
    return files.rlim_cur;
}

static void limit_polls(struct server *server, rlim_t files)
{
    unsigned wished = (unsigned)server->options->upstream_requests;
    unsigned most_polls = server->conns.count_max / UPSTREAM_SHARE;
    server->polls_max = wished < most_polls ? wished : most_polls;
    if (wished > most_polls)
        diag(
            DIAG_INFO,
            "making at most %u different requests to upstreams, as the limit of open files is %llu",
            most_polls, (unsigned long long)files);
    server->conns.count_max -= server->polls_max * POLL_DESCRIPTORS;
}

static void limit_waiting(struct server *server, rlim_t files)
{
    struct admission *admission = &server->admission;
    unsigned possible = server->conns.count_max - server->conns.count_max / SPARE_SHARE;
    unsigned wished = (unsigned)server->options->max_holds;
    if (wished > possible)
        diag(DIAG_INFO, "holding at most %u requests, as the limit of open files is %llu", possible,
             (unsigned long long)files);
    admission->waiting_max = wished < possible ? wished : possible;
    size_t bytes = (size_t)admission->waiting_max * GROUPS_SHARE;
    admission->bytes_max = bytes > GROUPS_LEAST ? bytes : GROUPS_LEAST;
}

static void set_limits(struct server *server)
{
    rlim_t files = raise_files_limit();
    rlim_t most = files < 10000000 ? files : 10000000;
    server->conns.count_max =
        most > (rlim_t)2 * OWN_DESCRIPTORS ? (unsigned)most - OWN_DESCRIPTORS : OWN_DESCRIPTORS;
    if (server->options->upstream.count > 0)
        limit_polls(server, files);
    limit_waiting(server, files);
}

static void tell_operator(enum log_tell_level level, const char *line)
{
    diag(level == LOG_TELL_WARN ? DIAG_WARN : DIAG_INFO, "the log: %s", line);
}

static int open_log(struct server *server, char *why, size_t why_size)
{
    const struct options *options = server->options;
    struct log_options log_options = {.path = options->db,
                                      .tell = tell_operator,
                                      .keep_messages = (uint64_t)options->keep_messages,
                                      .keep_age_ms = options->keep_age_s * 1000,
                                      .keep_bytes = (uint64_t)options->keep_bytes,
                                      .max_channels = (uint64_t)options->max_channels_kept,
                                      .once_ms = options->once_s * 1000,
                                      .once_keys = (uint64_t)options->once_keys,
                                      .memory_bytes = (size_t)options->memory_bytes,
                                      .queue_bytes = (size_t)options->queue_bytes,
                                      .collect = true,
                                      .reads_bytes = READS_BYTES,
                                      .read_ms = READ_MS};
    if (log_open(&server->log, &log_options, why, why_size) != 0)
        return -1;
    server->publisher =
        (struct publisher){.log = server->log, .max_message = (size_t)options->max_message};
    if (log_was_put_back(server->log))
        diag(DIAG_WARN,
             "%s is not as it was left: an older copy, or another log; clients are told to "
             "start over",
             options->db);
    return 0;
}

static int open_doors(struct server *server, char *why, size_t why_size)
{
    const struct options *options = server->options;
    mode_t mode = (mode_t)options->socket_mode;
    if (listener_open(&server->fastcgi.listener, options->socket, mode, why, why_size) != 0)
        return -1;
    if (listener_open_websocket(&server->websocket.listener, options->websocket_socket, mode, why,
                                why_size) != 0)
        return -1;
    const struct listener *fastcgi = &server->fastcgi.listener;
    const struct listener *websocket = &server->websocket.listener;
    return conflicts_with_sockets(options, fastcgi->path || websocket->path, websocket->fd >= 0,
                                  why, why_size);
}

static void say_relay(const struct upstream *upstream)
{
    diag(DIAG_INFO, "upstream %s is %s%s%s", upstream->name, upstream->shown,
         upstream->channel ? ", which feeds channel " : "",
         upstream->channel ? upstream->channel : "");
}

/* Upstreams are asked only when all else is ready. */
static int open_relay(struct server *server, char *why, size_t why_size)
{
    const struct upstreams *upstreams = &server->upstreams;
    if (upstreams->count == 0)
        return 0;
    const struct options *options = server->options;
    const struct relay_options relay_options = {.fetch = {.ca = options->upstream_ca,
                                                          .proxy = options->upstream_proxy,
                                                          .timeout_s = options->upstream_timeout_s,
                                                          .answer_max = options->upstream_answer},
                                                .polls_max = server->polls_max};
    server->relay = relay_open(&server->loop, &server->admission, upstreams, &relay_options);
    if (server->relay)
        server->feeds =
            feeds_open(&server->loop, server->relay, &server->publisher, upstreams, why, why_size);
    server->service.relay = server->relay;
    server->service.feeds = server->feeds;
    for (size_t i = 0; server->feeds && i < upstreams->count; i++)
        say_relay(&upstreams->items[i]);
    return server->feeds ? 0 : -1;
}

static int watch_all(struct server *server)
{
    server->log_source.ready = on_log;
    server->log_files_source.ready = on_log_files;
    server->reads_source.ready = on_reads;
    server->signal_source.ready = on_signal;
    server->drain_timer.fire = on_drain_timer;
    server->tidy_timer.fire = on_tidy;
    server->sweep_timer.fire = on_sweep;
    server->look_timer.fire = on_look_timer;
    struct loop *loop = &server->loop;
    loop->settle = settle_server;
    loop->hand_over = hand_over_appends;
    if (door_open(&server->fastcgi) != 0 || door_open(&server->websocket) != 0 ||
        loop_watch(loop, log_fd(server->log), TURN_NOW, EPOLLIN, &server->log_source) != 0 ||
        loop_watch(loop, log_reads_fd(server->log), TURN_LATER, EPOLLIN, &server->reads_source) !=
            0 ||
        (log_watch_fd(server->log) >= 0 && loop_watch(loop, log_watch_fd(server->log), TURN_NOW,
                                                      EPOLLIN, &server->log_files_source) != 0))
        return -1;
    return loop_watch(loop, server->signal_fd, TURN_NOW, EPOLLIN, &server->signal_source);
}

static int open_upstreams(struct server *server, char *why, size_t why_size)
{
    const struct options *options = server->options;
    const struct upstream_options upstream_options = {.upstream = &options->upstream,
                                                      .params = &options->upstream_params,
                                                      .channel = &options->upstream_channel,
                                                      .cursor = &options->upstream_cursor,
                                                      .ca = options->upstream_ca,
                                                      .proxy = options->upstream_proxy};
    return upstreams_open(&server->upstreams, &upstream_options, why, why_size);
}

/* What reads requests. Returns 0, or -1 with errno set. */
static int open_conns(struct server *server)
{
    const struct options *options = server->options;
    struct conns *conns = &server->conns;
    conns->first = &idle_wait;
    conns->request_timeout_ms = (uint64_t)options->request_timeout_s * 1000;
    conns->body_max = request_body_max((size_t)options->max_message);
    conns->take_request = route_request;
    conns->take_websocket = endpoint_handshake;
    conns->service = &server->service;
    conns->room_made = on_room_made;
    conns->handshaker = handshaker_new(options->origin, options->mount);
    conns->decoder = conns->handshaker ? decoder_new(conns->body_max) : NULL;
    return conns->decoder ? 0 : -1;
}

/* Sets up the readers and the endpoints. The log and the doors are open already. */
static int open_readers(struct server *server)
{
    const struct options *options = server->options;
    readers_init(&server->readers, server->log, &server->conns, &server->admission);
    server->readers.heartbeat_ms = (uint64_t)options->heartbeat_s * 1000;
    server->readers.stream_ms = (uint64_t)options->stream_s * 1000;
    server->service =
        (struct service){.conns = &server->conns,
                         .publisher = &server->publisher,
                         .readers = &server->readers,
                         .upstreams = &server->upstreams,
                         .talk_rules = {.publisher = &server->publisher,
                                        .may_create = options->websocket_create,
                                        .frames_per_s = (unsigned)options->websocket_rate},
                         .started_ms = timer_now_ms(),
                         .websocket = server->websocket.listener.fd >= 0,
                         .mount = options->mount,
                         .origin = options->origin,
                         .max_channels = (size_t)options->max_channels,
                         .hold_s = options->hold_s,
                         .hold_max_s = options->hold_max_s,
                         .stream_s = options->stream_s};
    return 0;
}

int server_open(struct server *server, const struct options *options)
{
    *server = (struct server){
        .options = options,
        .fastcgi = {.conns = &server->conns, .take = conn_accept_fastcgi, .listener.fd = -1},
        .websocket = {.conns = &server->conns, .take = conn_accept_websocket, .listener.fd = -1},
        .signal_fd = -1,
        .loop = {.epoll_fd = -1, .later_fd = -1}};
    char why[512] = "";
    conns_init(&server->conns, &server->loop, (size_t)options->unsent_bytes);
    set_limits(server);
    if (open_upstreams(server, why, sizeof why) != 0 || open_doors(server, why, sizeof why) != 0 ||
        (server->signal_fd = signals_open()) < 0 || open_log(server, why, sizeof why) != 0 ||
        loop_init(&server->loop) != 0 || open_conns(server) != 0 || open_readers(server) != 0 ||
        watch_all(server) != 0 || open_relay(server, why, sizeof why) != 0) {
        diag(DIAG_ERROR, "%s%s", *why ? why : "cannot start: ", *why ? "" : strerror(errno));
        return -1;
    }
    return 0;
}

int server_run(struct server *server)
{
    diag(DIAG_INFO, "serving %s from %s (epoch %s, head %llu)",
         server->fastcgi.listener.path ? server->fastcgi.listener.path : "an inherited socket",
         server->options->db, log_epoch(server->log), (unsigned long long)log_head(server->log));
    sd_notify(0, "READY=1");
    if (loop_run(&server->loop) == 0)
        return server->exit_code;
    diag(DIAG_ERROR, "waiting for events failed: %s", strerror(errno));
    return EXIT_FAILURE;
}

int server_close(struct server *server)
{
    conns_end_all(&server->conns);
    readers_free(&server->readers);
    feeds_close(server->feeds);
    relay_close(server->relay);
    listener_close(&server->fastcgi.listener);
    listener_close(&server->websocket.listener);
    enum log_status status = log_close(server->log);
    if (status != LOG_OK && status != server->publisher.last_status)
        diag(DIAG_ERROR, "messages were not stored: %s", log_status_text(status));
    decoder_free(server->conns.decoder);
    handshaker_free(server->conns.handshaker);
    buf_free(&server->conns.scratch);
    upstreams_free(&server->upstreams);
    loop_free(&server->loop);
    if (server->signal_fd >= 0)
        close(server->signal_fd);
    return status == LOG_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

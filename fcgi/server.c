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
#include "fcgi/io/diag.h"
#include "fcgi/readers/hold.h"
#include "fcgi/endpoints/routes.h"
#include "fcgi/io/signals.h"
#include "fcgi/readers/talk.h"

enum {
    OWN_DESCRIPTORS = 24, /* stdio, epoll, the log's files, the memory file, the listener … */
    UPSTREAM_SHARE = 8,   /* one in so many may be a request to an upstream, … */
    POLL_DESCRIPTORS = 2, /* … which has so many while it tries two addresses */
    SPARE_SHARE = 8,      /* one in so many connections is kept free of holds, for short requests */
    GROUPS_SHARE =
        1600, /* bytes that the channels of one held request may take, on the average … */
    GROUPS_LEAST = 1 << 20, /* … or of all of them together */
    SWEEP_MS = 1000,        /* for which groups are kept that nobody is in */
    TIDY_MS = 1000,         /* after much has been let go, until it is given back */
    TIDY_FROM = 4 << 20,    /* bytes that are much */
    LOOK_MS = 500,  /* between two looks at the log's files while something happens to them */
    DRAIN_MS = 1500 /* what a drain may take before it cuts connections off */
};

void server_conn_idle(struct server *server)
{
    door_resume(&server->fastcgi);
    door_resume(&server->websocket);
}

void server_conn_ended(struct server *server)
{
    server->conns--;
    server_conn_idle(server);
}

/* ---- who may wait ---- */

static unsigned waiting(const struct server *server)
{
    unsigned count = server->held;
    for (int kind = 0; kind < STREAM_KINDS; kind++)
        count += server->streams[kind];
    return count;
}

/* Told once, and again only after it had become better by a tenth. */
static void note_too_many(struct server *server)
{
    server->refused++;
    if (!server->full)
        diag(DIAG_WARN, "%u requests are held, the limit (--max-holds): refusing more",
             server->waiting_max);
    server->full = true;
}

static const char STOPPING[] = "the service is about to stop";

static void refuse_for_now(struct conn *conn, const char *why)
{
    char header[RETRY_AFTER_SIZE];
    conn_refuse(conn, 503, retry_after(header), why);
}

void server_refuse(struct conn *conn, const char *why)
{
    struct server *server = conn->server;
    server->refused++;
    if (!server->full)
        diag(DIAG_WARN, "refusing to hold a request: %s", why);
    server->full = true;
    refuse_for_now(conn, why);
}

bool server_news_can_wait(const struct server *server)
{
    enum { NEWS_BYTES = 8 << 20 };
    return unsent_is_too_much(&server->unsent) || server->round.rendered >= NEWS_BYTES;
}

bool server_admit(struct conn *conn)
{
    struct server *server = conn->server;
    if (!server->draining && waiting(server) < server->waiting_max)
        return true;
    if (!server->draining)
        note_too_many(server);
    refuse_for_now(conn, server->draining ? STOPPING : "too many requests are held");
    return false;
}

void server_left(struct server *server)
{
    const struct groups *groups = &server->groups;
    if (server->full && waiting(server) < server->waiting_max - server->waiting_max / 10 &&
        groups->bytes < groups->bytes_max - groups->bytes_max / 10)
        server->full = false;
}

/* ---- what readers do not take ---- */

/* Told once, and again only after it had become half as much. */
static void note_cut_off(struct server *server)
{
    server->cut_off++;
    if (!server->crowded)
        diag(DIAG_WARN,
             "%zu bytes are not taken by their readers, the limit (--unsent): cutting off those "
             "who take nothing",
             server->unsent.bytes);
    server->crowded = true;
}

static size_t kept_for_readers(const struct server *server)
{
    return server->unsent.bytes + server->groups.bytes;
}

/* What was let go lies scattered between what is still in use, and would be the process's for ever.
 */
static void on_tidy(struct timer *timer)
{
    struct server *server = OWNER(struct server, timer, tidy_timer);
    server->most_kept = kept_for_readers(server);
    strips_free(&server->strips);
    pages_free(&server->pages);
    buf_free(&server->scratch);
    malloc_trim(0);
}

static void on_sweep(struct timer *timer)
{
    groups_sweep(&OWNER(struct server, timer, sweep_timer)->groups, SWEEP_MS);
}

static void note_letting_go(struct server *server)
{
    size_t kept = kept_for_readers(server);
    if (kept > server->most_kept)
        server->most_kept = kept;
    if (server->most_kept >= TIDY_FROM && kept < server->most_kept / 4 &&
        server->tidy_timer.due_tick == 0)
        timer_set(&server->loop.timers, &server->tidy_timer, TIDY_MS);
}

/* No list of connections is being walked. */
static void settle(struct loop *loop)
{
    struct server *server = OWNER(struct server, loop, loop);
    struct conn *worst;
    while ((worst = unsent_worst(&server->unsent)) != NULL) {
        note_cut_off(server);
        conn_end(worst);
    }
    if (server->crowded && !unsent_is_much(&server->unsent))
        server->crowded = false;
    note_letting_go(server);
    if (!TAILQ_EMPTY(&server->groups.deserted) && server->sweep_timer.due_tick == 0)
        timer_set(&loop->timers, &server->sweep_timer, SWEEP_MS);
}

/* ---- draining ---- */

static void release(void *context, struct group *group)
{
    if (format_streams(group->shape.format))
        stream_release(group);
    else
        hold_release(context, group);
}

/* Those whose turn has not come must ask again; that is short, and any socket takes it. */
static void refuse_deferred(struct server *server)
{
    struct conn *conn = LIST_FIRST(&server->busy);
    while (conn) {
        struct conn *next = LIST_NEXT(conn, link);
        if (conn->state == CONN_DEFERRED)
            refuse_for_now(conn, STOPPING);
        conn = next;
    }
}

/* Looks from time to time whether all are served: what raced in on kept connections is, too. */
static void on_drain_timer(struct timer *timer)
{
    struct server *server = OWNER(struct server, timer, drain_timer);
    bool served = LIST_EMPTY(&server->busy);
    bool ended = LIST_EMPTY(&server->behind);
    if ((!served || !ended) && timer_now_ms() < server->drain_until_ms) {
        timer_set(&server->loop.timers, timer, 0);
        return;
    }
    if (!served)
        refuse_deferred(server);
    if (!LIST_EMPTY(&server->busy))
        diag(DIAG_WARN, "some requests were not finished in time and are cut off");
    if (!ended)
        diag(DIAG_INFO, "%u streams whose readers take nothing are cut off",
             server->streams_behind);
    loop_stop(&server->loop);
}

static void drain(struct server *server)
{
    if (server->draining)
        return;
    diag(DIAG_INFO, "draining: answering %u held requests and streams", waiting(server));
    sd_notify(0, "STOPPING=1");
    door_close(&server->fastcgi);
    door_close(&server->websocket);
    server->draining = true;
    server->drain_until_ms = timer_now_ms() + DRAIN_MS;
    groups_each(&server->groups, release, server);
    if (server->relay) {
        feeds_stop(server->feeds);
        relay_release(server->relay);
    }
    stream_release_behind(server);
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

static void wake(void *context, struct group *group, uint64_t before)
{
    if (format_streams(group->shape.format))
        stream_wake(context, group, before);
    else
        hold_wake(context, group, before);
}

static void on_log(struct source *source, uint32_t events)
{
    (void)events;
    struct server *server = OWNER(struct server, source, log_source);
    struct log_news news;
    log_drain(server->log, &news);
    publish_done(&server->publisher, &news);
    groups_news(&server->groups, &news, wake, server);
    round_end(&server->round);
    publish_delivered(&news);
    if (news.failed) {
        server->exit_code = EXIT_FAILURE;
        drain(server);
    }
    log_news_free(&news);
}

static void watch_log_files(struct server *server, uint32_t events)
{
    loop_change(&server->loop, log_watch_fd(server->log), TURN_NOW, TURN_NOW, events,
                &server->log_files_source);
}

/* Something happened to the log's files; and to the database, much does in each checkpoint: so the
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

static void set_limits(struct server *server)
{
    struct rlimit files = {1024, 1024};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_NOFILE, &files);
    rlim_t most = files.rlim_cur < 10000000 ? files.rlim_cur : 10000000;
    server->conns_max =
        most > (rlim_t)2 * OWN_DESCRIPTORS ? (unsigned)most - OWN_DESCRIPTORS : OWN_DESCRIPTORS;
    if (server->options->upstream.count > 0) {
        unsigned wished = (unsigned)server->options->upstream_requests;
        unsigned most_polls = server->conns_max / UPSTREAM_SHARE;
        server->polls_max = wished < most_polls ? wished : most_polls;
        if (wished > most_polls)
            diag(DIAG_INFO,
                 "making at most %u different requests to upstreams, as the limit of open files is "
                 "%llu",
                 most_polls, (unsigned long long)files.rlim_cur);
        server->conns_max -= server->polls_max * POLL_DESCRIPTORS;
    }
    unsigned possible = server->conns_max - server->conns_max / SPARE_SHARE;
    unsigned wished = (unsigned)server->options->max_holds;
    if (wished > possible)
        diag(DIAG_INFO, "holding at most %u requests, as the limit of open files is %llu", possible,
             (unsigned long long)files.rlim_cur);
    server->waiting_max = wished < possible ? wished : possible;
    size_t channels = (size_t)server->waiting_max * GROUPS_SHARE;
    groups_init(&server->groups, channels > GROUPS_LEAST ? channels : GROUPS_LEAST);
}

static void tell(enum log_tell_level level, const char *line)
{
    diag(level == LOG_TELL_WARN ? DIAG_WARN : DIAG_INFO, "the log: %s", line);
}

static int open_log(struct server *server, char *why, size_t why_size)
{
    const struct options *options = server->options;
    struct log_options log_options = {.path = options->db,
                                      .tell = tell,
                                      .keep_messages = (uint64_t)options->keep_messages,
                                      .keep_age_ms = options->keep_age_s * 1000,
                                      .keep_bytes = (uint64_t)options->keep_bytes,
                                      .memory_bytes = (size_t)options->memory_bytes,
                                      .queue_bytes = (size_t)options->queue_bytes};
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

/* Nobody asks upstreams before all else is ready. */
static int open_relay(struct server *server, char *why, size_t why_size)
{
    const struct upstreams *upstreams = &server->upstreams;
    if (upstreams->count == 0)
        return 0;
    server->relay = relay_open(server, upstreams, server->polls_max);
    if (server->relay)
        server->feeds = feeds_open(server, server->relay, upstreams, why, why_size);
    for (size_t i = 0; server->feeds && i < upstreams->count; i++)
        say_relay(&upstreams->items[i]);
    return server->feeds ? 0 : -1;
}

static int watch_all(struct server *server)
{
    server->log_source.ready = on_log;
    server->log_files_source.ready = on_log_files;
    server->signal_source.ready = on_signal;
    server->drain_timer.fire = on_drain_timer;
    server->tidy_timer.fire = on_tidy;
    server->sweep_timer.fire = on_sweep;
    server->look_timer.fire = on_look_timer;
    struct loop *loop = &server->loop;
    loop->settle = settle;
    if (door_open(&server->fastcgi) != 0 || door_open(&server->websocket) != 0 ||
        loop_watch(loop, log_fd(server->log), TURN_NOW, EPOLLIN, &server->log_source) != 0 ||
        (log_watch_fd(server->log) >= 0 && loop_watch(loop, log_watch_fd(server->log), TURN_NOW,
                                                      EPOLLIN, &server->log_files_source) != 0))
        return -1;
    return loop_watch(loop, server->signal_fd, TURN_NOW, EPOLLIN, &server->signal_source);
}

int server_open(struct server *server, const struct options *options)
{
    *server = (struct server){.options = options,
                              .fastcgi = {.server = server, .listener.fd = -1},
                              .websocket = {.server = server, .listener.fd = -1, .websocket = true},
                              .signal_fd = -1,
                              .loop = {.epoll_fd = -1, .later_fd = -1},
                              .started_ms = timer_now_ms()};
    char why[512] = "";
    TAILQ_INIT(&server->idle);
    unsent_init(&server->unsent, (size_t)options->unsent_bytes);
    set_limits(server);
    if (upstreams_open(&server->upstreams, options, why, sizeof why) != 0 ||
        open_doors(server, why, sizeof why) != 0 || (server->signal_fd = signals_open()) < 0 ||
        open_log(server, why, sizeof why) != 0 || loop_init(&server->loop) != 0 ||
        !(server->handshaker = handshaker_new(options->origin, options->mount)) ||
        !(server->decoder = decoder_new(request_body_max((size_t)options->max_message))) ||
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

static void end_all(struct conn_list *list)
{
    while (!LIST_EMPTY(list))
        conn_end(LIST_FIRST(list));
}

static void end_group(void *context, struct group *group)
{
    (void)context;
    end_all(&group->conns);
}

int server_close(struct server *server)
{
    while (!TAILQ_EMPTY(&server->idle))
        conn_end(TAILQ_FIRST(&server->idle));
    end_all(&server->busy);
    end_all(&server->behind);
    groups_each(&server->groups, end_group, NULL);
    groups_sweep(&server->groups, 0);
    feeds_close(server->feeds);
    relay_close(server->relay);
    pages_free(&server->pages);
    strips_free(&server->strips);
    listener_close(&server->fastcgi.listener);
    listener_close(&server->websocket.listener);
    enum log_status status = log_close(server->log);
    if (status != LOG_OK && status != server->publisher.last_status)
        diag(DIAG_ERROR, "messages were not stored: %s", log_status_text(status));
    decoder_free(server->decoder);
    handshaker_free(server->handshaker);
    buf_free(&server->scratch);
    upstreams_free(&server->upstreams);
    loop_free(&server->loop);
    if (server->signal_fd >= 0)
        close(server->signal_fd);
    return status == LOG_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

#include "fcgi/relay/curl_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A socket of libcurl's, as long as libcurl wants to hear of it. */
struct socket {
    struct source source;
    struct curl_loop *curl_loop;
    int fd;
};

static void curl_loop_act(struct curl_loop *curl_loop, curl_socket_t fd, int events)
{
    int count;
    CURLMsg *message;
    curl_multi_socket_action(curl_loop->multi, fd, events, &count);
    while ((message = curl_multi_info_read(curl_loop->multi, &count)) != NULL)
        curl_loop->done(message->easy_handle, message->data.result);
}

static void on_curl_socket(struct source *source, uint32_t events)
{
    struct socket *socket = (struct socket *)source;
    int mask = (events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
               (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               (events & EPOLLERR ? CURL_CSELECT_ERR : 0);
    curl_loop_act(socket->curl_loop, socket->fd, mask);
}

static void on_curl_timer(struct source *source, uint32_t events)
{
    (void)events;
    struct curl_loop *curl_loop = OWNER(struct curl_loop, source, timer_source);
    uint64_t expirations;
    curl_loop->due_now = false;
    if (read(curl_loop->timer_fd, &expirations, sizeof expirations) > 0)
        curl_loop_act(curl_loop, CURL_SOCKET_TIMEOUT, 0);
}

/* CURLMOPT_TIMERFUNCTION: libcurl wants to be called in ms; -1: not at all. */
static int set_curl_timer(CURLM *multi, long ms, void *user)
{
    (void)multi;
    struct curl_loop *curl_loop = user;
    struct itimerspec when = {0}; /* not at all */
    if (curl_loop->due_now)
        return 0; /* when it is called, it says anew what else is due */
    curl_loop->due_now = ms == 0;
    if (ms > 0)
        when.it_value = (struct timespec){ms / 1000, ms % 1000 * 1000000};
    else if (ms == 0)
        when.it_value.tv_nsec = 1; /* at once, but not from within libcurl */
    timerfd_settime(curl_loop->timer_fd, 0, &when, NULL);
    return 0;
}

static void watch_curl_socket(struct curl_loop *curl_loop, curl_socket_t fd, uint32_t events)
{
    struct socket *socket = malloc(sizeof *socket);
    if (!socket)
        return;
    *socket = (struct socket){.source.ready = on_curl_socket, .curl_loop = curl_loop, .fd = fd};
    if (loop_watch(curl_loop->loop, fd, TURN_NOW, events, &socket->source) == 0)
        curl_multi_assign(curl_loop->multi, fd, socket);
    else
        free(socket);
}

/* CURLMOPT_SOCKETFUNCTION: what to watch a socket for. It always succeeds: a failure would stop
 * every transfer for good, but a socket that nobody watches only lets its own run out of time. */
static int set_curl_watch(CURL *easy, curl_socket_t fd, int what, void *user, void *known)
{
    (void)easy;
    static const uint32_t events[] = {[CURL_POLL_IN] = EPOLLIN,
                                      [CURL_POLL_OUT] = EPOLLOUT,
                                      [CURL_POLL_INOUT] = EPOLLIN | EPOLLOUT};
    struct curl_loop *curl_loop = user;
    struct socket *socket = known;
    if (what != CURL_POLL_REMOVE && socket) {
        loop_change(curl_loop->loop, fd, TURN_NOW, TURN_NOW, events[what], &socket->source);
    } else if (what != CURL_POLL_REMOVE) {
        watch_curl_socket(curl_loop, fd, events[what]);
    } else if (socket) {
        loop_forget(curl_loop->loop, fd, &socket->source);
        loop_free_later(curl_loop->loop, socket);
        curl_multi_assign(curl_loop->multi, fd, NULL);
    }
    return 0;
}

int curl_loop_open(struct curl_loop *curl_loop, struct loop *loop, unsigned connections_max,
                   void (*done)(CURL *easy, CURLcode code))
{
    *curl_loop = (struct curl_loop){
        .loop = loop, .timer_fd = -1, .timer_source.ready = on_curl_timer, .done = done};
    errno = ENOMEM;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return -1;
    CURLM *multi = curl_loop->multi = curl_multi_init();
    if (!multi)
        return -1;
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, set_curl_watch);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, curl_loop);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_curl_timer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, curl_loop);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)connections_max);
    curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)connections_max);
    curl_loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (curl_loop->timer_fd < 0)
        return -1;
    return loop_watch(loop, curl_loop->timer_fd, TURN_NOW, EPOLLIN, &curl_loop->timer_source);
}

void curl_loop_close(struct curl_loop *curl_loop)
{
    if (!curl_loop->loop)
        return;
    curl_multi_cleanup(curl_loop->multi);
    if (curl_loop->timer_fd >= 0) {
        loop_forget(curl_loop->loop, curl_loop->timer_fd, &curl_loop->timer_source);
        close(curl_loop->timer_fd);
    }
    curl_global_cleanup();
}

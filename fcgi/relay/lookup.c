#include "fcgi/relay/lookup.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fcgi/io/buf.h"

/* What the thread needs, and what it found out. The last of both that needs it frees it. */
struct lookup_job {
    atomic_int users;
    int event_fd; /* a descriptor of its own: the lookup's may be closed, and its number reused */
    char *host, *port;
    struct addrinfo *found;
    int error; /* of getaddrinfo */
};

static void lookup_job_drop(struct lookup_job *job)
{
    if (!job || atomic_fetch_sub(&job->users, 1) > 1)
        return;
    if (job->found)
        freeaddrinfo(job->found);
    if (job->event_fd >= 0)
        close(job->event_fd);
    free(job->host);
    free(job->port);
    free(job);
}

static void *run_lookup(void *argument)
{
    struct lookup_job *job = argument;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    job->error = getaddrinfo(job->host, job->port, &hints, &job->found);
    eventfd_write(job->event_fd, 1);
    lookup_job_drop(job);
    return NULL;
}

static struct lookup_job *lookup_job_start(const struct lookup *lookup)
{
    struct lookup_job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->event_fd = fcntl(lookup->event_fd, F_DUPFD_CLOEXEC, 0);
    job->host = strdup(lookup->host);
    job->port = strdup(lookup->port);
    atomic_init(&job->users, 2);
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool started = job->event_fd >= 0 && job->host && job->port &&
                   pthread_create(&thread, &attributes, run_lookup, job) == 0;
    pthread_attr_destroy(&attributes);
    if (started)
        return job;
    atomic_store(&job->users, 1);
    lookup_job_drop(job);
    return NULL;
}

/* Takes the addresses over. Returns what is wrong, or NULL. */
static const char *take_addresses(struct lookup *lookup, const struct lookup_job *job)
{
    struct buf list = {0};
    if (job->error != 0)
        return gai_strerror(job->error);
    for (const struct addrinfo *at = job->found; at; at = at->ai_next) {
        char text[INET6_ADDRSTRLEN + 24]; /* and the scope of a link-local one */
        if (getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST))
            continue;
        buf_puts(&list, list.len > 0 ? "," : "");
        buf_puts(&list, at->ai_family == AF_INET6 ? "[" : "");
        buf_puts(&list, text);
        buf_puts(&list, at->ai_family == AF_INET6 ? "]" : "");
    }
    buf_add(&list, "", 1);
    if (!buf_ok(&list) || list.len == 1) {
        buf_free(&list);
        return "no address was found";
    }
    free(lookup->addresses);
    lookup->addresses = list.bytes;
    lookup->known_ms = timer_now_ms();
    return NULL;
}

static void tell_lookup_done(struct lookup *lookup, const char *fault)
{
    timer_clear(&lookup->loop->timers, &lookup->timer);
    lookup->done(lookup, fault);
}

static void on_lookup_event(struct source *source, uint32_t events)
{
    (void)events;
    struct lookup *lookup = (struct lookup *)source;
    eventfd_t count;
    if (eventfd_read(lookup->event_fd, &count) != 0 || !lookup->job)
        return;
    const char *fault = take_addresses(lookup, lookup->job);
    lookup_job_drop(lookup->job);
    lookup->job = NULL;
    if (lookup->timer.due_tick != 0) /* else nobody waits any more; the next one finds it known */
        tell_lookup_done(lookup, fault);
}

static void on_lookup_timer(struct timer *timer)
{
    struct lookup *lookup = OWNER(struct lookup, timer, timer);
    tell_lookup_done(lookup, lookup->job ? "its name is not looked up in time"
                                         : "there is no thread for it");
}

static bool is_address(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    return *host == '[' || inet_pton(AF_INET, host, address) == 1;
}

int lookup_open(struct lookup *lookup, struct loop *loop, const char *host, const char *port,
                uint64_t wait_ms, void (*done)(struct lookup *lookup, const char *fault))
{
    *lookup = (struct lookup){.source.ready = on_lookup_event,
                              .timer.fire = on_lookup_timer,
                              .loop = loop,
                              .host = strdup(host),
                              .port = strdup(port),
                              .wait_ms = wait_ms,
                              .event_fd = -1,
                              .done = done};
    if (!lookup->host || !lookup->port)
        return -1;
    if (is_address(host))
        return 0;
    lookup->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (lookup->event_fd < 0)
        return -1;
    return loop_watch(loop, lookup->event_fd, TURN_NOW, EPOLLIN, &lookup->source);
}

bool lookup_known(const struct lookup *lookup)
{
    return lookup->event_fd < 0 ||
           (lookup->addresses && timer_now_ms() - lookup->known_ms < LOOKUP_FRESH_MS);
}

void lookup_start(struct lookup *lookup)
{
    if (lookup->timer.due_tick != 0)
        return;
    if (!lookup->job)
        lookup->job = lookup_job_start(lookup);
    timer_set(&lookup->loop->timers, &lookup->timer, lookup->job ? lookup->wait_ms : 0);
}

void lookup_forget(struct lookup *lookup)
{
    free(lookup->addresses);
    lookup->addresses = NULL;
}

void lookup_close(struct lookup *lookup)
{
    if (!lookup->loop)
        return;
    timer_clear(&lookup->loop->timers, &lookup->timer);
    lookup_job_drop(lookup->job);
    if (lookup->event_fd >= 0) {
        loop_forget(lookup->loop, lookup->event_fd,
                    &lookup->source); /* the thread has it open, too */
        close(lookup->event_fd);
    }
    free(lookup->addresses);
    free(lookup->host);
    free(lookup->port);
    *lookup = (struct lookup){0};
}

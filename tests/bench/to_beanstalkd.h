/* to_beanstalkd.h - appends to a queue of beanstalkd: a `put`, as its protocol.txt has it.
 *
 * Debian has no client library for C. The protocol is a line and the message, and a line as the
 * answer, so it is spoken here; a library could only take longer.
 */
#ifndef ENCKE_BENCH_TO_BEANSTALKD_H
#define ENCKE_BENCH_TO_BEANSTALKD_H

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/bench/appender.h"

struct beanstalkd_client {
    size_t sent;
    char answer[64];
    size_t answer_len;
};

static char *beanstalkd_put; /* of this run, as bytes */
static size_t beanstalkd_put_len;

/* What it has stays: it would have to be deleted one by one. */
static void beanstalkd_prepare(const char *socket, bool anew)
{
    int len =
        asprintf(&beanstalkd_put, "put 0 0 60 %zu\r\n%s\r\n", appends.message_len, appends.message);

    (void)socket;
    (void)anew;
    if (len < 0)
        die("beanstalkd: out of memory");
    beanstalkd_put_len = (size_t)len;
}

static void beanstalkd_open(struct appender *a, const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a->client = calloc(1, sizeof(struct beanstalkd_client));
    if (!a->client || fd < 0 || strlen(path) >= sizeof to.sun_path)
        die("beanstalkd: no connection");
    strcpy(to.sun_path, path);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) != 0)
        die("beanstalkd: no connection to %s", path);
    appender_watch(a, fd);
}

static void beanstalkd_write(struct appender *a)
{
    struct beanstalkd_client *client = a->client;
    ssize_t n = send(a->fd, beanstalkd_put + client->sent, beanstalkd_put_len - client->sent,
                     MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN)
        die("beanstalkd: a connection was closed");
    client->sent += n > 0 ? (size_t)n : 0;
    appender_want_out(a, client->sent < beanstalkd_put_len);
}

static void beanstalkd_append(struct appender *a)
{
    struct beanstalkd_client *client = a->client;

    client->sent = client->answer_len = 0;
    beanstalkd_write(a);
}

static enum append_news beanstalkd_read(struct appender *a)
{
    struct beanstalkd_client *client = a->client;
    ssize_t n = recv(a->fd, client->answer + client->answer_len,
                     sizeof client->answer - 1 - client->answer_len, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return APPEND_NOTHING;
    if (n <= 0)
        die("beanstalkd: a connection was closed");
    client->answer_len += (size_t)n;
    client->answer[client->answer_len] = 0;
    if (!strchr(client->answer, '\n'))
        return APPEND_NOTHING;
    if (strncmp(client->answer, "INSERTED ", 9) != 0)
        die("beanstalkd: not appended: %s", client->answer);
    return APPENDED;
}

static enum append_news beanstalkd_step(struct appender *a, uint32_t events)
{
    if (events & EPOLLOUT)
        beanstalkd_write(a);
    return events & ~(uint32_t)EPOLLOUT ? beanstalkd_read(a) : APPEND_NOTHING;
}

static const struct store beanstalkd_store = {.name = "beanstalkd",
                                              .address = "SOCKET",
                                              .prepare = beanstalkd_prepare,
                                              .open = beanstalkd_open,
                                              .append = beanstalkd_append,
                                              .step = beanstalkd_step};

#endif

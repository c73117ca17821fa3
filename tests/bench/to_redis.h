/* to_redis.h - appends to a Redis stream (XADD), by hiredis and its asynchronous interface. */
#ifndef ENCKE_BENCH_TO_REDIS_H
#define ENCKE_BENCH_TO_REDIS_H

#include <hiredis/async.h>

#include "tests/bench/appender.h"

struct redis_client {
    redisAsyncContext *context;
    struct appender *appender;
    bool wants_out, appended;
};

static char *redis_command; /* of this run, as bytes */
static size_t redis_command_len;

static void redis_prepare(const char *socket, bool anew)
{
    redisContext *c = redisConnectUnix(socket);
    redisReply *reply = c && !c->err ? redisCommand(c, anew ? "DEL main" : "PING") : NULL;
    long long len = redisFormatCommand(&redis_command, "XADD main * data %b", appends.message,
                                       appends.message_len);

    if (!reply || reply->type == REDIS_REPLY_ERROR || len < 0)
        die("redis: no answer at %s", socket);
    redis_command_len = (size_t)len;
    freeReplyObject(reply);
    redisFree(c);
}

static void redis_add_write(void *client)
{
    ((struct redis_client *)client)->wants_out = true;
}

static void redis_del_write(void *client)
{
    ((struct redis_client *)client)->wants_out = false;
}

static void redis_answered(redisAsyncContext *context, void *answer, void *client)
{
    const redisReply *reply = answer;

    if (!reply || reply->type != REDIS_REPLY_STRING) /* a stream's id */
        die("redis: not appended: %s", reply ? reply->str : context->errstr);
    ((struct redis_client *)client)->appended = true;
}

static void redis_open(struct appender *a, const char *socket)
{
    struct redis_client *client = calloc(1, sizeof *client);
    redisAsyncContext *context = redisAsyncConnectUnix(socket);

    if (!client || !context || context->err)
        die("redis: no connection to %s", socket);
    *client = (struct redis_client){.context = context, .appender = a};
    context->ev.data = client;
    context->ev.addWrite = redis_add_write;
    context->ev.delWrite = redis_del_write;
    a->client = client;
    appender_watch(a, context->c.fd);
}

static void redis_write(struct redis_client *client)
{
    redisAsyncHandleWrite(client->context);
    appender_want_out(client->appender, client->wants_out);
}

static void redis_append(struct appender *a)
{
    struct redis_client *client = a->client;

    if (redisAsyncFormattedCommand(client->context, redis_answered, client, redis_command,
                                   redis_command_len) != REDIS_OK)
        die("redis: a command cannot be sent");
    redis_write(client);
}

static enum append_news redis_step(struct appender *a, uint32_t events)
{
    struct redis_client *client = a->client;

    client->appended = false;
    if (events & EPOLLOUT)
        redis_write(client);
    if (events & ~(uint32_t)EPOLLOUT)
        redisAsyncHandleRead(client->context);
    return client->appended ? APPENDED : APPEND_NOTHING;
}

static const struct store redis_store = {.name = "redis",
                                         .address = "SOCKET",
                                         .prepare = redis_prepare,
                                         .open = redis_open,
                                         .append = redis_append,
                                         .step = redis_step};

#endif

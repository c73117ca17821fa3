/* to_nats.h - appends to a stream of NATS JetStream, by libnats: a request whose answer is the
 * stream's acknowledgement, as the library's own js_Publish makes it.
 *
 * js_Publish itself waits, and js_PublishAsync answers on a thread of each connection; so the
 * library runs on our epoll here, in its way for event loops.
 */
#ifndef ENCKE_BENCH_TO_NATS_H
#define ENCKE_BENCH_TO_NATS_H

#include <nats/nats.h>

#include "tests/bench/appender.h"

struct nats_client {
    natsConnection *conn;
    natsSubscription *acks;
    natsInbox *inbox;
};

/* Ends the program if the library says anything but OK. */
static void nats_check(natsStatus status, const char *what)
{
    if (status != NATS_OK)
        die("nats: %s: %s", what, natsStatus_GetText(status));
}

static natsOptions *nats_options(const char *address)
{
    natsOptions *options;
    char url[128];

    snprintf(url, sizeof url, "nats://%s", address);
    nats_check(natsOptions_Create(&options), "options");
    nats_check(natsOptions_SetURL(options, url), address);
    return options;
}

/* A stream in a file. */
static void nats_prepare(const char *address, bool anew)
{
    const char *subjects[] = {"main"};
    natsOptions *options = nats_options(address);
    jsStreamConfig config;
    natsConnection *conn;
    jsErrCode error = 0;
    jsCtx *js;

    nats_check(natsConnection_Connect(&conn, options), address);
    nats_check(natsConnection_JetStream(&js, conn, NULL), "JetStream");
    nats_check(jsStreamConfig_Init(&config), "JetStream");
    config.Name = "MAIN";
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    nats_check(js_AddStream(NULL, js, &config, NULL, &error), "no stream");
    if (anew)
        nats_check(js_PurgeStream(js, config.Name, NULL, &error), "the stream cannot be emptied");
    jsCtx_Destroy(js);
    natsConnection_Destroy(conn);
    natsOptions_Destroy(options);
}

/* ---- the library on our epoll: what it calls ----------------------------------------------------
 */

static natsStatus nats_attach(void **data, void *loop, natsConnection *conn, natsSock fd)
{
    (void)conn;
    *data = loop; /* the appender */
    appender_watch(loop, fd);
    return NATS_OK;
}

static natsStatus nats_want_read(void *data, bool add)
{
    (void)data;
    (void)add; /* it is always read */
    return NATS_OK;
}

static natsStatus nats_want_write(void *data, bool add)
{
    appender_want_out(data, add);
    return NATS_OK;
}

static natsStatus nats_detach(void *data)
{
    (void)data;
    return NATS_OK;
}

/* ---- connections --------------------------------------------------------------------------------
 */

static void nats_open(struct appender *a, const char *address)
{
    struct nats_client *client = a->client = calloc(1, sizeof *client);
    natsOptions *options = nats_options(address);

    if (!client)
        die("nats: out of memory");
    nats_check(natsOptions_SetEventLoop(options, a, nats_attach, nats_want_read, nats_want_write,
                                        nats_detach),
               "event loop");
    nats_check(natsOptions_SetSendAsap(options, true), "options"); /* no thread that sends */
    nats_check(natsOptions_SetAllowReconnect(options, false), "options");
    nats_check(natsConnection_Connect(&client->conn, options), address);
    nats_check(natsInbox_Create(&client->inbox), "inbox");
    nats_check(natsConnection_SubscribeSync(&client->acks, client->conn, client->inbox), "inbox");
    natsConnection_ProcessWriteEvent(client->conn);
    natsOptions_Destroy(options);
}

static void nats_append(struct appender *a)
{
    const struct nats_client *client = a->client;

    nats_check(natsConnection_PublishRequest(client->conn, "main", client->inbox, appends.message,
                                             (int)appends.message_len),
               "not sent");
    natsConnection_ProcessWriteEvent(client->conn);
}

static enum append_news nats_step(struct appender *a, uint32_t events)
{
    const struct nats_client *client = a->client;
    uint64_t queued = 0;
    natsMsg *ack;

    if (events & EPOLLOUT)
        natsConnection_ProcessWriteEvent(client->conn);
    if (events & ~(uint32_t)EPOLLOUT)
        natsConnection_ProcessReadEvent(client->conn);
    if (natsConnection_IsClosed(client->conn))
        die("nats: a connection was closed");
    nats_check(natsSubscription_QueuedMsgs(client->acks, &queued), "inbox");
    if (!queued)
        return APPEND_NOTHING;
    nats_check(natsSubscription_NextMsg(&ack, client->acks, 1000), "inbox");
    if (!memmem(natsMsg_GetData(ack), (size_t)natsMsg_GetDataLength(ack), "\"seq\":", 6))
        die("nats: not appended: %.*s", natsMsg_GetDataLength(ack), natsMsg_GetData(ack));
    natsMsg_Destroy(ack);
    return APPENDED;
}

static const struct store nats_store = {.name = "nats",
                                        .address = "127.0.0.1:PORT",
                                        .prepare = nats_prepare,
                                        .open = nats_open,
                                        .append = nats_append,
                                        .step = nats_step};

#endif

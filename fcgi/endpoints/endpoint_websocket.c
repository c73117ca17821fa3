/* websocket - a stream on which the client speaks too. handshake.c reads its handshake, and talk.c
 * what the client says. The rest is a stream like the others. */
#include "fcgi/conn/answer.h"
#include "fcgi/conn/refusal.h"
#include "fcgi/endpoints/endpoint.h"
#include "fcgi/readers/stream.h"
#include "fcgi/readers/talk.h"
#include "fcgi/readers/wanted.h"

/* No web server carries a WebSocket over FastCGI; it comes through a socket of its own. */
void endpoint_websocket(struct service *service, struct conn *conn, const struct request *request)
{
    (void)service, (void)request;
    conn_answer(conn, frame_error(426, "Upgrade: websocket\r\n",
                                  "a WebSocket cannot come over FastCGI: start encke with "
                                  "--websocket-socket PATH and have the web server proxy this "
                                  "address to that socket"));
}

/* Reads what is wanted, and makes a talk for it. Returns NULL if something is wrong, and then the
 * request has been answered. */
static struct partner *make_talk(const struct service *service, struct conn *conn,
                                 const struct request *request, struct wanted *wanted)
{
    const struct terms terms = {.formats = {{"json", FORMAT_FRAMES}, {"echo", FORMAT_FRAMES}},
                                .wait_s = service->stream_s,
                                .wait_max_s = service->stream_s};
    if (!endpoint_understand(service, conn, request, &terms, wanted))
        return NULL;
    const char *complaint;
    struct partner *talk = talk_new(&service->talk_rules, request, wanted, &complaint);
    if (complaint)
        conn_refuse(conn, 400, NULL, complaint);
    else if (!talk)
        conn_refuse_for_log(conn, LOG_NO_MEMORY);
    return talk;
}

void endpoint_handshake(void *context, struct conn *conn, const struct handshake *handshake,
                        const uint8_t *bytes, size_t len)
{
    struct service *service = context;
    struct wanted wanted;
    struct buf greeting = {0};
    struct partner *talk = make_talk(service, conn, handshake->request, &wanted);
    if (!talk)
        return;
    wanted.wait_ms = STREAM_FOREVER;
    handshake_put_accept(&greeting, handshake);
    buf_add(&greeting, "", 1);
    if (buf_ok(&greeting)) {
        stream_open(service->readers, conn, &wanted, greeting.bytes, talk);
    } else {
        talk->ops->free(talk);
        conn_end(conn);
    }
    buf_free(&greeting);
    if (len > 0 && stream_of(conn))
        talk_hear(conn, bytes, len);
}

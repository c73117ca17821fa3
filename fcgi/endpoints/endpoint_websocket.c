/* websocket - a stream on which the client speaks too. Its handshake is handshake.c's, what the
 * client says talk.c's; the rest is a stream like the others. */
#include "fcgi/endpoints/routes.h"
#include "fcgi/server.h"
#include "fcgi/readers/stream.h"
#include "fcgi/readers/talk.h"
#include "fcgi/readers/wanted.h"

/* No web server carries a WebSocket over FastCGI; it comes through a socket of its own. */
void endpoint_websocket(struct conn *conn, const struct request *request)
{
    (void)request;
    conn_answer(conn, frame_error(426, "Upgrade: websocket\r\n",
                                  "a WebSocket cannot come over FastCGI: start encke with "
                                  "--websocket-socket PATH and have the web server proxy this "
                                  "address to that socket"));
}

/* What was asked for, and a talk for it; or an answer that says what is wrong, and NULL. */
static struct talk *make_talk(struct conn *conn, const struct request *request,
                              struct wanted *wanted)
{
    const struct options *options = conn->server->options;
    const struct terms terms = {.formats = {{"json", FORMAT_FRAMES}, {"echo", FORMAT_FRAMES}},
                                .wait_s = options->stream_s,
                                .wait_max_s = options->stream_s};
    if (!understand(conn, request, &terms, wanted))
        return NULL;
    const char *complaint;
    struct talk *talk = talk_new(options, request, wanted, &complaint);
    if (complaint)
        conn_refuse(conn, 400, NULL, complaint);
    else if (!talk)
        conn_refuse_for(conn, LOG_NO_MEMORY);
    return talk;
}

void websocket_open(struct conn *conn, const struct handshake *handshake, const uint8_t *bytes,
                    size_t len)
{
    struct wanted wanted;
    struct buf greeting = {0};
    struct talk *talk = make_talk(conn, handshake->request, &wanted);
    if (!talk)
        return;
    wanted.wait_ms = STREAM_FOREVER;
    handshake_put_accept(&greeting, handshake);
    buf_add(&greeting, "", 1);
    if (buf_ok(&greeting)) {
        stream_open(conn, &wanted, greeting.bytes, talk);
    } else {
        talk_free(talk);
        conn_end(conn);
    }
    buf_free(&greeting);
    if (conn->state == CONN_STREAM && len > 0)
        talk_hear(conn, bytes, len);
}

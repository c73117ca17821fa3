/* websocket - a stream on which the client speaks too. */
#include "fcgi/routes.h"

void websocket_open(struct conn *conn, const struct handshake *handshake, const uint8_t *bytes,
                    size_t len)
{
    (void)handshake;
    (void)bytes;
    (void)len;
    conn_refuse(conn, 503, NULL, "not yet");
}

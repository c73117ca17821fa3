/* ws.h - WebSocket frames as a client sees them (RFC 6455, 5.2): what the server sends, taken
 * apart, and the one frame that the client must send, a pong.
 *
 * Pure. What the server may not do is told; what is in a text is not looked at here.
 */
#ifndef ENCKE_BENCH_WS_H
#define ENCKE_BENCH_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { WS_CONTROL_MAX = 125, WS_HEAD_MAX = 10, WS_PONG_MAX = WS_CONTROL_MAX + 6 };

enum { WS_TEXT = 1, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

/* Who gets what is in the frames. */
struct ws_taker {
    void (*text)(void *whose, const char *bytes, size_t len); /* pieces, as they come */
    void (*ping)(void *whose, const char *payload, size_t len);
    void *whose;
};

/* The frame that is being read. All zero at first. */
struct ws {
    unsigned char head[WS_HEAD_MAX];
    size_t have; /* bytes of the head */
    bool in_payload;
    uint64_t left; /* of the payload */
    char control[WS_CONTROL_MAX];
    size_t control_len;
    bool closed; /* a close frame has come */
};

static inline int ws_opcode(const struct ws *ws)
{
    return ws->head[0] & 0x0f;
}

static inline size_t ws_head_len(const struct ws *ws)
{
    int length = ws->head[1] & 0x7f;

    return length == 127 ? 10 : length == 126 ? 4 : 2;
}

/* Looks at a whole head. False if a server may not send it. */
static inline bool ws_head(struct ws *ws)
{
    int opcode = ws_opcode(ws), length = ws->head[1] & 0x7f;

    ws->left = length < 126 ? (uint64_t)length : 0;
    for (size_t i = 2; i < ws->have; i++)
        ws->left = ws->left << 8 | ws->head[i];
    ws->control_len = 0;
    if (ws->head[1] & 0x80 || ws->head[0] & 0x70 || ws->closed)
        return false; /* masked, with an extension, or after the end */
    if (opcode >= WS_CLOSE)
        return opcode <= WS_PONG && length <= WS_CONTROL_MAX && ws->head[0] & 0x80;
    return opcode <= WS_TEXT;
}

static inline void ws_payload(struct ws *ws, const struct ws_taker *taker, const char *bytes,
                              size_t len)
{
    if (ws_opcode(ws) <= WS_TEXT && len) {
        taker->text(taker->whose, bytes, len);
    } else if (len) {
        memcpy(ws->control + ws->control_len, bytes, len);
        ws->control_len += len;
    }
    ws->left -= len;
    if (ws->left)
        return;
    if (ws_opcode(ws) == WS_PING)
        taker->ping(taker->whose, ws->control, ws->control_len);
    ws->closed = ws_opcode(ws) == WS_CLOSE;
    ws->have = 0;
    ws->in_payload = false;
}

/* Takes the next bytes of the connection. False if they are no frames of a server. */
static inline bool ws_feed(struct ws *ws, const struct ws_taker *taker, const char *bytes,
                           size_t len)
{
    while (len) {
        size_t took = 1;

        if (ws->in_payload) {
            took = len < ws->left ? len : (size_t)ws->left;
            ws_payload(ws, taker, bytes, took);
        } else {
            ws->head[ws->have++] = (unsigned char)*bytes;
            if (ws->have >= 2 && ws->have == ws_head_len(ws)) {
                if (!ws_head(ws))
                    return false;
                ws->in_payload = true;
                if (!ws->left)
                    ws_payload(ws, taker, bytes, 0);
            }
        }
        bytes += took;
        len -= took;
    }
    return true;
}

/* Makes the answer to a ping in WS_PONG_MAX bytes; returns its length. Masked with zeros, which a
 * server can't tell from a mask drawn at random that happens to be zero. */
static inline size_t ws_pong(char *frame, const char *payload, size_t len)
{
    const char head[6] = {(char)(0x80 | WS_PONG), (char)(0x80 | len)};

    memcpy(frame, head, sizeof head);
    memcpy(frame + sizeof head, payload, len);
    return sizeof head + len;
}

#endif

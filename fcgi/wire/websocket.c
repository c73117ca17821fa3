#include "fcgi/wire/websocket.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <wslay/wslay.h>

#include "fcgi/io/utf8.h"

enum {
    CONTROL_MAX = 125, /* bytes in a control frame (5.5) */
    BASE_HEADER = 2,   /* of a frame */
    MASK = 4,
    HEADER_MAX = BASE_HEADER + 8 + MASK,
    FIRST_CAP = 64 /* bytes made ready for a message; doubled as they come */
};

/* A message that is not whole yet, or one that is not dropped yet. */
struct incoming {
    STAILQ_ENTRY(incoming) next;
    size_t len, cap;
    size_t checked; /* bytes, from the first, that are known to be UTF-8 */
    char bytes[];   /* cap bytes, and one more for a NUL */
};

struct websocket {
    struct receiver *receiver; /* NULL between frames */
    struct incoming *message;  /* not whole yet; NULL: none */
    STAILQ_HEAD(, incoming) texts;
    uint64_t paid_ns; /* the frames so far use up the rate until this time */
    size_t max_message;
    uint32_t frames_per_s;
    uint16_t closing; /* code; 0: open */
    bool continues;   /* the message goes on in the next frame */
};
_Static_assert(sizeof(struct websocket) <= WEBSOCKET_REST_MAX, "a WebSocket at rest is small");

/* What is needed while a frame is incomplete. */
struct receiver {
    wslay_frame_context_ptr wslay;
    const uint8_t *bytes; /* that wslay has not taken yet */
    size_t len;
    uint64_t fed;               /* bytes that wslay has taken */
    uint64_t whole;             /* bytes of the frames that are complete */
    uint64_t got;               /* bytes of this frame's payload */
    bool begun;                 /* this frame's header has been checked */
    uint8_t header[HEADER_MAX]; /* the header, until it is checked */
    uint8_t control[CONTROL_MAX];
    struct buf *out; /* for pongs */
};

/* ---- life ---- */

struct websocket *websocket_new(size_t max_message, unsigned frames_per_s)
{
    struct websocket *websocket = calloc(1, sizeof *websocket);
    if (!websocket)
        return NULL;
    websocket->max_message = max_message;
    websocket->frames_per_s = frames_per_s;
    STAILQ_INIT(&websocket->texts);
    return websocket;
}

static void receiver_free(struct receiver *receiver)
{
    if (receiver)
        wslay_frame_context_free(receiver->wslay);
    free(receiver);
}

void websocket_free(struct websocket *websocket)
{
    if (!websocket)
        return;
    while (!STAILQ_EMPTY(&websocket->texts))
        websocket_drop(websocket);
    receiver_free(websocket->receiver);
    free(websocket->message);
    free(websocket);
}

/* Called by wslay for bytes; 0 tells it that there are no more for now. */
static ssize_t pass_to_wslay(uint8_t *to, size_t room, int flags, void *context)
{
    (void)flags;
    struct receiver *receiver = context;
    size_t len = receiver->len < room ? receiver->len : room;
    if (len > 0)
        memcpy(to, receiver->bytes, len);
    receiver->bytes += len;
    receiver->len -= len;
    receiver->fed += len;
    return (ssize_t)len;
}

static struct receiver *receiver_new(void)
{
    static const struct wslay_frame_callbacks callbacks = {.recv_callback = pass_to_wslay};
    struct receiver *receiver = calloc(1, sizeof *receiver);
    if (receiver && wslay_frame_context_init(&receiver->wslay, &callbacks, receiver) == 0)
        return receiver;
    free(receiver);
    return NULL;
}

static void write_frame(struct buf *out, uint8_t opcode, const void *payload, size_t len);

/* ---- frames that the client sends; each function returns 0, or the code to close with ---- */

/* A token bucket, stored as the time until which its tokens are spent. Each frame costs its share
 * of a second, and the time may be WEBSOCKET_BURST seconds ahead. */
static unsigned pay_for_frame(struct websocket *websocket, uint64_t now_ms)
{
    const uint64_t second = 1000000000, now = now_ms * 1000000;
    if (websocket->paid_ns < now)
        websocket->paid_ns = now;
    websocket->paid_ns += second / websocket->frames_per_s;
    return websocket->paid_ns - now > WEBSOCKET_BURST * second ? WEBSOCKET_TOO_MANY : 0;
}

/* Checks a header by section 5.2 and, for the order of frames, 5.4. wslay has checked that control
 * frames are short and not split, and that lengths have their shortest form. */
static unsigned check_header(struct websocket *websocket, const struct wslay_frame_iocb *frame)
{
    if (!frame->mask || frame->rsv != WSLAY_RSV_NONE)
        return WEBSOCKET_PROTOCOL;
    switch (frame->opcode) {
    case WSLAY_CONTINUATION_FRAME:
        if (!websocket->continues)
            return WEBSOCKET_PROTOCOL;
        break;
    case WSLAY_TEXT_FRAME:
    case WSLAY_BINARY_FRAME:
        if (websocket->continues)
            return WEBSOCKET_PROTOCOL;
        if (frame->opcode == WSLAY_BINARY_FRAME)
            return WEBSOCKET_BINARY;
        break;
    case WSLAY_CONNECTION_CLOSE:
    case WSLAY_PING:
    case WSLAY_PONG:
        return frame->payload_length <= CONTROL_MAX ? 0 : WEBSOCKET_PROTOCOL; /* 5.5 */
    default:
        return WEBSOCKET_PROTOCOL;
    }
    size_t before = websocket->message ? websocket->message->len : 0;
    return frame->payload_length > websocket->max_message - before ? WEBSOCKET_TOO_LARGE : 0;
}

/* Makes room in the message for len more bytes. */
static unsigned grow_message(struct websocket *websocket, size_t len)
{
    struct incoming *message = websocket->message;
    size_t have = message ? message->len : 0, cap = message ? message->cap : 0;
    size_t checked = message ? message->checked : 0;
    if (message && cap - have >= len)
        return 0;
    cap = cap ? 2 * cap : FIRST_CAP;
    if (cap > websocket->max_message)
        cap = websocket->max_message;
    if (cap < have + len)
        cap = have + len;
    message = realloc(message, sizeof *message + cap + 1);
    if (!message)
        return WEBSOCKET_NO_MEMORY;
    message->len = have;
    message->cap = cap;
    message->checked = checked;
    websocket->message = message;
    return 0;
}

static unsigned end_text(struct websocket *websocket)
{
    struct incoming *message = websocket->message;
    message->bytes[message->len] = '\0';
    if (message->checked < message->len) /* its last character is not whole */
        return WEBSOCKET_NOT_UTF8;
    STAILQ_INSERT_TAIL(&websocket->texts, message, next);
    websocket->message = NULL;
    return 0;
}

/* Whether a close frame may have the code: section 7.4, and 1012 to 1014, registered since. */
static bool close_code_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

/* The client closes, and is answered with its own code (5.5.1). */
static unsigned end_close(const uint8_t *payload, size_t len)
{
    if (len == 0)
        return WEBSOCKET_NORMAL;
    unsigned code = len >= 2 ? (unsigned)(payload[0] << 8 | payload[1]) : 0;
    if (!close_code_valid(code))
        return WEBSOCKET_PROTOCOL;
    return text_is_utf8((struct text){(const char *)payload + 2, len - 2}) ? code
                                                                           : WEBSOCKET_NOT_UTF8;
}

static unsigned end_frame(struct websocket *websocket, const struct wslay_frame_iocb *frame)
{
    struct receiver *receiver = websocket->receiver;
    size_t len = (size_t)frame->payload_length;
    switch (frame->opcode) {
    case WSLAY_PONG:
        return 0;
    case WSLAY_PING:
        write_frame(receiver->out, WSLAY_PONG, receiver->control, len);
        return 0;
    case WSLAY_CONNECTION_CLOSE:
        return end_close(receiver->control, len);
    default:
        websocket->continues = !frame->fin;
        return frame->fin ? end_text(websocket) : 0;
    }
}

/* Checks the part of a text that is there, without waiting for the rest (8.1). */
static unsigned check_text(struct incoming *message)
{
    bool wrong;
    message->checked +=
        utf8_prefix(message->bytes + message->checked, message->len - message->checked, &wrong);
    return wrong ? WEBSOCKET_NOT_UTF8 : 0;
}

/* Adds a part of a frame's payload to the message, or to the control frame. */
static unsigned keep_payload(struct websocket *websocket, const struct wslay_frame_iocb *part)
{
    struct receiver *receiver = websocket->receiver;
    bool control = wslay_is_ctrl_frame(part->opcode);
    unsigned code = control ? 0 : grow_message(websocket, part->data_length);
    if (code != 0 || part->data_length == 0)
        return code;
    struct incoming *message = websocket->message;
    memcpy(control ? (char *)receiver->control + receiver->got : message->bytes + message->len,
           part->data, part->data_length);
    if (control)
        return 0;
    message->len += part->data_length;
    return check_text(message);
}

static unsigned begin_frame(struct websocket *websocket, const struct wslay_frame_iocb *frame,
                            uint64_t now_ms)
{
    websocket->receiver->begun = true;
    websocket->receiver->got = 0;
    unsigned code = pay_for_frame(websocket, now_ms);
    return code ? code : check_header(websocket, frame);
}

/* The length of a masked frame's header. */
static size_t frame_header_len(uint64_t payload_len)
{
    size_t extended = payload_len < 126 ? 0 : payload_len <= UINT16_MAX ? 2 : 8;
    return BASE_HEADER + extended + MASK;
}

/* Takes a part of a frame, or all of it. */
static unsigned take_frame_part(struct websocket *websocket, const struct wslay_frame_iocb *frame,
                                uint64_t now_ms)
{
    struct receiver *receiver = websocket->receiver;
    unsigned code = receiver->begun ? 0 : begin_frame(websocket, frame, now_ms);
    if (code == 0)
        code = keep_payload(websocket, frame);
    if (code != 0)
        return code;
    receiver->got += frame->data_length;
    if (receiver->got < frame->payload_length)
        return 0;
    receiver->whole += frame_header_len(frame->payload_length) + frame->payload_length;
    receiver->begun = false;
    return end_frame(websocket, frame);
}

/* Lets wslay read all the bytes. */
static unsigned receive_frames(struct websocket *websocket, uint64_t now_ms)
{
    for (;;) {
        struct wslay_frame_iocb frame = {0};
        ssize_t rc = wslay_frame_recv(websocket->receiver->wslay, &frame);
        if (rc == WSLAY_ERR_WANT_READ)
            return 0;
        unsigned code = rc < 0 ? WEBSOCKET_PROTOCOL : take_frame_part(websocket, &frame, now_ms);
        if (code != 0)
            return code;
    }
}

/* Reads a header (5.2), in which wslay has found no fault. Returns false if it is not whole. */
static bool read_frame_header(const uint8_t *bytes, size_t len, struct wslay_frame_iocb *frame)
{
    if (len < BASE_HEADER)
        return false;
    unsigned short_len = bytes[1] & 0x7f;
    size_t extended = short_len < 126 ? 0 : short_len == 126 ? 2 : 8;
    *frame = (struct wslay_frame_iocb){.fin = bytes[0] >> 7,
                                       .rsv = bytes[0] >> 4 & 7,
                                       .opcode = bytes[0] & 0xf,
                                       .mask = bytes[1] >> 7,
                                       .payload_length = extended ? 0 : short_len};
    if (len < BASE_HEADER + extended + (frame->mask ? MASK : 0))
        return false;
    for (size_t i = 0; i < extended; i++)
        frame->payload_length = frame->payload_length << 8 | bytes[BASE_HEADER + i];
    return true;
}

/* wslay reports a frame only when a part of its payload is there. But a frame that is not allowed
 * is refused without waiting for that: its header is checked as soon as it is whole. bytes[0, len)
 * are all the bytes of this call. */
static unsigned check_header_early(struct websocket *websocket, const uint8_t *bytes, size_t len,
                                   uint64_t now_ms)
{
    struct receiver *receiver = websocket->receiver;
    struct wslay_frame_iocb frame;
    if (receiver->begun || receiver->fed - receiver->whole > HEADER_MAX)
        return 0;
    size_t have = (size_t)(receiver->fed - receiver->whole), new = have < len ? have : len;
    memcpy(receiver->header + have - new, bytes + len - new, new);
    return read_frame_header(receiver->header, have, &frame)
               ? begin_frame(websocket, &frame, now_ms)
               : 0;
}

void websocket_feed(struct websocket *websocket, const uint8_t *bytes, size_t len, uint64_t now_ms,
                    struct buf *out)
{
    if (websocket->closing || len == 0)
        return;
    if (!websocket->receiver)
        websocket->receiver = receiver_new();
    struct receiver *receiver = websocket->receiver;
    if (!receiver) {
        websocket->closing = WEBSOCKET_NO_MEMORY;
        return;
    }
    receiver->bytes = bytes;
    receiver->len = len;
    receiver->out = out;
    websocket->closing = (uint16_t)receive_frames(websocket, now_ms);
    if (!websocket->closing)
        websocket->closing = (uint16_t)check_header_early(websocket, bytes, len, now_ms);
    if (websocket->closing || receiver->fed == receiver->whole) {
        receiver_free(receiver);
        websocket->receiver = NULL;
    }
    if (websocket->closing) {
        free(websocket->message);
        websocket->message = NULL;
    }
}

/* ---- the texts, and the end ---- */

struct text websocket_first(const struct websocket *websocket)
{
    const struct incoming *text = STAILQ_FIRST(&websocket->texts);
    return text ? (struct text){text->bytes, text->len} : (struct text){0};
}

void websocket_drop(struct websocket *websocket)
{
    struct incoming *text = STAILQ_FIRST(&websocket->texts);
    if (!text)
        return;
    STAILQ_REMOVE_HEAD(&websocket->texts, next);
    free(text);
}

unsigned websocket_closing(const struct websocket *websocket)
{
    return websocket->closing;
}

/* ---- frames that the daemon sends ---- */

static ssize_t collect_from_wslay(const uint8_t *bytes, size_t len, int flags, void *context)
{
    (void)flags;
    struct buf *out = context;
    buf_add(out, bytes, len);
    return buf_ok(out) ? (ssize_t)len : -1;
}

static void write_frame(struct buf *out, uint8_t opcode, const void *payload, size_t len)
{
    static const struct wslay_frame_callbacks callbacks = {.send_callback = collect_from_wslay};
    struct wslay_frame_iocb frame = {
        .fin = 1, .opcode = opcode, .payload_length = len, .data = payload, .data_length = len};
    wslay_frame_context_ptr wslay;
    if (wslay_frame_context_init(&wslay, &callbacks, out) != 0) {
        out->failed = true;
        return;
    }
    if (wslay_frame_send(wslay, &frame) < 0)
        out->failed = true;
    wslay_frame_context_free(wslay);
}

void websocket_put_text(struct buf *out, const char *text, size_t len)
{
    write_frame(out, WSLAY_TEXT_FRAME, text, len);
}

void websocket_put_ping(struct buf *out)
{
    write_frame(out, WSLAY_PING, NULL, 0);
}

static const char *close_reason(unsigned code)
{
    switch (code) {
    case WEBSOCKET_GOING_AWAY:
        return "the service is about to stop";
    case WEBSOCKET_PROTOCOL:
        return "a frame that RFC 6455 does not allow";
    case WEBSOCKET_BINARY:
        return "binary messages are not accepted here";
    case WEBSOCKET_NOT_UTF8:
        return "the text is not UTF-8";
    case WEBSOCKET_TOO_MANY:
        return "too many frames (--websocket-rate)";
    case WEBSOCKET_TOO_LARGE:
        return "the message is too large (--max-message)";
    case WEBSOCKET_NO_MEMORY:
        return "out of memory";
    default:
        return "";
    }
}

void websocket_put_close(struct buf *out, unsigned code)
{
    uint8_t payload[CONTROL_MAX] = {(uint8_t)(code >> 8), (uint8_t)code};
    size_t len = strlen(close_reason(code));
    memcpy(payload + 2, close_reason(code), len);
    write_frame(out, WSLAY_CONNECTION_CLOSE, payload, 2 + len);
}

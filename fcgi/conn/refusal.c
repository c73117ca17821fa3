#include "fcgi/conn/refusal.h"

#include "fcgi/conn/answer.h"
#include "fcgi/wire/handshake.h"

void conn_refuse(struct conn *conn, int status, const char *header, const char *text)
{
    struct buf *out = &conn->conns->scratch;
    if (!conn->websocket) {
        conn_answer(conn, frame_error(status, header, text));
        return;
    }
    buf_reset(out);
    handshake_put_error(out, status, header, text, conn->head);
    conn->lingers = true; /* there may be a body that nobody has read */
    conn_answer(conn, buf_ok(out) ? frame_raw(out->bytes, out->len) : NULL);
}

void conn_refuse_for_now(struct conn *conn, const char *text)
{
    char header[RETRY_AFTER_SIZE];
    conn_refuse(conn, 503, retry_after(header), text);
}

/* The HTTP status for it; *header is a further header line, or NULL. */
static int http_status_of(enum log_status status, const char **header)
{
    *header = NULL;
    switch (status) {
    case LOG_FULL:
    case LOG_CHANNELS:
    case LOG_KEYS:
        return 507;
    case LOG_FAILED:
        return 500;
    case LOG_CONFLICT:
        return 409;
    default:
        *header = "Retry-After: 1\r\n";
        return 503;
    }
}

void conn_refuse_for_log(struct conn *conn, enum log_status status)
{
    const char *header;
    int code = http_status_of(status, &header);
    conn_refuse(conn, code, header, log_status_text(status));
}

struct frame *refusal_frame(enum log_status status)
{
    const char *header;
    int code = http_status_of(status, &header);
    return frame_error(code, header, log_status_text(status));
}

struct frame *refusal_frame_at(enum log_status status, size_t element)
{
    const char *header;
    int code = http_status_of(status, &header);
    return frame_error_at(code, header, element, log_status_text(status));
}

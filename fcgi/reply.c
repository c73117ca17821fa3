#include "fcgi/reply.h"

#include <errno.h>
#include <fastcgi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

const char TYPE_JSON[] = "application/json";
const char TYPE_TEXT[] = "text/plain; charset=utf-8";

/* What every response says. */
#define COMMON_HEADERS                                                                             \
    "Cache-Control: no-store\r\n"                                                                  \
    "X-Content-Type-Options: nosniff\r\n"

enum {
    HEAD_MAX = 1024,     /* bytes of the CGI header */
    RECORD_MAX = 0xfff8, /* content of one record: the longest that needs no padding */
    ORDINARY_ID = 1
};

static const char *reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Content Too Large";
    case 415:
        return "Unsupported Media Type";
    case 426:
        return "Upgrade Required";
    case 503:
        return "Service Unavailable";
    case 507:
        return "Insufficient Storage";
    default:
        return "Internal Server Error";
    }
}

static uint8_t *put_header(uint8_t *at, int type, uint16_t id, size_t content_len)
{
    FCGI_Header header = {.version = FCGI_VERSION_1,
                          .type = (unsigned char)type,
                          .requestIdB1 = (unsigned char)(id >> 8),
                          .requestIdB0 = (unsigned char)id,
                          .contentLengthB1 = (unsigned char)(content_len >> 8),
                          .contentLengthB0 = (unsigned char)content_len};
    memcpy(at, &header, sizeof header);
    return at + sizeof header;
}

/* Copies head and body into STDOUT records and returns where they end. */
static uint8_t *put_stdout(uint8_t *at, uint16_t id, const char *head, size_t head_len,
                           const char *body, size_t body_len)
{
    size_t left = head_len + body_len;
    while (left > 0) {
        size_t len = left < RECORD_MAX ? left : RECORD_MAX;
        size_t from_head = len < head_len ? len : head_len;
        at = put_header(at, FCGI_STDOUT, id, len);
        memcpy(at, head, from_head);
        if (len > from_head)
            memcpy(at + from_head, body, len - from_head);
        head += from_head;
        head_len -= from_head;
        body += len - from_head;
        at += len;
        left -= len;
    }
    return at;
}

static uint8_t *put_end(uint8_t *at, uint16_t id)
{
    FCGI_EndRequestBody end = {.protocolStatus = FCGI_REQUEST_COMPLETE};
    at = put_header(at, FCGI_STDOUT, id, 0);
    at = put_header(at, FCGI_END_REQUEST, id, sizeof end);
    memcpy(at, &end, sizeof end);
    return at + sizeof end;
}

enum { END_LEN = FCGI_HEADER_LEN + sizeof(FCGI_EndRequestRecord) };

static size_t stdout_len(size_t content_len)
{
    return content_len + (content_len + RECORD_MAX - 1) / RECORD_MAX * FCGI_HEADER_LEN;
}

static struct frame *frame_alloc(uint16_t id, size_t len)
{
    struct frame *frame = len <= UINT32_MAX ? malloc(sizeof *frame + len) : NULL;
    if (frame)
        *frame = (struct frame){.refs = 1, .len = (uint32_t)len, .request_id = id};
    return frame;
}

/* A whole answer: its head, which snprintf has written and measured, and its body. */
static struct frame *frame_whole(const char *head, int head_len, const void *body, size_t body_len)
{
    if (head_len < 0 || head_len >= HEAD_MAX)
        return NULL;
    struct frame *frame =
        frame_alloc(ORDINARY_ID, stdout_len((size_t)head_len + body_len) + END_LEN);
    if (frame)
        put_end(put_stdout(frame->bytes, ORDINARY_ID, head, (size_t)head_len, body, body_len),
                ORDINARY_ID);
    return frame;
}

struct frame *frame_new(int status, const char *type, const char *header, const void *body,
                        size_t body_len)
{
    char head[HEAD_MAX];
    int head_len = snprintf(head, sizeof head,
                            "Status: %d %s\r\n"
                            "Content-Type: %s\r\n"
                            "Content-Length: %zu\r\n" COMMON_HEADERS "%s\r\n",
                            status, reason(status), type, body_len, header ? header : "");
    return frame_whole(head, head_len, body, body_len);
}

/* RFC 9110, 8.3: without a type the body may be anything; 15.3.5 and 15.4.5: these have none. */
struct frame *frame_relayed(int status, const char *reason, const char *type, const void *body,
                            size_t body_len)
{
    char head[HEAD_MAX];
    int head_len;
    if (status == 204 || status == 304) {
        head_len =
            snprintf(head, sizeof head, "Status: %d %s\r\n" COMMON_HEADERS "\r\n", status, reason);
        return frame_whole(head, head_len, "", 0);
    }
    head_len = snprintf(head, sizeof head,
                        "Status: %d %s\r\n"
                        "Content-Type: %s\r\n"
                        "Content-Length: %zu\r\n" COMMON_HEADERS "\r\n",
                        status, reason, *type ? type : "application/octet-stream", body_len);
    return frame_whole(head, head_len, body, body_len);
}

/* X-Accel-Buffering: nginx passes this response on as it comes. */
struct frame *frame_opening(uint16_t request_id, const char *type, const char *header,
                            const void *body, size_t body_len)
{
    char head[HEAD_MAX];
    int head_len = snprintf(head, sizeof head,
                            "Status: 200 OK\r\n"
                            "Content-Type: %s\r\n"
                            "X-Accel-Buffering: no\r\n" COMMON_HEADERS "%s\r\n",
                            type, header ? header : "");
    if (head_len < 0 || head_len >= HEAD_MAX)
        return NULL;
    struct frame *frame = frame_alloc(request_id, stdout_len((size_t)head_len + body_len));
    if (frame)
        put_stdout(frame->bytes, request_id, head, (size_t)head_len, body, body_len);
    return frame;
}

struct frame *frame_part(uint16_t request_id, const void *body, size_t body_len)
{
    struct frame *frame = frame_alloc(request_id, stdout_len(body_len));
    if (frame)
        put_stdout(frame->bytes, request_id, "", 0, body, body_len);
    return frame;
}

struct frame *frame_end(uint16_t request_id)
{
    struct frame *frame = frame_alloc(request_id, END_LEN);
    if (frame)
        put_end(frame->bytes, request_id);
    return frame;
}

struct frame *frame_raw(const void *bytes, size_t len)
{
    struct frame *frame = frame_alloc(0, len);
    if (frame)
        memcpy(frame->bytes, bytes, len);
    return frame;
}

struct frame *frame_error(int status, const char *header, const char *text)
{
    char body[512];
    int len = snprintf(body, sizeof body, "{\"error\":\"%s\"}\n", text);
    return frame_new(status, TYPE_JSON, header, body, (size_t)len);
}

const char *retry_after(char header[RETRY_AFTER_SIZE])
{
    snprintf(header, RETRY_AFTER_SIZE, "Retry-After: %u\r\n", 1 + arc4random_uniform(10));
    return header;
}

struct frame *frame_hold(struct frame *frame)
{
    frame->refs++;
    return frame;
}

void frame_drop(struct frame *frame)
{
    if (frame && --frame->refs == 0)
        free(frame);
}

/* Makes the records carry id. */
static bool set_request_id(struct frame **frame, uint16_t id)
{
    if ((*frame)->refs > 1) {
        struct frame *copy = malloc(sizeof *copy + (*frame)->len);
        if (!copy)
            return false;
        memcpy(copy, *frame, sizeof *copy + (*frame)->len);
        copy->refs = 1;
        frame_drop(*frame);
        *frame = copy;
    }
    uint8_t *end = (*frame)->bytes + (*frame)->len;
    for (uint8_t *at = (*frame)->bytes; at < end;) {
        at[2] = (uint8_t)(id >> 8);
        at[3] = (uint8_t)id;
        at += FCGI_HEADER_LEN + (at[4] << 8 | at[5]) + at[6];
    }
    (*frame)->request_id = id;
    return true;
}

int frame_send(struct frame **frame, uint32_t *sent, int fd, uint16_t request_id)
{
    if ((*frame)->request_id != request_id && !set_request_id(frame, request_id))
        return -1;
    while (*sent < (*frame)->len) {
        ssize_t took =
            send(fd, (*frame)->bytes + *sent, (*frame)->len - *sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (took < 0 && errno == EINTR)
            continue;
        if (took < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
        *sent += (uint32_t)took;
    }
    return 1;
}

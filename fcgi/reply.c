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
    case 503:
        return "Service Unavailable";
    case 507:
        return "Insufficient Storage";
    default:
        return "Internal Server Error";
    }
}

static void put_header(uint8_t *at, int type, uint16_t id, size_t content_len)
{
    FCGI_Header header = {.version = FCGI_VERSION_1,
                          .type = (unsigned char)type,
                          .requestIdB1 = (unsigned char)(id >> 8),
                          .requestIdB0 = (unsigned char)id,
                          .contentLengthB1 = (unsigned char)(content_len >> 8),
                          .contentLengthB0 = (unsigned char)content_len};
    memcpy(at, &header, sizeof header);
}

/* Copies head and body into STDOUT records and returns where they end. */
static uint8_t *put_stdout(uint8_t *at, const char *head, size_t head_len, const char *body,
                           size_t body_len)
{
    size_t left = head_len + body_len;
    while (left > 0) {
        size_t len = left < RECORD_MAX ? left : RECORD_MAX;
        put_header(at, FCGI_STDOUT, ORDINARY_ID, len);
        at += FCGI_HEADER_LEN;
        size_t from_head = len < head_len ? len : head_len;
        memcpy(at, head, from_head);
        memcpy(at + from_head, body, len - from_head);
        head += from_head;
        head_len -= from_head;
        body += len - from_head;
        at += len;
        left -= len;
    }
    put_header(at, FCGI_STDOUT, ORDINARY_ID, 0);
    return at + FCGI_HEADER_LEN;
}

static void put_end(uint8_t *at)
{
    FCGI_EndRequestBody end = {.protocolStatus = FCGI_REQUEST_COMPLETE};
    put_header(at, FCGI_END_REQUEST, ORDINARY_ID, sizeof end);
    memcpy(at + FCGI_HEADER_LEN, &end, sizeof end);
}

struct frame *frame_new(int status, const char *type, const char *header, const void *body,
                        size_t body_len)
{
    char head[HEAD_MAX];
    int head_len = snprintf(head, sizeof head,
                            "Status: %d %s\r\n"
                            "Content-Type: %s\r\n"
                            "Content-Length: %zu\r\n"
                            "Cache-Control: no-store\r\n"
                            "X-Content-Type-Options: nosniff\r\n"
                            "%s\r\n",
                            status, reason(status), type, body_len, header ? header : "");
    if (head_len < 0 || head_len >= HEAD_MAX)
        return NULL;
    size_t content = (size_t)head_len + body_len;
    size_t records = (content + RECORD_MAX - 1) / RECORD_MAX + 1;
    size_t len = content + records * FCGI_HEADER_LEN + sizeof(FCGI_EndRequestRecord);
    if (len > UINT32_MAX)
        return NULL;
    struct frame *frame = malloc(sizeof *frame + len);
    if (!frame)
        return NULL;
    *frame = (struct frame){.refs = 1, .len = (uint32_t)len, .request_id = ORDINARY_ID};
    put_end(put_stdout(frame->bytes, head, (size_t)head_len, body, body_len));
    return frame;
}

struct frame *frame_error(int status, const char *header, const char *text)
{
    char body[512];
    int len = snprintf(body, sizeof body, "{\"error\":\"%s\"}\n", text);
    return frame_new(status, TYPE_JSON, header, body, (size_t)len);
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

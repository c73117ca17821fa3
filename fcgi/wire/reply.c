#include "fcgi/wire/reply.h"

#include <errno.h>
#include <fastcgi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fcgi/wire/http.h"
#include "store/decimal.h"

const char TYPE_JSON[] = "application/json";
const char TYPE_TEXT[] = "text/plain; charset=utf-8";

enum {
    HEAD_MAX = 1024,     /* bytes of the CGI header */
    RECORD_MAX = 0xfff8, /* content of one record: the longest that needs no padding */
    ORDINARY_ID = 1
};

static uint8_t *put_record_header(uint8_t *at, int type, uint16_t id, size_t content_len)
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

/* STDOUT records that are being written. */
struct records {
    uint8_t *at; /* where they end */
    uint16_t id;
    size_t left; /* content that is still to come */
    size_t room; /* of that, in the last record */
};

static void put_content(struct records *records, struct text content)
{
    while (content.len > 0) {
        if (records->room == 0) {
            records->room = records->left < RECORD_MAX ? records->left : RECORD_MAX;
            records->at = put_record_header(records->at, FCGI_STDOUT, records->id, records->room);
        }
        size_t len = content.len < records->room ? content.len : records->room;
        memcpy(records->at, content.bytes, len);
        records->at += len;
        records->room -= len;
        records->left -= len;
        content.bytes += len;
        content.len -= len;
    }
}

static size_t total_len(const struct text *pieces, size_t count)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += pieces[i].len;
    return len;
}

/* Copies the first piece and count more into STDOUT records, and returns where they end. */
static uint8_t *put_stdout(uint8_t *at, uint16_t id, struct text first, const struct text *more,
                           size_t count)
{
    struct records records = {.at = at, .id = id, .left = first.len + total_len(more, count)};
    put_content(&records, first);
    for (size_t i = 0; i < count; i++)
        put_content(&records, more[i]);
    return records.at;
}

static uint8_t *put_end(uint8_t *at, uint16_t id)
{
    FCGI_EndRequestBody end = {.protocolStatus = FCGI_REQUEST_COMPLETE};
    at = put_record_header(at, FCGI_STDOUT, id, 0);
    at = put_record_header(at, FCGI_END_REQUEST, id, sizeof end);
    memcpy(at, &end, sizeof end);
    return at + sizeof end;
}

enum { END_LEN = FCGI_HEADER_LEN + sizeof(FCGI_EndRequestRecord) };

static size_t stdout_len(size_t content_len)
{
    return content_len + (content_len + RECORD_MAX - 1) / RECORD_MAX * FCGI_HEADER_LEN;
}

struct frame *frame_blank(uint16_t request_id, size_t len)
{
    struct frame *frame = len <= UINT32_MAX ? malloc(sizeof *frame + len) : NULL;
    if (frame)
        *frame = (struct frame){.refs = 1, .len = (uint32_t)len, .request_id = request_id};
    return frame;
}

/* A CGI header that is being written. snprintf would cost as much as the rest of an answer. */
struct head {
    size_t len; /* above HEAD_MAX: there was no room */
    char bytes[HEAD_MAX];
};

static void head_puts(struct head *head, const char *text)
{
    size_t len = strlen(text);
    if (head->len + len <= HEAD_MAX)
        memcpy(head->bytes + head->len, text, len);
    head->len += len;
}

static void head_field(struct head *head, const char *name, const char *value)
{
    head_puts(head, name);
    head_puts(head, value);
    head_puts(head, "\r\n");
}

/* Without a Status field the status is 200 (RFC 3875, 6.3.3). So nearly every answer has one field
 * less for the web server to parse. */
static void head_start(struct head *head, int status, const char *reason)
{
    char number[DECIMAL_SIZE];
    head->len = 0;
    if (status == 200)
        return;
    decimal_print(number, (uint64_t)status);
    head_puts(head, "Status: ");
    head_puts(head, number);
    head_field(head, " ", reason);
}

/* The fields of a body of that length. */
static void head_content(struct head *head, const char *type, size_t body_len)
{
    char number[DECIMAL_SIZE];
    decimal_print(number, body_len);
    head_field(head, "Content-Type: ", type);
    head_field(head, "Content-Length: ", number);
}

/* The fields of every response, more header lines (or NULL), and the empty line. */
static void head_end(struct head *head, const char *caching, const char *header)
{
    head_field(head, "Cache-Control: ", caching);
    head_field(head, "X-Content-Type-Options: ", "nosniff");
    head_field(head, header ? header : "", "");
}

static const char WHOLE[] = "no-store";
/* RFC 9111, 5.2.2.6: a proxy that compresses would hold bytes back until they fill a block. */
static const char STREAM[] = "no-store, no-transform";

static struct text head_text(const struct head *head)
{
    return (struct text){head->bytes, head->len};
}

/* A whole answer: its head and the pieces of its body. */
static struct frame *frame_whole(const struct head *head, const struct text *body, size_t count)
{
    if (head->len > HEAD_MAX)
        return NULL;
    size_t len = stdout_len(head->len + total_len(body, count)) + END_LEN;
    struct frame *frame = frame_blank(ORDINARY_ID, len);
    if (frame)
        put_end(put_stdout(frame->bytes, ORDINARY_ID, head_text(head), body, count), ORDINARY_ID);
    return frame;
}

struct frame *frame_gather(int status, const char *type, const char *header,
                           const struct text *body, size_t count)
{
    struct head head;
    head_start(&head, status, http_reason(status));
    head_content(&head, type, total_len(body, count));
    head_end(&head, WHOLE, header);
    return frame_whole(&head, body, count);
}

struct frame *frame_new(int status, const char *type, const char *header, const void *body,
                        size_t body_len)
{
    struct text piece = {body, body_len};
    return frame_gather(status, type, header, &piece, 1);
}

/* What another server sent must not act as a page of this site: opened in a tab, it runs no script
 * and has no origin. RFC 9110, 8.3: without a type, a body may be anything; 15.3.5 and 15.4.5: an
 * answer with one of these statuses has no body. */
struct frame *frame_relayed(int status, const char *reason, const char *type, const void *body,
                            size_t body_len)
{
    static const char sandbox[] = "Content-Security-Policy: sandbox\r\n";
    bool empty = status == 204 || status == 304;
    struct text piece = {body, body_len};
    struct head head;
    head_start(&head, status, reason);
    if (!empty)
        head_content(&head, *type ? type : "application/octet-stream", body_len);
    head_end(&head, WHOLE, sandbox);
    return frame_whole(&head, &piece, !empty);
}

/* X-Accel-Buffering: nginx is to pass the response on as it comes. */
struct frame *frame_opening(uint16_t request_id, const char *type, const char *header,
                            const void *body, size_t body_len)
{
    struct head head;
    head_start(&head, 200, NULL);
    head_field(&head, "Content-Type: ", type);
    head_field(&head, "X-Accel-Buffering: ", "no");
    head_end(&head, STREAM, header);
    if (head.len > HEAD_MAX)
        return NULL;
    struct frame *frame = frame_blank(request_id, stdout_len(head.len + body_len));
    if (frame)
        put_stdout(frame->bytes, request_id, head_text(&head), &(struct text){body, body_len}, 1);
    return frame;
}

struct frame *frame_part(uint16_t request_id, const void *body, size_t body_len)
{
    struct frame *frame = frame_blank(request_id, stdout_len(body_len));
    if (frame)
        put_stdout(frame->bytes, request_id, (struct text){body, body_len}, NULL, 0);
    return frame;
}

void frame_put_part(struct buf *out, uint16_t request_id, const void *body, size_t body_len)
{
    size_t len = stdout_len(body_len);
    char *room = buf_room(out, len);
    if (!room)
        return;
    put_stdout((uint8_t *)room, request_id, (struct text){body, body_len}, NULL, 0);
    out->len += len;
}

struct frame *frame_end(uint16_t request_id)
{
    struct frame *frame = frame_blank(request_id, END_LEN);
    if (frame)
        put_end(frame->bytes, request_id);
    return frame;
}

/* All of the header is in the first record, since it is not longer than HEAD_MAX. */
struct frame *frame_bodiless(struct frame *frame)
{
    static const char end[] = "\r\n\r\n";
    const char *head = (const char *)frame->bytes + FCGI_HEADER_LEN;
    const char *body = memmem(head, frame->len - FCGI_HEADER_LEN, end, sizeof end - 1);
    size_t len = (size_t)(body - head) + sizeof end - 1;
    struct frame *bodiless = frame_blank(frame->request_id, stdout_len(len) + END_LEN);
    if (bodiless)
        put_end(put_stdout(bodiless->bytes, frame->request_id, (struct text){head, len}, NULL, 0),
                frame->request_id);
    frame_drop(frame);
    return bodiless;
}

struct frame *frame_raw(const void *bytes, size_t len)
{
    struct frame *frame = frame_blank(0, len);
    if (frame)
        memcpy(frame->bytes, bytes, len);
    return frame;
}

struct frame *frame_error(int status, const char *header, const char *text)
{
    enum { TEXT_MAX = 400 };
    char body[TEXT_MAX + sizeof "{\"error\":\"\"}\n"];
    int len = snprintf(body, sizeof body, "{\"error\":\"%.*s\"}\n", TEXT_MAX, text);
    return len < 0 ? NULL : frame_new(status, TYPE_JSON, header, body, (size_t)len);
}

struct frame *frame_error_at(int status, const char *header, size_t element, const char *text)
{
    enum { TEXT_MAX = 400 };
    char body[TEXT_MAX + 100];
    int len = snprintf(body, sizeof body, "{\"error\":\"element %zu: %.*s\",\"element\":%zu}\n",
                       element, TEXT_MAX, text, element);
    return len < 0 ? NULL : frame_new(status, TYPE_JSON, header, body, (size_t)len);
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

/* Writes the id into all records. */
static bool set_request_id(struct frame **frame, uint16_t id)
{
    if ((*frame)->refs > 1) {
        struct frame *copy = malloc(sizeof *copy + (*frame)->len);
        if (!copy)
            return false;
        memcpy(copy, *frame, sizeof *copy + (*frame)->len);
        copy->refs = 1;
        copy->lacking = 0;
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

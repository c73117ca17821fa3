#include "fcgi/wire/handshake.h"

#include <assert.h>
#include <nettle/base64.h>
#include <nettle/sha1.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/wire/escape.h"
#include "fcgi/wire/http.h"
#include "fcgi/wire/origin.h"

/* The fields that may be sent once only: what a second one says has no meaning here. */
enum single {
    HOST,
    ORIGIN,
    FETCH_SITE,
    KEY,
    VERSION,
    LAST_EVENT_ID,
    CONTENT_LENGTH,
    ENCODING,
    SINGLES
};

static const char *const single_names[SINGLES] = {"Host",
                                                  "Origin",
                                                  "Sec-Fetch-Site",
                                                  "Sec-WebSocket-Key",
                                                  "Sec-WebSocket-Version",
                                                  "Last-Event-ID",
                                                  "Content-Length",
                                                  "Transfer-Encoding"};

struct handshaker {
    const char *origins;
    const char *mount;
    struct request request;
    char why[256];
    /* of the latest head: */
    char bytes[HANDSHAKE_MAX]; /* a copy, changed in place; the texts point into it */
    struct http_head http;
    struct text single[SINGLES]; /* values; absent: not sent */
    struct text protocol;        /* the first subprotocol that the client offers */
    bool upgrade;                /* Upgrade names websocket */
    bool connection;             /* Connection names upgrade */
};

struct handshaker *handshaker_new(const char *origins, const char *mount)
{
    struct handshaker *handshaker = calloc(1, sizeof *handshaker);
    if (!handshaker)
        return NULL;
    handshaker->origins = origins;
    handshaker->mount = mount;
    return handshaker;
}

void handshaker_free(struct handshaker *handshaker)
{
    free(handshaker);
}

/* ---- the fields ---- */

/* Returns false if the field was sent before. */
static bool note_single(struct handshaker *handshaker, struct text name, struct text value)
{
    for (int i = 0; i < SINGLES; i++) {
        if (!text_is_any_case(name, single_names[i]))
            continue;
        if (handshaker->single[i].bytes)
            return false;
        handshaker->single[i] = value;
    }
    return true;
}

/* Notes the fields that matter. Returns false if one of them is sent twice that may not be. */
static bool note_fields(struct handshaker *handshaker)
{
    struct text name, value;
    memset(handshaker->single, 0, sizeof handshaker->single);
    handshaker->protocol = (struct text){0};
    handshaker->upgrade = handshaker->connection = false;
    while (http_next_field(&handshaker->http, &name, &value)) {
        if (!note_single(handshaker, name, value))
            return false;
        if (text_is_any_case(name, "Upgrade"))
            handshaker->upgrade |= text_list_has_any_case(value, "websocket");
        else if (text_is_any_case(name, "Connection"))
            handshaker->connection |= text_list_has_any_case(value, "upgrade");
        else if (text_is_any_case(name, "Sec-WebSocket-Protocol")) /* in one line or more: 11.3.4 */
            while (handshaker->protocol.len == 0 && text_list_next(&value, &handshaker->protocol))
                ;
    }
    return true;
}

/* ---- the rules ---- */

static enum handshake_verdict refuse_handshake(struct handshake *handshake, int status,
                                               const char *headers, const char *why)
{
    handshake->status = status;
    handshake->headers = headers;
    handshake->why = why;
    return HANDSHAKE_REFUSED;
}

/* 16 bytes of base64 (RFC 6455, 4.2.1). */
static bool key_valid(struct text key)
{
    enum { KEY_LEN = 24 };
    struct base64_decode_ctx base64;
    uint8_t bytes[BASE64_DECODE_LENGTH(KEY_LEN)];
    size_t len = sizeof bytes;
    base64_decode_init(&base64);
    return key.len == KEY_LEN && base64_decode_update(&base64, &len, bytes, key.len, key.bytes) &&
           base64_decode_final(&base64) && len == 16;
}

/* RFC 6455, 4.2.2. */
static void make_accept(char accept[HANDSHAKE_ACCEPT_SIZE], struct text key)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    struct sha1_ctx sha1;
    uint8_t digest[SHA1_DIGEST_SIZE];
    sha1_init(&sha1);
    sha1_update(&sha1, key.len, (const uint8_t *)key.bytes);
    sha1_update(&sha1, sizeof guid - 1, (const uint8_t *)guid);
    sha1_digest(&sha1, sizeof digest, digest);
    static_assert(BASE64_ENCODE_RAW_LENGTH(sizeof digest) == HANDSHAKE_ACCEPT_SIZE - 1, "base64");
    base64_encode_raw(accept, sizeof digest, digest);
    accept[HANDSHAKE_ACCEPT_SIZE - 1] = '\0';
}

static bool promises_body(const struct text *single)
{
    struct text length = single[CONTENT_LENGTH];
    uint64_t bytes;
    return single[ENCODING].bytes || (length.bytes && (!text_number(length, &bytes) || bytes > 0));
}

/* Is the request one that HTTP allows, without a body? */
static enum handshake_verdict check_http(struct handshaker *handshaker, struct handshake *handshake)
{
    const struct http_head *http = &handshaker->http;
    if (!note_fields(handshaker))
        return refuse_handshake(handshake, 400, "",
                                "a header field is sent twice that may be sent once only");
    if (http->major != 1 || http->minor < 1)
        return refuse_handshake(handshake, 400, "",
                                "this is not HTTP/1.1, which a WebSocket needs: configure the web "
                                "server to use 1.1 for this socket");
    if (!handshaker->single[HOST].bytes) /* RFC 9112, 3.2 */
        return refuse_handshake(handshake, 400, "", "Host is missing");
    if (promises_body(handshaker->single))
        return refuse_handshake(handshake, 400, "", "a WebSocket's handshake has no body");
    return HANDSHAKE_DONE;
}

/* Fills in what the request has of the fields. Only last_event_id gets a NUL after it, which
 * overwrites the blank, CR or LF there. */
static void fill_request(struct handshaker *handshaker)
{
    struct request *request = &handshaker->request;
    const struct text *single = handshaker->single, *last = &single[LAST_EVENT_ID];
    request->fault = NULL;
    request->method = METHOD_GET;
    request->last_event_id = *last;
    if (last->bytes)
        handshaker->bytes[last->bytes - handshaker->bytes + (ptrdiff_t)last->len] = '\0';
    request->host = single[HOST];
    request->origin = single[ORIGIN];
    request->fetch_site = single[FETCH_SITE];
    request->body = (struct text){"", 0};
}

static const char *where_we_are(struct handshaker *handshaker)
{
    const char *mount = handshaker->mount;
    snprintf(handshaker->why, sizeof handshaker->why,
             "this socket serves WebSockets only, at %s%.160swebsocket",
             mount ? "" : "a path that ends in ", mount ? mount : "/");
    return handshaker->why;
}

/* Is the request for us? A host in the target replaces the one in Host (RFC 9112, 3.2.2). */
static enum handshake_verdict check_target(struct handshaker *handshaker,
                                           struct handshake *handshake)
{
    struct request *request = &handshaker->request;
    struct text target = handshaker->http.target;
    if (target.bytes[0] != '/' && !http_split_target(&target, &request->host))
        return refuse_handshake(handshake, 400, "",
                                "the request's target is neither a path nor a URI");
    request_split_uri(request, handshaker->bytes + (target.bytes - handshaker->bytes), target.len);
    if (request->fault)
        return refuse_handshake(handshake, 400, "", request->fault);
    if (!text_is(request_endpoint(request, handshaker->mount), "websocket"))
        return refuse_handshake(handshake, 404, "", where_we_are(handshaker));
    if (!text_is(handshaker->http.method, "GET") && !handshake->head)
        return refuse_handshake(handshake, 405, "Allow: GET, HEAD\r\n",
                                "a WebSocket begins with GET");
    return HANDSHAKE_DONE;
}

/* Is it a handshake, and of our version? RFC 6455, 4.2.1 and 4.4; RFC 9110, 15.5.22. */
static enum handshake_verdict check_upgrade(const struct handshaker *handshaker,
                                            struct handshake *handshake)
{
    enum { PROTOCOL_MAX = 255 };
    const struct text *single = handshaker->single, *protocol = &handshaker->protocol;
    if (!handshaker->upgrade || handshake->head)
        return refuse_handshake(handshake, 426, "Sec-WebSocket-Version: 13\r\n",
                                "this is a WebSocket: it needs the header Upgrade: websocket, "
                                "which a web server passes "
                                "on only if it is configured to");
    if (!handshaker->connection)
        return refuse_handshake(handshake, 400, "", "Connection must name Upgrade");
    if (!single[VERSION].bytes)
        return refuse_handshake(handshake, 400, "", "Sec-WebSocket-Version is missing");
    if (!text_is(single[VERSION], "13"))
        return refuse_handshake(handshake, 426, "Sec-WebSocket-Version: 13\r\n",
                                "Sec-WebSocket-Version must be 13");
    if (!single[KEY].bytes)
        return refuse_handshake(handshake, 400, "", "Sec-WebSocket-Key is missing");
    if (!key_valid(single[KEY]))
        return refuse_handshake(handshake, 400, "", "Sec-WebSocket-Key must be 16 bytes in base64");
    if (protocol->len > PROTOCOL_MAX || (protocol->len > 0 && !http_is_token(*protocol)))
        return refuse_handshake(
            handshake, 400, "",
            "Sec-WebSocket-Protocol must be a list of names, of 255 characters at most");
    if (!origin_allowed(&handshaker->request, handshaker->origins))
        return refuse_handshake(handshake, 403, "", ORIGIN_REFUSED);
    return HANDSHAKE_DONE;
}

/* Judges a whole head. */
static enum handshake_verdict judge_handshake(struct handshaker *handshaker,
                                              struct handshake *handshake)
{
    enum handshake_verdict verdict = check_http(handshaker, handshake);
    if (verdict == HANDSHAKE_DONE) {
        fill_request(handshaker);
        verdict = check_target(handshaker, handshake);
    }
    if (verdict == HANDSHAKE_DONE)
        verdict = check_upgrade(handshaker, handshake);
    if (verdict != HANDSHAKE_DONE)
        return verdict;
    make_accept(handshake->accept, handshaker->single[KEY]);
    handshake->consumed = handshaker->http.len;
    handshake->protocol = handshaker->protocol;
    handshake->request = &handshaker->request;
    return HANDSHAKE_DONE;
}

/* ---- scanning ---- */

/* Whether more empty lines come first than the one that a server should skip (RFC 9112, 2.2). Each
 * looks like the end of a head, and would have the whole be read again. */
static bool begins_with_empty_lines(const uint8_t *bytes, size_t len)
{
    enum { TOO_MANY = 5 };
    size_t count = 0;
    while (count < len && count < TOO_MANY && (bytes[count] == '\r' || bytes[count] == '\n'))
        count++;
    return count == TOO_MANY;
}

/* Whether an empty line ends in bytes[seen, len): otherwise the head is not whole. */
static bool has_empty_line(const uint8_t *bytes, size_t seen, size_t len)
{
    size_t from = seen > 3 ? seen - 3 : 0;
    return memmem(bytes + from, len - from, "\n\r\n", 3) ||
           memmem(bytes + from, len - from, "\n\n", 2);
}

static enum http_verdict read_copy(struct handshaker *handshaker, const uint8_t *bytes, size_t len)
{
    memcpy(handshaker->bytes, bytes, len);
    return http_read_head(&handshaker->http, (struct text){handshaker->bytes, len});
}

enum handshake_verdict handshake_scan(struct handshaker *handshaker, const uint8_t *bytes,
                                      size_t seen, size_t len, struct handshake *handshake)
{
    *handshake = (struct handshake){.headers = ""};
    size_t most = len < HANDSHAKE_MAX ? len : HANDSHAKE_MAX;
    enum http_verdict verdict = HTTP_MORE;
    if (begins_with_empty_lines(bytes, most))
        return refuse_handshake(handshake, 400, "", "the request begins with empty lines");
    /* the first bytes are read in any case, so that another protocol is refused at once */
    if (seen == 0 || (seen < most && has_empty_line(bytes, seen, most)))
        verdict = read_copy(handshaker, bytes, most);
    handshake->head = verdict != HTTP_MORE && text_is(handshaker->http.method, "HEAD");
    if (verdict == HTTP_MALFORMED)
        return refuse_handshake(handshake, 400, "", handshaker->http.fault);
    if (verdict == HTTP_WHOLE)
        return judge_handshake(handshaker, handshake);
    if (len < HANDSHAKE_MAX)
        return HANDSHAKE_MORE;
    return refuse_handshake(handshake, 431, "", "the request's head is larger than 64 KiB");
}

/* ---- responses ---- */

void handshake_put_accept(struct buf *out, const struct handshake *handshake)
{
    buf_printf(out,
               "HTTP/1.1 101 Switching Protocols\r\n"
               "Upgrade: websocket\r\n"
               "Connection: Upgrade\r\n"
               "Sec-WebSocket-Accept: %s\r\n",
               handshake->accept);
    if (handshake->protocol.len > 0)
        buf_printf(out, "Sec-WebSocket-Protocol: %.*s\r\n", (int)handshake->protocol.len,
                   handshake->protocol.bytes);
    buf_puts(out, "\r\n");
}

void handshake_put_error(struct buf *out, int status, const char *headers, const char *why,
                         bool head)
{
    struct buf body = {0};
    buf_puts(&body, "{\"error\":");
    escape_json(&body, why, strlen(why));
    buf_puts(&body, "}\n");
    /* 426 names what to upgrade to (RFC 9110, 15.5.22), and Connection names Upgrade (7.8) */
    buf_printf(out,
               "HTTP/1.1 %d %s\r\n"
               "Content-Type: application/json\r\n"
               "Content-Length: %zu\r\n"
               "Cache-Control: no-store\r\n"
               "X-Content-Type-Options: nosniff\r\n"
               "%s%s\r\n",
               status, http_reason(status), body.len, headers ? headers : "",
               status == 426 ? "Upgrade: websocket\r\nConnection: Upgrade, close\r\n"
                             : "Connection: close\r\n");
    if (!head) /* RFC 9110, 9.3.2 */
        buf_add(out, body.bytes, body.len);
    out->failed |= !buf_ok(&body);
    buf_free(&body);
}

#include "fcgi/wire/handshake.h"

#include <assert.h>
#include <http_parser.h>
#include <nettle/base64.h>
#include <nettle/sha1.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fcgi/wire/escape.h"
#include "fcgi/io/text.h"
#include "fcgi/wire/origin.h"

/* The fields that matter and may be sent once only. */
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
    /* of the head under way: */
    char head[HANDSHAKE_MAX + 1]; /* a copy, taken apart in place; the texts point into it */
    struct text uri;
    struct text name;            /* of the field whose value comes next */
    struct text protocol;        /* the first that is offered */
    struct text single[SINGLES]; /* values without the blanks around them */
    bool complete;               /* its end was seen */
    bool upgrade;                /* Upgrade names websocket */
    bool connection;             /* Connection names upgrade */
    const char *malformed;       /* what http-parser let pass and HTTP does not, or NULL */
    char why[256];
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

/* ---- what http-parser calls ---- */

static int on_uri(http_parser *parser, const char *at, size_t len)
{
    struct handshaker *handshaker = parser->data;
    handshaker->uri = (struct text){at, len};
    return 0;
}

static int on_name(http_parser *parser, const char *at, size_t len)
{
    struct handshaker *handshaker = parser->data;
    handshaker->name = (struct text){at, len};
    if (memchr(at, ' ', len) || memchr(at, '\t', len)) /* RFC 9112, 5.1 */
        handshaker->malformed = "a header field's name has a blank in it";
    return 0;
}

static int on_value(http_parser *parser, const char *at, size_t len)
{
    struct handshaker *handshaker = parser->data;
    struct text name = handshaker->name, value = text_trim((struct text){at, len});
    if (text_is_any_case(name, "Upgrade"))
        handshaker->upgrade |= text_list_has_any_case(value, "websocket");
    else if (text_is_any_case(name, "Connection"))
        handshaker->connection |= text_list_has_any_case(value, "upgrade");
    else if (text_is_any_case(name,
                              "Sec-WebSocket-Protocol")) /* may come in several lines: 11.3.4 */
        while (handshaker->protocol.len == 0 && text_list_next(&value, &handshaker->protocol))
            ;
    else
        for (int i = 0; i < SINGLES; i++) {
            if (!text_is_any_case(name, single_names[i]))
                continue;
            if (handshaker->single[i].bytes)
                handshaker->malformed = "a header field that counts is sent twice";
            handshaker->single[i] = value;
        }
    return 0;
}

/* Returns 2: whatever the fields promise, the parser reads no body and stops behind the head. */
static int on_headers_complete(http_parser *parser)
{
    struct handshaker *handshaker = parser->data;
    handshaker->complete = true;
    return 2;
}

static const http_parser_settings settings = {.on_url = on_uri,
                                              .on_header_field = on_name,
                                              .on_header_value = on_value,
                                              .on_headers_complete = on_headers_complete};

/* ---- the rules ---- */

static enum handshake_verdict refuse(struct handshake *handshake, int status, const char *headers,
                                     const char *why)
{
    handshake->status = status;
    handshake->headers = headers;
    handshake->why = why;
    return HANDSHAKE_REFUSED;
}

/* RFC 9110, 5.6.2. */
static bool is_token(struct text text)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    enum { TOKEN_MAX = 255 };
    if (text.len == 0 || text.len > TOKEN_MAX)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.bytes[i], letter = (char)(c | 0x20);
        if (!(letter >= 'a' && letter <= 'z') && !(c >= '0' && c <= '9') &&
            !memchr(marks, c, sizeof marks - 1))
            return false;
    }
    return true;
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

/* Leaves path, query and fragment of an absolute URI, and replaces host by its own (RFC 9112,
 * 3.2.2). False if it is none. */
static bool take_absolute(struct text *uri, struct text *host)
{
    struct http_parser_url parts;
    http_parser_url_init(&parts);
    if (http_parser_parse_url(uri->bytes, uri->len, 0, &parts) != 0 ||
        !(parts.field_set & 1 << UF_HOST))
        return false;
    size_t start = parts.field_data[UF_HOST].off;
    size_t path = start;
    while (path < uri->len && !strchr("/?#", uri->bytes[path]))
        path++;
    if (start > 0 && uri->bytes[start - 1] == '[') /* http-parser leaves the brackets out */
        start--;
    *host = (struct text){uri->bytes + start, path - start};
    *uri = (struct text){uri->bytes + path, uri->len - path};
    return true;
}

/* What http-parser lets pass in the head's lines, or NULL. */
static const char *malformed(const struct handshaker *handshaker, size_t head_len)
{
    const char *head = handshaker->head;
    for (size_t i = 0; i < head_len; i++) {
        char next = i + 1 < head_len ? head[i + 1] : '\n';
        if (head[i] == '\0')
            return "there is a NUL in the request's head";
        if (head[i] == '\r' && next != '\n') /* RFC 9112, 2.2 */
            return "there is a CR without LF in the request's head";
        if (head[i] == '\n' && (next == ' ' || next == '\t')) /* RFC 9112, 5.2 */
            return "a header field is folded";
    }
    return handshaker->malformed;
}

/* Is it HTTP at all, and whole? */
static enum handshake_verdict check_http(struct handshaker *handshaker, const http_parser *parser,
                                         struct handshake *handshake)
{
    const struct text *single = handshaker->single, *uri = &handshaker->uri;
    const char *fault = malformed(handshaker, handshake->consumed);
    if (fault)
        return refuse(handshake, 400, "", fault);
    /* http-parser reads the number only */
    if (strncmp(uri->bytes + uri->len, " HTTP/", 6) != 0 || parser->http_major != 1 ||
        parser->http_minor < 1)
        return refuse(handshake, 400, "",
                      "a WebSocket begins with HTTP/1.1, and this is another version; have the web "
                      "server speak 1.1 to this socket");
    if (!single[HOST].bytes) /* RFC 9112, 3.2 */
        return refuse(handshake, 400, "", "Host is missing");
    if (single[ENCODING].bytes || (single[CONTENT_LENGTH].bytes && parser->content_length != 0))
        return refuse(handshake, 400, "", "a WebSocket's handshake has no body");
    return HANDSHAKE_DONE;
}

static const char *not_here(struct handshaker *handshaker)
{
    const char *mount = handshaker->mount;
    snprintf(handshaker->why, sizeof handshaker->why,
             "this socket serves WebSockets only, at %s%.160swebsocket",
             mount ? "" : "a path that ends in ", mount ? mount : "/");
    return handshaker->why;
}

/* Is it for us? Host is replaced if the URI brings its own. */
static enum handshake_verdict check_target(struct handshaker *handshaker, const http_parser *parser,
                                           struct handshake *handshake)
{
    struct text uri = handshaker->uri;
    if (uri.len > 0 && uri.bytes[0] != '/' && !take_absolute(&uri, &handshaker->request.host))
        return refuse(handshake, 400, "", "the request's target is neither a path nor a URI");
    request_split_uri(&handshaker->request, handshaker->head + (uri.bytes - handshaker->head),
                      uri.len);
    if (handshaker->request.fault)
        return refuse(handshake, 400, "", handshaker->request.fault);
    if (!text_is(request_endpoint(&handshaker->request, handshaker->mount), "websocket"))
        return refuse(handshake, 404, "", not_here(handshaker));
    if (parser->method != HTTP_GET && !handshake->head)
        return refuse(handshake, 405, "Allow: GET, HEAD\r\n", "a WebSocket begins with GET");
    return HANDSHAKE_DONE;
}

/* Is it a handshake, and one that we speak? RFC 6455, 4.2.1 and 4.4; RFC 9110, 15.5.22. */
static enum handshake_verdict check_upgrade(const struct handshaker *handshaker,
                                            struct handshake *handshake)
{
    const struct text *single = handshaker->single;
    if (!handshaker->upgrade || handshake->head)
        return refuse(handshake, 426, "Sec-WebSocket-Version: 13\r\n",
                      "here is a WebSocket: it wants the header Upgrade: websocket, which a web "
                      "server passes on only when it is told to");
    if (!handshaker->connection)
        return refuse(handshake, 400, "", "Connection must name Upgrade");
    if (!single[VERSION].bytes)
        return refuse(handshake, 400, "", "Sec-WebSocket-Version is missing");
    if (!text_is(single[VERSION], "13"))
        return refuse(handshake, 426, "Sec-WebSocket-Version: 13\r\n",
                      "Sec-WebSocket-Version must be 13");
    if (!single[KEY].bytes)
        return refuse(handshake, 400, "", "Sec-WebSocket-Key is missing");
    if (!key_valid(single[KEY]))
        return refuse(handshake, 400, "", "Sec-WebSocket-Key must be 16 bytes in base64");
    if (handshaker->protocol.len > 0 && !is_token(handshaker->protocol))
        return refuse(handshake, 400, "",
                      "Sec-WebSocket-Protocol must be a list of names, of 255 characters at most");
    if (!origin_allowed(&handshaker->request, handshaker->origins))
        return refuse(handshake, 403, "", ORIGIN_REFUSED);
    return HANDSHAKE_DONE;
}

/* ---- scanning ---- */

/* Whether more empty lines come first than the one that is ignored (RFC 9112, 2.2); they could be
 * taken for the end of a head again and again. */
static bool begins_blank(const uint8_t *bytes, size_t len)
{
    enum { ENOUGH = 5 };
    size_t blank = 0;
    while (blank < len && blank < ENOUGH && (bytes[blank] == '\r' || bytes[blank] == '\n'))
        blank++;
    return blank == ENOUGH;
}

/* Whether a blank line ends in bytes[seen, len): otherwise there is nothing new to parse. */
static bool has_end(const uint8_t *bytes, size_t seen, size_t len)
{
    size_t from = seen > 3 ? seen - 3 : 0;
    return memmem(bytes + from, len - from, "\n\r\n", 3) ||
           memmem(bytes + from, len - from, "\n\n", 2);
}

static void start(struct handshaker *handshaker, const uint8_t *bytes, size_t len)
{
    memcpy(handshaker->head, bytes, len);
    handshaker->head[len] = '\0';
    handshaker->uri = handshaker->name = (struct text){0};
    handshaker->protocol = (struct text){0};
    memset(handshaker->single, 0, sizeof handshaker->single);
    handshaker->complete = handshaker->upgrade = handshaker->connection = false;
    handshaker->malformed = NULL;
}

/* Fills in what the request has of the header fields. Only last_event_id has a NUL behind it. */
static void make_request(struct handshaker *handshaker)
{
    struct request *request = &handshaker->request;
    const struct text *single = handshaker->single, *last = &single[LAST_EVENT_ID];
    request->fault = NULL;
    request->method = METHOD_GET;
    request->last_event_id = *last;
    if (last->bytes) /* a CR or LF stands there, or a blank */
        handshaker->head[last->bytes - handshaker->head + (ptrdiff_t)last->len] = '\0';
    request->host = single[HOST];
    request->origin = single[ORIGIN];
    request->fetch_site = single[FETCH_SITE];
    request->body = (struct text){"", 0};
}

enum handshake_verdict handshake_scan(struct handshaker *handshaker, const uint8_t *bytes,
                                      size_t seen, size_t len, struct handshake *handshake)
{
    *handshake = (struct handshake){.headers = ""};
    size_t head = len < HANDSHAKE_MAX ? len : HANDSHAKE_MAX;
    http_parser parser = {0};
    if (begins_blank(bytes, head))
        return refuse(handshake, 400, "", "the request begins with empty lines");
    /* the first bytes are parsed in any case, so that what is no HTTP is refused at once */
    if (seen == 0 || (seen < head && has_end(bytes, seen, head))) {
        start(handshaker, bytes, head);
        http_parser_init(&parser, HTTP_REQUEST);
        parser.data = handshaker;
        handshake->consumed = http_parser_execute(&parser, &settings, handshaker->head, head);
        if (HTTP_PARSER_ERRNO(&parser) != HPE_OK) {
            snprintf(handshaker->why, sizeof handshaker->why, "this is not HTTP: %s",
                     http_errno_description(HTTP_PARSER_ERRNO(&parser)));
            return refuse(handshake, 400, "", handshaker->why);
        }
    } else {
        handshaker->complete = false;
    }
    handshake->head = handshaker->complete && parser.method == HTTP_HEAD;
    if (!handshaker->complete)
        return len < HANDSHAKE_MAX
                   ? HANDSHAKE_MORE
                   : refuse(handshake, 431, "", "the request's head is larger than 64 KiB");

    enum handshake_verdict verdict = check_http(handshaker, &parser, handshake);
    if (verdict != HANDSHAKE_DONE)
        return verdict;
    make_request(handshaker);
    verdict = check_target(handshaker, &parser, handshake);
    if (verdict == HANDSHAKE_DONE)
        verdict = check_upgrade(handshaker, handshake);
    if (verdict != HANDSHAKE_DONE)
        return verdict;
    make_accept(handshake->accept, handshaker->single[KEY]);
    handshake->protocol = handshaker->protocol;
    handshake->request = &handshaker->request;
    return HANDSHAKE_DONE;
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
               status, http_status_str((enum http_status)status), body.len, headers ? headers : "",
               status == 426 ? "Upgrade: websocket\r\nConnection: Upgrade, close\r\n"
                             : "Connection: close\r\n");
    if (!head) /* RFC 9110, 9.3.2 */
        buf_add(out, body.bytes, body.len);
    out->failed |= !buf_ok(&body);
    buf_free(&body);
}

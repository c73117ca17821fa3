/* wire.h - where requests go, and requests as bytes: HTTP/1.1 over TCP or a unix socket, or FastCGI
 * over a unix socket.
 *
 * Pure: no socket is touched here. A request is made once and sent as it is any number of times.
 */
#ifndef ENCKE_BENCH_WIRE_H
#define ENCKE_BENCH_WIRE_H

#include <arpa/inet.h>
#include <fastcgi.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
    WIRE_BODY_MAX = 60000, /* so that a body is one FastCGI record */
    WIRE_PARAMS_MAX = 4096
};

/* The key of every WebSocket handshake here (16 bytes in base64), and the answer that RFC 6455,
 * 4.2.2, gives to it. It need not be secret or new: no cache is between. */
#define WIRE_WEBSOCKET_KEY "ZW5ja2UgYmVuY2ggMTIzNA=="
#define WIRE_WEBSOCKET_ACCEPT "8AiCboJ7rHG0NBwzb92Xl4hPwV4="

/* Where requests go. */
struct target {
    bool fcgi;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_un un;
    } to;
    socklen_t to_len;
    char path[1024];
};

/* Reads `http://127.0.0.1:PORT/PATH` (a number, no name: nothing is looked up), `fcgi:SOCKET:/PATH`
 * or, for HTTP on a unix socket, `unix:SOCKET:/PATH`. False if it is none of these. */
static inline bool target_parse(struct target *t, const char *url)
{
    char host[64];
    unsigned port;
    int at = 0;

    *t = (struct target){0};
    if (sscanf(url, "http://%63[0-9.]:%u%n", host, &port, &at) == 2 && at) {
        t->to.in.sin_family = AF_INET;
        t->to.in.sin_port = htons((in_port_t)port);
        t->to_len = sizeof t->to.in;
        if (port > 65535 || inet_pton(AF_INET, host, &t->to.in.sin_addr) != 1)
            return false;
    } else if ((sscanf(url, "fcgi:%107[^:]:%n", t->to.un.sun_path, &at) == 1 ||
                sscanf(url, "unix:%107[^:]:%n", t->to.un.sun_path, &at) == 1) &&
               at) {
        t->fcgi = url[0] == 'f';
        t->to.un.sun_family = AF_UNIX;
        t->to_len = sizeof t->to.un;
    } else {
        return false;
    }
    return url[at] == '/' && (size_t)snprintf(t->path, sizeof t->path, "%s", url + at) < 1024;
}

/* A request's bytes (or an answer's), to be freed with request_free if request_make made it. */
struct request {
    char *bytes;
    size_t len;
};

static inline void request_put(struct request *r, const void *bytes, size_t len)
{
    memcpy(r->bytes + r->len, bytes, len);
    r->len += len;
}

static inline void request_record(struct request *r, int type, const void *content, size_t len)
{
    FCGI_Header header = {.version = FCGI_VERSION_1,
                          .type = (unsigned char)type,
                          .requestIdB0 = 1,
                          .contentLengthB1 = (unsigned char)(len >> 8),
                          .contentLengthB0 = (unsigned char)len};

    request_put(r, &header, sizeof header);
    if (len)
        request_put(r, content, len);
}

static inline void request_length(struct request *r, size_t len)
{
    unsigned char four[4] = {(unsigned char)(0x80 | len >> 24), (unsigned char)(len >> 16),
                             (unsigned char)(len >> 8), (unsigned char)len};

    if (len < 128)
        request_put(r, four + 3, 1);
    else
        request_put(r, four, 4);
}

/* About the parameters that nginx's own fastcgi_params sends, so that the server decodes as much
 * as it would behind nginx. */
static inline void request_params(struct request *r, const char *uri, const char *body,
                                  const char *type)
{
    const char *query = strchr(uri, '?');
    char path[2048], length[24] = "";
    char bytes[WIRE_PARAMS_MAX + 256];
    struct request params = {.bytes = bytes};

    snprintf(path, sizeof path, "%.*s", (int)(query ? query - uri : (long)strlen(uri)), uri);
    if (body)
        snprintf(length, sizeof length, "%zu", strlen(body));
    const char *const of[][2] = {
        {"QUERY_STRING", query ? query + 1 : ""},
        {"REQUEST_METHOD", body ? "POST" : "GET"},
        {"CONTENT_TYPE", body ? type : ""},
        {"CONTENT_LENGTH", length},
        {"SCRIPT_NAME", path},
        {"REQUEST_URI", uri},
        {"DOCUMENT_URI", path},
        {"DOCUMENT_ROOT", "/usr/share/nginx/html"},
        {"SERVER_PROTOCOL", "HTTP/1.1"},
        {"REQUEST_SCHEME", "http"},
        {"GATEWAY_INTERFACE", "CGI/1.1"},
        {"SERVER_SOFTWARE", "bench"},
        {"REMOTE_ADDR", "127.0.0.1"},
        {"REMOTE_PORT", "40000"},
        {"SERVER_ADDR", "127.0.0.1"},
        {"SERVER_PORT", "80"},
        {"SERVER_NAME", "localhost"},
        {"HTTP_HOST", "127.0.0.1"},
    };
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        request_length(&params, strlen(of[i][0]));
        request_length(&params, strlen(of[i][1]));
        request_put(&params, of[i][0], strlen(of[i][0]));
        request_put(&params, of[i][1], strlen(of[i][1]));
    }
    request_record(r, FCGI_PARAMS, params.bytes, params.len);
}

static inline void request_fcgi(struct request *r, const char *uri, const char *body,
                                const char *type)
{
    FCGI_BeginRequestBody begin = {.roleB0 = FCGI_RESPONDER, .flags = FCGI_KEEP_CONN};

    request_record(r, FCGI_BEGIN_REQUEST, &begin, sizeof begin);
    request_params(r, uri, body, type);
    request_record(r, FCGI_PARAMS, NULL, 0);
    if (body && *body)
        request_record(r, FCGI_STDIN, body, strlen(body));
    request_record(r, FCGI_STDIN, NULL, 0);
}

static inline void request_http(struct request *r, const char *uri, const char *body,
                                const char *type)
{
    char head[2048 + 256];

    if (body)
        snprintf(head, sizeof head,
                 "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\n"
                 "Content-Length: %zu\r\n\r\n",
                 uri, type, strlen(body));
    else
        snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", uri);
    request_put(r, head, strlen(head));
    if (body)
        request_put(r, body, strlen(body));
}

/* Makes the request for the target's path with `more` behind it. A body (a string, of the given
 * type) makes it a POST, NULL a GET. False if it would be too long or there is no memory. */
static inline bool request_make(struct request *r, const struct target *t, const char *more,
                                const char *body, const char *type)
{
    char uri[1600];
    size_t body_len = body ? strlen(body) : 0;

    *r = (struct request){0};
    if ((size_t)snprintf(uri, sizeof uri, "%s%s", t->path, more) >= sizeof uri ||
        body_len > WIRE_BODY_MAX || strlen(type) > 100)
        return false;
    r->bytes = malloc(2 * WIRE_PARAMS_MAX + body_len);
    if (!r->bytes)
        return false;
    if (t->fcgi)
        request_fcgi(r, uri, body, type);
    else
        request_http(r, uri, body, type);
    return true;
}

/* Adds header lines, each with its end, to an HTTP request that has no body. False if there is no
 * memory; the request is then as before. */
static inline bool request_add(struct request *r, const char *lines)
{
    size_t len = strlen(lines);
    char *bytes = realloc(r->bytes, r->len + len);

    if (!bytes)
        return false;
    r->bytes = bytes;
    r->len -= 2; /* the blank line */
    request_put(r, lines, len);
    request_put(r, "\r\n", 2);
    return true;
}

/* Makes the opening handshake of a WebSocket (RFC 6455, 4.1) likewise; the target speaks HTTP. */
static inline bool request_upgrade(struct request *r, const struct target *t, const char *more)
{
    static const char format[] = "GET %s%s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                                 "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                 "Sec-WebSocket-Key: " WIRE_WEBSOCKET_KEY "\r\n\r\n";
    int len = t->fcgi ? -1 : asprintf(&r->bytes, format, t->path, more);

    r->len = len > 0 ? (size_t)len : 0;
    return len > 0;
}

static inline void request_free(struct request *r)
{
    free(r->bytes);
    *r = (struct request){0};
}

#endif

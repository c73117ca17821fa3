/* wire.h - requests and answers as bytes: HTTP/1.1 over TCP, or FastCGI over a unix socket.
 *
 * Pure: no socket is touched here. A request is made once and sent as it is any number of times;
 * an answer is fed whatever bytes came. One answer at a time is on a connection (no pipelining), so
 * bytes behind an answer are an error. An answer must have a Content-Length: all that is measured
 * here does, and a reader of chunks would only measure itself.
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
    WIRE_PARAMS_MAX = 4096,
    WIRE_KEPT = 1536 /* how much of an answer is kept: its head, and the start of its body */
};

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

/* Reads `http://127.0.0.1:PORT/PATH` (a number, no name: nothing is looked up) or
 * `fcgi:SOCKET:/PATH`. False if it is neither. */
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
    } else if (sscanf(url, "fcgi:%107[^:]:%n", t->to.un.sun_path, &at) == 1 && at) {
        t->fcgi = true;
        t->to.un.sun_family = AF_UNIX;
        t->to_len = sizeof t->to.un;
    } else {
        return false;
    }
    return url[at] == '/' && (size_t)snprintf(t->path, sizeof t->path, "%s", url + at) < 1024;
}

/* A request's bytes, to be freed with request_free. */
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

static inline void request_free(struct request *r)
{
    free(r->bytes);
    *r = (struct request){0};
}

enum answer_state { ANSWER_MORE, ANSWER_DONE, ANSWER_BAD };

/* An answer as far as it has come. Start each with answer_start. */
struct answer {
    bool fcgi;
    /* The FastCGI record that is being read. */
    size_t header_have, content_left, padding_left;
    FCGI_Header header;
    /* What is in the records, or on the connection, of it. */
    size_t head_len; /* with its blank line; 0: not there yet */
    size_t seen;     /* bytes of head and body */
    size_t length;   /* of the body */
    int status;
    bool close; /* the server will close the connection */
    size_t kept;
    char text[WIRE_KEPT + 1]; /* the first `kept` bytes, and a NUL */
};

static inline void answer_start(struct answer *a, bool fcgi)
{
    a->fcgi = fcgi;
    a->header_have = a->content_left = a->padding_left = 0;
    a->head_len = a->seen = a->length = a->kept = 0;
    a->status = 0;
    a->close = false;
}

/* The value of a header, or NULL. */
static inline const char *answer_header(const struct answer *a, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = a->text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncasecmp(line, name, len) == 0 && line[len] == ':')
            return line + len + 1 + strspn(line + len + 1, " ");
        if (line >= a->text + a->head_len - 2)
            break;
    }
    return NULL;
}

static inline bool answer_head(struct answer *a)
{
    const char *length = answer_header(a, "Content-Length");
    const char *status = answer_header(a, "Status");
    const char *connection = answer_header(a, "Connection");

    a->close = connection && strncasecmp(connection, "close", 5) == 0;
    if (a->fcgi)
        a->status = status ? atoi(status) : 200;
    else if (strncmp(a->text, "HTTP/1.", 7) == 0)
        a->status = atoi(a->text + 9);
    if (length)
        a->length = strtoul(length, NULL, 10);
    return length && a->status >= 100 && a->status < 600;
}

/* Takes bytes of head and body. False if they make no sense. */
static inline bool answer_text(struct answer *a, const char *bytes, size_t len)
{
    size_t keep = len < WIRE_KEPT - a->kept ? len : WIRE_KEPT - a->kept;

    memcpy(a->text + a->kept, bytes, keep);
    a->kept += keep;
    a->text[a->kept] = 0;
    a->seen += len;
    if (!a->head_len) {
        const char *blank = memmem(a->text, a->kept, "\r\n\r\n", 4);

        if (!blank)
            return a->kept < WIRE_KEPT;
        a->head_len = (size_t)(blank - a->text) + 4;
        if (!answer_head(a))
            return false;
    }
    return a->seen <= a->head_len + a->length;
}

static inline bool answer_whole(const struct answer *a)
{
    return a->head_len && a->seen == a->head_len + a->length;
}

/* Takes what it can of one record; how much it took is in *len. */
static inline enum answer_state answer_record(struct answer *a, const char *bytes, size_t *len)
{
    size_t n;

    if (a->header_have < sizeof a->header) {
        n = sizeof a->header - a->header_have;
        *len = *len < n ? *len : n;
        memcpy((char *)&a->header + a->header_have, bytes, *len);
        a->header_have += *len;
        if (a->header_have < sizeof a->header)
            return ANSWER_MORE;
        a->content_left = (size_t)a->header.contentLengthB1 << 8 | a->header.contentLengthB0;
        a->padding_left = a->header.paddingLength;
    } else {
        size_t *left = a->content_left ? &a->content_left : &a->padding_left;

        *len = *len < *left ? *len : *left;
        if (a->header.type == FCGI_STDOUT && a->content_left && !answer_text(a, bytes, *len))
            return ANSWER_BAD;
        *left -= *len;
    }
    if (a->content_left || a->padding_left)
        return ANSWER_MORE;
    a->header_have = 0;
    if (a->header.type != FCGI_END_REQUEST)
        return ANSWER_MORE;
    return answer_whole(a) ? ANSWER_DONE : ANSWER_BAD;
}

/* Takes the next bytes of the connection. DONE with the last byte of the answer; BAD for what is
 * no answer, or bytes behind it. */
static inline enum answer_state answer_feed(struct answer *a, const char *bytes, size_t len)
{
    enum answer_state state = ANSWER_MORE;

    if (!a->fcgi) {
        if (!answer_text(a, bytes, len))
            return ANSWER_BAD;
        return answer_whole(a) ? ANSWER_DONE : ANSWER_MORE;
    }
    while (len && state == ANSWER_MORE) {
        size_t took = len;

        state = answer_record(a, bytes, &took);
        bytes += took;
        len -= took;
    }
    return len ? ANSWER_BAD : state;
}

#endif

#include "fcgi/endpoints/routes.h"

#include <stdio.h>
#include <string.h>

#include "fcgi/wire/origin.h"
#include "fcgi/server.h"

struct endpoint {
    const char *name;
    unsigned methods;  /* enum method, or-ed; a HEAD is a GET */
    bool guarded;      /* it changes something: see origin.h */
    const char *allow; /* the methods in words */
    void (*handle)(struct conn *conn, const struct request *request);
    const char *takes, *does; /* for the greeting */
};

#define READER "[id=CURSOR] [channel=NAME ...]"

static const struct endpoint endpoints[] = {
    {"create", METHOD_POST, true, "POST", endpoint_create, "msg=TEXT [channel=NAME]",
     "publish a message"},
    {"update", METHOD_GET | METHOD_POST, false, "GET, HEAD, POST", endpoint_update, READER,
     "wait for messages newer than id"},
    {"subscribe", METHOD_GET | METHOD_POST, false, "GET, HEAD, POST", endpoint_subscribe, READER,
     "wait for a word: new, or punt"},
    {"longpolling", METHOD_GET | METHOD_POST, false, "GET, HEAD, POST", endpoint_longpolling,
     READER, "update in plain text"},
    {"streaming", METHOD_GET | METHOD_POST, false, "GET, HEAD, POST", endpoint_streaming, READER,
     "a line of JSON a message, for as long as you read"},
    {"iframe", METHOD_GET, false, "GET, HEAD", endpoint_iframe, READER,
     "scripts that call parent.add_content, for an iframe"},
    {"events", METHOD_GET, false, "GET, HEAD", endpoint_events, READER,
     "Server-Sent Events, for EventSource"},
    {"websocket", METHOD_GET, false, "GET, HEAD", endpoint_websocket, READER,
     "a WebSocket, if the web server passes it on"},
    {"status", METHOD_GET, false, "GET, HEAD", endpoint_status, "", "how it is doing"},
};
enum { ENDPOINTS = sizeof endpoints / sizeof *endpoints };

/* The answer at any other path: what there is. */
static void greet(struct conn *conn)
{
    const char *mount = conn->server->options->mount;
    struct buf *out = &conn->server->scratch;
    buf_reset(out);
    buf_puts(out, "Hello! This is Encke, which brings news to web pages. Nothing lives at this "
                  "path; try\n\n");
    for (const struct endpoint *each = endpoints; each < endpoints + ENDPOINTS; each++)
        buf_printf(out, "  %-4s %s%-11s  %-30s  %s\n", each->methods & METHOD_GET ? "GET" : "POST",
                   mount ? mount : "", each->name, each->takes, each->does);
    conn_answer(conn, buf_ok(out) ? frame_new(404, TYPE_TEXT, NULL, out->bytes, out->len) : NULL);
}

bool understand(struct conn *conn, const struct request *request, const struct terms *terms,
                struct wanted *wanted)
{
    struct server *server = conn->server;
    const char *complaint = wanted_parse(
        wanted, request, terms, (size_t)server->options->max_channels, log_epoch(server->log));
    if (complaint)
        conn_refuse(conn, 400, NULL, complaint);
    return complaint == NULL;
}

static void refuse_method(struct conn *conn, const struct endpoint *endpoint)
{
    char header[64], text[64];
    snprintf(header, sizeof header, "Allow: %s\r\n", endpoint->allow);
    snprintf(text, sizeof text, "%s takes %s only", endpoint->name, endpoint->allow);
    conn_answer(conn, frame_error(405, header, text));
}

/* A web server may have a rule for what stands in the query, and cannot see the body: what is said
 * in both has no meaning. Returns what is wrong, or NULL. */
static const char *said_twice(const struct request *request)
{
    static char complaint[128];
    struct text name = form_shared(&request->query, &request->form);
    if (!name.bytes)
        return NULL;
    snprintf(complaint, sizeof complaint,
             "%s is said in the query and in the body: say it in one of them",
             channel_name_valid(name) ? name.bytes : "a field"); /* else it may break the JSON */
    return complaint;
}

/* Hands it to the endpoint if it is in order. */
static void handle(struct conn *conn, const struct endpoint *endpoint,
                   const struct request *request)
{
    const char *complaint;
    if (!(endpoint->methods & request->method))
        refuse_method(conn, endpoint);
    else if (endpoint->guarded && !origin_allowed(request, conn->server->options->origin))
        conn_answer(conn, frame_error(403, NULL, ORIGIN_REFUSED));
    else if ((complaint = said_twice(request)))
        conn_answer(conn, frame_error(400, NULL, complaint));
    else
        endpoint->handle(conn, request);
}

void route(struct conn *conn, const struct request *request)
{
    if (request->fault) {
        conn_answer(conn, frame_error(request->fault_status, NULL, request->fault));
        return;
    }
    struct text name = request_endpoint(request, conn->server->options->mount);
    const struct endpoint *endpoint = endpoints, *end = endpoints + ENDPOINTS;
    while (endpoint < end && !text_is(name, endpoint->name))
        endpoint++;
    if (endpoint == end)
        greet(conn);
    else
        handle(conn, endpoint, request);
}

#include "fcgi/routes.h"

#include <stdio.h>
#include <string.h>

#include "fcgi/server.h"

struct endpoint {
    const char *name;
    unsigned methods;  /* enum method, or-ed */
    const char *allow; /* the same in words */
    void (*handle)(struct conn *conn, const struct request *request);
};

static const struct endpoint endpoints[] = {
    {"create", METHOD_POST, "POST", endpoint_create},
    {"update", METHOD_GET | METHOD_POST, "GET, POST", endpoint_update},
    {"subscribe", METHOD_GET | METHOD_POST, "GET, POST", endpoint_subscribe},
    {"longpolling", METHOD_GET | METHOD_POST, "GET, POST", endpoint_longpolling},
    {"streaming", METHOD_GET | METHOD_POST, "GET, POST", endpoint_streaming},
    {"iframe", METHOD_GET, "GET", endpoint_iframe},
    {"events", METHOD_GET, "GET", endpoint_events},
    {"websocket", METHOD_GET, "GET", endpoint_websocket},
    {"status", METHOD_GET, "GET", endpoint_status},
};
enum { ENDPOINTS = sizeof endpoints / sizeof *endpoints };

static const char greeting[] =
    "Hello! This is Encke, which brings news to web pages. Nothing lives at this path; try\n"
    "\n"
    "  POST create     msg=TEXT [channel=NAME]         publish a message\n"
    "  GET  update     [id=CURSOR] [channel=NAME ...]  wait for messages newer than id\n"
    "  GET  subscribe  [id=CURSOR] [channel=NAME ...]  wait for a word: new, or punt\n"
    "\n"
    "  GET  streaming    [the same]  a line of JSON a message, for as long as you read\n"
    "  GET  events       [the same]  Server-Sent Events, for EventSource\n"
    "  GET  iframe       [the same]  scripts that call parent.add_content, for an iframe\n"
    "  GET  longpolling  [the same]  update in plain text\n"
    "  GET  websocket    [the same]  a WebSocket, if the web server passes it on\n"
    "  GET  status                   how it is doing\n";

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

void route(struct conn *conn, const struct request *request)
{
    for (const struct endpoint *endpoint = endpoints; endpoint < endpoints + ENDPOINTS;
         endpoint++) {
        if (!text_is(request->endpoint, endpoint->name))
            continue;
        if (endpoint->methods & request->method)
            endpoint->handle(conn, request);
        else
            refuse_method(conn, endpoint);
        return;
    }
    conn_answer(conn, frame_new(404, TYPE_TEXT, NULL, greeting, sizeof greeting - 1));
}

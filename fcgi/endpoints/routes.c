#include "fcgi/endpoints/routes.h"

#include <stdio.h>
#include <string.h>

#include "fcgi/conn/answer.h"
#include "fcgi/endpoints/endpoint.h"
#include "fcgi/wire/origin.h"

struct route {
    const char *name;
    unsigned methods;  /* a bit for each enum method; a HEAD is a GET */
    bool guarded;      /* it changes something: see origin.h */
    const char *allow; /* the methods in words */
    endpoint *handle;
    const char *takes, *does; /* for the greeting */
};

#define READER "[id=CURSOR] [channel=NAME ...]"

static const struct route routes[] = {
    {"create", METHOD_POST, true, "POST", endpoint_create, "msg=TEXT [channel=NAME] [once=KEY]",
     "publish a message"},
    {"batch", METHOD_POST, true, "POST", endpoint_batch, "[{\"msg\":TEXT, ...}, ...]",
     "publish several, all or none"},
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
    {"status", METHOD_GET, false, "GET, HEAD", endpoint_status, "", "numbers about the daemon"},
};
enum { ROUTES = sizeof routes / sizeof *routes };

/* The answer at any other path: which endpoints there are. */
static void greet(const struct service *service, struct conn *conn)
{
    const char *mount = service->mount;
    struct buf *out = &conn->conns->scratch;
    buf_reset(out);
    buf_puts(out, "Hello! This is Encke, which brings news to web pages. Nothing lives at this "
                  "path; try\n\n");
    for (const struct route *each = routes; each < routes + ROUTES; each++)
        buf_printf(out, "  %-4s %s%-11s  %-30s  %s\n", each->methods & METHOD_GET ? "GET" : "POST",
                   mount ? mount : "", each->name, each->takes, each->does);
    conn_answer(conn, buf_ok(out) ? frame_new(404, TYPE_TEXT, NULL, out->bytes, out->len) : NULL);
}

static void refuse_method(struct conn *conn, const struct route *route)
{
    char header[64], text[64];
    snprintf(header, sizeof header, "Allow: %s\r\n", route->allow);
    snprintf(text, sizeof text, "%s takes %s only", route->name, route->allow);
    conn_answer(conn, frame_error(405, header, text));
}

/* A web server may have a rule for what stands in the query, but does not see the body. So a field
 * that is in both could get round the rule. Returns what is wrong, or NULL. */
static const char *field_said_twice(const struct request *request)
{
    static char complaint[128];
    struct text name = form_shared(&request->query, &request->form);
    if (!name.bytes)
        return NULL;
    snprintf(complaint, sizeof complaint,
             "%s is in the query and in the body: send it in one of them",
             channel_name_valid(name) ? name.bytes : "a field"); /* else it may break the JSON */
    return complaint;
}

/* Hands the request to the endpoint, unless something is wrong with it. */
static void handle_request(struct service *service, struct conn *conn, const struct route *route,
                           const struct request *request)
{
    const char *complaint;
    if (!(route->methods & request->method))
        refuse_method(conn, route);
    else if (route->guarded && !origin_allowed(request, service->origin))
        conn_answer(conn, frame_error(403, NULL, ORIGIN_REFUSED));
    else if ((complaint = field_said_twice(request)))
        conn_answer(conn, frame_error(400, NULL, complaint));
    else
        route->handle(service, conn, request);
}

void route_request(void *context, struct conn *conn, const struct request *request)
{
    struct service *service = context;
    if (request->fault) {
        conn_answer(conn, frame_error(request->fault_status, NULL, request->fault));
        return;
    }
    struct text name = request_endpoint(request, service->mount);
    const struct route *route = routes, *end = routes + ROUTES;
    while (route < end && !text_is(name, route->name))
        route++;
    if (route == end)
        greet(service, conn);
    else
        handle_request(service, conn, route, request);
}

/* update, subscribe, longpolling - give what is newer than the reader's cursor, or hold the request
 * until there is something. */
#include "fcgi/endpoints/endpoint.h"
#include "fcgi/readers/hold.h"

static bool understand_poll(const struct service *service, struct conn *conn,
                            const struct request *request, struct terms *terms,
                            struct wanted *wanted)
{
    terms->wait_s = service->hold_s;
    terms->wait_max_s = service->hold_max_s;
    return endpoint_understand(service, conn, request, terms, wanted);
}

void endpoint_update(struct service *service, struct conn *conn, const struct request *request)
{
    struct terms terms = {.formats = {{"json", FORMAT_JSON}, {"html", FORMAT_HTML}}};
    struct wanted wanted;
    if (understand_poll(service, conn, request, &terms, &wanted))
        hold_poll(service->readers, conn, &wanted);
}

/* A client of subscribe or longpolling that sends no id wants only what comes. Otherwise it would
 * be answered at once, each time. */
static void default_to_now(struct wanted *wanted)
{
    if (wanted->cursor.kind == CURSOR_START)
        wanted->cursor.kind = CURSOR_NOW;
}

/* subscribe is update for clients that only want to know that there is something new. */
void endpoint_subscribe(struct service *service, struct conn *conn, const struct request *request)
{
    struct terms terms = {.formats = {{"json", FORMAT_WORD}, {"html", FORMAT_WORD}}};
    struct wanted wanted;
    if (endpoint_relayed(service, conn, request))
        return;
    if (!understand_poll(service, conn, request, &terms, &wanted))
        return;
    wanted.shape.limit = 1;
    default_to_now(&wanted);
    hold_poll(service->readers, conn, &wanted);
}

/* longpolling is update for people, and for pages that show its text as it comes. */
void endpoint_longpolling(struct service *service, struct conn *conn, const struct request *request)
{
    struct terms terms = {.formats = {{"text", FORMAT_SAYS}}};
    struct wanted wanted;
    if (!understand_poll(service, conn, request, &terms, &wanted))
        return;
    default_to_now(&wanted);
    hold_poll(service->readers, conn, &wanted);
}

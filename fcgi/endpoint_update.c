/* update - gives what is newer than the reader's cursor, or holds the request until there is. */
#include "fcgi/render.h"
#include "fcgi/routes.h"
#include "fcgi/server.h"

/* Answers with what is newer than the cursor, or parks. Between the two nothing can happen: only
 * this thread moves the head (invariant 3). */
static void read_or_park(struct conn *conn, const struct wanted *wanted)
{
    struct server *server = conn->server;
    struct page page;
    enum log_status status = log_read(server->log, wanted->channels, wanted->count, wanted->cursor,
                                      wanted->limit, &page);
    if (status != LOG_OK) {
        conn_answer(
            conn, frame_error(status == LOG_NO_MEMORY ? 503 : 500, NULL, log_status_text(status)));
        return;
    }
    if (page.count == 0 && !page.reset && wanted->hold_ms > 0)
        hold_park(conn, wanted);
    else
        conn_answer(conn,
                    render_page(&server->scratch, wanted->format, log_epoch(server->log), &page));
    page_free(&page);
}

static bool understand(struct conn *conn, const struct request *request, struct wanted *wanted)
{
    struct server *server = conn->server;
    const char *complaint = wanted_parse(wanted, request, server->options, log_epoch(server->log));
    if (complaint)
        conn_answer(conn, frame_error(400, NULL, complaint));
    return complaint == NULL;
}

void endpoint_update(struct conn *conn, const struct request *request)
{
    struct wanted wanted;
    if (understand(conn, request, &wanted))
        read_or_park(conn, &wanted);
}

/* subscribe is update for clients that only want the word, and then look for themselves. */
void endpoint_subscribe(struct conn *conn, const struct request *request)
{
    struct wanted wanted;
    if (!understand(conn, request, &wanted))
        return;
    wanted.format = FORMAT_WORD;
    wanted.limit = 1;
    if (wanted.cursor.kind == CURSOR_START)
        wanted.cursor.kind = CURSOR_NOW;
    read_or_park(conn, &wanted);
}

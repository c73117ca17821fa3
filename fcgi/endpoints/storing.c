#include "fcgi/endpoints/storing.h"

#include "fcgi/conn/answer.h"
#include "fcgi/conn/refusal.h"
#include "fcgi/readers/publish.h"
#include "fcgi/readers/render.h"

static struct frame *refused_frame(const struct append *append, bool array)
{
    return array && log_status_is_of_message(append->status)
               ? refusal_frame_at(append->status, append->refused)
               : refusal_frame(append->status);
}

static void answer_stored(struct append *append, bool array)
{
    struct conn *conn = append->owner;
    const struct service *service = conn->conns->service;
    const char *epoch = log_epoch(service->publisher->log);
    conn_answer(conn, append->status == LOG_OK
                          ? render_stored(&conn->conns->scratch, epoch, append, array)
                          : refused_frame(append, array));
}

static void on_one_stored(struct append *append)
{
    answer_stored(append, false);
}

static void on_array_stored(struct append *append)
{
    answer_stored(append, true);
}

static const struct append_ops one_ops = {.done = on_one_stored};
static const struct append_ops array_ops = {.done = on_array_stored};

/* The messages are stored all the same, and nobody is answered. */
static void leave_storing(struct conn *conn, void *in)
{
    (void)conn;
    publish_forget(in);
}

/* The messages are on their way into the log: a struct append. */
static const struct wait storing_wait = {.name = "storing", .left = leave_storing};

void storing_begin(const struct service *service, struct conn *conn,
                   struct message *const *messages, size_t count, bool array)
{
    struct append *append;
    enum log_status queued = publish_messages(service->publisher, messages, count,
                                              array ? &array_ops : &one_ops, conn, &append);
    if (queued == LOG_OK)
        conn_wait(conn, &conn->conns->busy, &storing_wait, append, CONN_FOREVER);
    else
        conn_answer(conn, refusal_frame(queued));
}

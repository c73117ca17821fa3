/* create - publishes one message, and answers once it is on the disk. */
#include <stdio.h>
#include <stdlib.h>

#include "fcgi/conn/answer.h"
#include "fcgi/conn/refusal.h"
#include "fcgi/endpoints/endpoint.h"
#include "fcgi/readers/publish.h"
#include "fcgi/readers/render.h"
#include "fcgi/readers/wanted.h"

enum { RANDOM_LEN = 6 }; /* of the message that is made up when none is given */

static struct text random_message(char bytes[RANDOM_LEN + 1])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    for (int i = 0; i < RANDOM_LEN; i++)
        bytes[i] = letters[arc4random_uniform(sizeof letters - 1)];
    bytes[RANDOM_LEN] = '\0';
    return (struct text){bytes, RANDOM_LEN};
}

/* What a create says. Each field may be given once; other fields are refused. */
struct said {
    struct text message; /* absent or empty: none was given */
    const char *channel;
};

/* Takes over one field. Returns what is wrong with it, or NULL. */
static const char *take_create_field(struct said *said, const struct field *field)
{
    if (text_is(field->name, "msg")) {
        if (said->message.bytes)
            return "msg is given twice: a message has one text";
        said->message = field->value;
        return NULL;
    }
    if (!text_is(field->name, "channel"))
        return "create takes the fields msg and channel only; to send a text that is not a form, "
               "set "
               "Content-Type: text/plain";
    if (said->channel)
        return "a message goes to one channel";
    said->channel = field->value.bytes;
    return channel_name_valid(field->value) ? NULL : CHANNEL_NAME_RULE;
}

static const char *take_create_fields(struct said *said, const struct form *form)
{
    const char *complaint = form->overflow ? "too many fields" : NULL;
    for (size_t i = 0; i < form->count && !complaint; i++)
        complaint = take_create_field(said, &form->fields[i]);
    return complaint;
}

/* A body that is no form is the message, even if it is JSON. */
static const char *take_create_body(struct said *said, const struct request *request)
{
    if (request->body_cut)
        return "the body is not as long as Content-Length says";
    if (request->body.len == 0)
        return NULL;
    if (said->message.bytes)
        return "the message is given twice: as msg, and as the body";
    said->message = request->body;
    return NULL;
}

/* Reads the fields and the body. Returns 0, or the HTTP status to refuse it with, and in why the
 * reason. */
static int read_create(struct said *said, const struct request *request, size_t max_message,
                       char *why, size_t why_size)
{
    *said = (struct said){0};
    const char *complaint = take_create_fields(said, &request->query);
    if (!complaint)
        complaint = take_create_fields(said, &request->form);
    if (!complaint)
        complaint = take_create_body(said, request);
    bool too_large = request->body_too_large || said->message.len > max_message;
    if (!complaint && !too_large)
        complaint = publish_complaint(said->message);
    if (too_large)
        snprintf(why, why_size, "the message is larger than %zu bytes", max_message);
    else if (complaint)
        snprintf(why, why_size, "%s", complaint);
    return too_large ? 413 : complaint ? 400 : 0;
}

/* The create's message is stored, or was refused. */
static void on_created(struct append *append)
{
    struct conn *conn = append->owner;
    const struct service *service = conn->conns->service;
    const char *epoch = log_epoch(service->publisher->log);
    conn_answer(conn, append->status == LOG_OK ? render_id(epoch, append->entries[0].message->seq)
                                               : refusal_frame(append->status));
}

static const struct append_ops create_ops = {.done = on_created};

/* The message is stored all the same, and nobody is answered. */
static void leave_create(struct conn *conn, void *in)
{
    (void)conn;
    publish_forget(in);
}

/* The message is on its way into the log: a struct append. */
static const struct wait create_wait = {.name = "create", .left = leave_create};

void endpoint_create(struct service *service, struct conn *conn, const struct request *request)
{
    struct said said;
    char why[256], made_up[RANDOM_LEN + 1];
    int status = read_create(&said, request, service->publisher->max_message, why, sizeof why);
    if (status != 0) {
        conn_answer(conn, frame_error(status, NULL, why));
        return;
    }
    struct text text = said.message.len > 0 ? said.message : random_message(made_up);
    struct append *append;
    enum log_status queued = publish_text(service->publisher, said.channel ? said.channel : "main",
                                          text, &create_ops, conn, &append);
    if (queued == LOG_OK)
        conn_wait(conn, &conn->conns->busy, &create_wait, append, CONN_FOREVER);
    else
        conn_answer(conn, refusal_frame(queued));
}

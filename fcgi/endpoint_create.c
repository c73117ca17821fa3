/* create - publishes one message, and answers once it is on the disk. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/render.h"
#include "fcgi/routes.h"
#include "fcgi/server.h"
#include "fcgi/wanted.h"

enum { RANDOM_LEN = 6 }; /* of the message that is made up when none is given */

static struct text random_message(char bytes[RANDOM_LEN + 1])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    for (int i = 0; i < RANDOM_LEN; i++)
        bytes[i] = letters[arc4random_uniform(sizeof letters - 1)];
    bytes[RANDOM_LEN] = '\0';
    return (struct text){bytes, RANDOM_LEN};
}

/* The message's text: the field msg, a body that is no form, or absent. */
static struct text given_message(const struct request *request)
{
    struct text message = request_field(request, "msg");
    if (message.bytes || request->body_kind == BODY_FORM || request->body.len == 0)
        return message;
    return request->body;
}

/* Whether a form was sent that says something, but not in a field that create knows. */
static bool form_is_mistaken(const struct form *form)
{
    for (size_t i = 0; i < form->count; i++)
        if (!text_is(form->fields[i].name, "channel"))
            return true;
    return false;
}

/* What is wrong with the request as a whole: its status and text, or 0. */
static int refuse_request(const struct request *request, size_t max_message, char *why,
                          size_t why_size)
{
    struct text message = given_message(request);
    if (request->body_too_large || message.len > max_message) {
        snprintf(why, why_size, "the message is larger than %zu bytes", max_message);
        return 413;
    }
    if (request->body_kind == BODY_MULTIPART) {
        snprintf(why, why_size,
                 "multipart/form-data is not read here; send msg url-encoded "
                 "(curl --data-urlencode msg=...), or the text itself as text/plain");
        return 415;
    }
    *why = '\0';
    if (request->body_cut)
        snprintf(why, why_size, "the body is not as long as Content-Length says");
    else if (request->form.overflow || request->query.overflow)
        snprintf(why, why_size, "too many fields");
    else if (!message.bytes && form_is_mistaken(&request->form))
        snprintf(why, why_size,
                 "the form has no field msg; send msg=..., or the text itself with "
                 "Content-Type: text/plain");
    else if (message.bytes && memchr(message.bytes, '\0', message.len))
        snprintf(why, why_size, "the message contains a NUL byte");
    else if (message.bytes && !text_is_utf8(message))
        snprintf(why, why_size, "the message is not UTF-8");
    return *why ? 400 : 0;
}

/* The channel, or NULL with a complaint. */
static const char *channel_of(const struct request *request, const char **complaint)
{
    const char *channel = NULL;
    const struct form *forms[] = {&request->form, &request->query};
    for (int f = 0; f < 2; f++)
        for (size_t i = 0; i < forms[f]->count; i++) {
            const struct field *field = &forms[f]->fields[i];
            if (!text_is(field->name, "channel"))
                continue;
            if (channel || !channel_name_valid(field->value)) {
                *complaint = channel ? "a message goes to one channel" : CHANNEL_NAME_RULE;
                return NULL;
            }
            channel = field->value.bytes;
        }
    return channel ? channel : "main";
}

struct frame *create_answer(const struct append *append, const char *epoch)
{
    return append->status == LOG_OK ? render_id(epoch, append->message->seq)
                                    : render_refusal(append->status);
}

enum log_status create_queue(struct conn *conn, const char *channel, struct text text,
                             struct append **append)
{
    struct server *server = conn->server;
    struct message *message = message_new(channel, text.bytes, text.len, message_time_now());
    enum log_status queued =
        message ? log_append(server->log, message, conn, append) : LOG_NO_MEMORY;
    if (queued == LOG_OK)
        return LOG_OK;
    message_drop(message);
    server_note_create(server, queued);
    return queued;
}

void endpoint_create(struct conn *conn, const struct request *request)
{
    struct server *server = conn->server;
    char why[256];
    int status = refuse_request(request, (size_t)server->options->max_message, why, sizeof why);
    if (status != 0) {
        conn_answer(conn, frame_error(status, NULL, why));
        return;
    }
    const char *complaint = NULL;
    const char *channel = channel_of(request, &complaint);
    if (!channel) {
        conn_answer(conn, frame_error(400, NULL, complaint));
        return;
    }
    char made_up[RANDOM_LEN + 1];
    struct text text = given_message(request);
    if (!text.bytes)
        text = random_message(made_up);
    struct append *append;
    enum log_status queued = create_queue(conn, channel, text, &append);
    if (queued == LOG_OK)
        conn_await(conn, append);
    else
        conn_answer(conn, render_refusal(queued));
}

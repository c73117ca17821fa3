/* create - publishes one message, and answers once it is on the disk. */
#include <stddef.h>
#include <stdlib.h>

#include "fcgi/conn/answer.h"
#include "fcgi/endpoints/endpoint.h"
#include "fcgi/endpoints/storing.h"
#include "fcgi/readers/publish.h"
#include "fcgi/wire/entries.h"
#include "fcgi/wire/key.h"

enum { RANDOM_LEN = 6 }; /* of the message that is made up when none is given */

static struct text random_message(char bytes[RANDOM_LEN + 1])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    for (int i = 0; i < RANDOM_LEN; i++)
        bytes[i] = letters[arc4random_uniform(sizeof letters - 1)];
    bytes[RANDOM_LEN] = '\0';
    return (struct text){bytes, RANDOM_LEN};
}

/* Takes over one field, which may be given once; other fields are refused. Returns what is wrong
 * with it, or NULL. */
static const char *take_create_field(struct entry *entry, const struct field *field)
{
    static const struct {
        const char *name;
        size_t offset; /* in struct entry */
        const char *twice;
    } known[] = {
        {"msg", offsetof(struct entry, message), "msg is given twice: a message has one text"},
        {"channel", offsetof(struct entry, channel), "a message goes to one channel"},
        {"once", offsetof(struct entry, once), "once is given twice: a message has one key"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct text *value = (struct text *)((char *)entry + known[i].offset);
        if (!text_is(field->name, known[i].name))
            continue;
        if (value->bytes)
            return known[i].twice;
        *value = field->value;
        return NULL;
    }
    return "create takes the fields msg, channel and once only; to send a text that is not a form, "
           "set Content-Type: text/plain";
}

static const char *take_create_fields(struct entry *entry, const struct form *form)
{
    const char *complaint = form->overflow ? "too many fields" : NULL;
    for (size_t i = 0; i < form->count && !complaint; i++)
        complaint = take_create_field(entry, &form->fields[i]);
    return complaint;
}

/* A body that is no form is the message, even if it is JSON. */
static const char *take_create_body(struct entry *entry, const struct request *request)
{
    if (request->body_cut)
        return "the body is not as long as Content-Length says";
    if (request->body.len == 0)
        return NULL;
    if (entry->message.bytes)
        return "the message is given twice: as msg, and as the body";
    entry->message = request->body;
    return NULL;
}

static const char *take_create(struct entry *entry, const struct request *request,
                               struct key_room *room)
{
    const char *complaint = take_create_fields(entry, &request->query);
    if (!complaint)
        complaint = take_create_fields(entry, &request->form);
    if (!complaint)
        complaint = take_create_body(entry, request);
    if (!complaint)
        complaint = key_find(entry->once, request->idempotency_key, room, &entry->once);
    return complaint;
}

/* Reads the fields, the body and the header. Returns as publish_check does. */
static int read_create(struct entry *entry, const struct request *request,
                       const struct publisher *publisher, struct key_room *room, const char **why)
{
    *entry = (struct entry){0};
    *why = take_create(entry, request, room);
    if (*why)
        return 400;
    if (request->body_too_large) /* and not kept */
        entry->message.len = publisher->max_message + 1;
    if (entry->message.len == 0 && entry->once.bytes) {
        *why = "a key needs a message: one that is made up is another each time";
        return 400;
    }
    return publish_check(publisher, entry, why);
}

void endpoint_create(struct service *service, struct conn *conn, const struct request *request)
{
    struct entry entry;
    struct key_room room;
    const char *why;
    char made_up[RANDOM_LEN + 1];
    int status = read_create(&entry, request, service->publisher, &room, &why);
    if (status != 0) {
        conn_answer(conn, frame_error(status, NULL, why));
        return;
    }
    if (entry.message.len == 0)
        entry.message = random_message(made_up);
    struct message *message = publish_make(&entry);
    storing_begin(service, conn, &message, 1, false);
}

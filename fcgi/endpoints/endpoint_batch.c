/* batch - publishes the messages of a JSON array, all of them or none, and answers once they are on
 * the disk. One object instead of an array is a create for programs that speak JSON only. */
#include <stdio.h>

#include "fcgi/conn/answer.h"
#include "fcgi/endpoints/endpoint.h"
#include "fcgi/endpoints/storing.h"
#include "fcgi/readers/publish.h"
#include "fcgi/wire/entries.h"
#include "fcgi/wire/key.h"

/* The messages of a request, as far as they were read, or what is wrong with it. */
struct posting {
    struct entries entries;
    size_t count;
    struct message *messages[ENTRIES_MAX];
    int status;      /* to refuse it with; 0: nothing is wrong */
    const char *why; /* JSON-safe */
    bool by_element; /* what is wrong is in the element with the index `count` */
};

static void refuse_posting(struct posting *posting, int status, const char *why)
{
    posting->status = status;
    posting->why = why;
}

/* The header is about the whole request, so it can only be the key of its only message. */
static void check_posting(struct posting *posting, const struct request *request, size_t body_max)
{
    static char too_large[64];
    if (!request->json) { /* which no form of another site's page can send */
        refuse_posting(posting, 415, "batch takes JSON: set Content-Type: application/json");
    } else if (request->body_too_large) {
        snprintf(too_large, sizeof too_large, "the body is larger than %zu bytes", body_max);
        refuse_posting(posting, 413, too_large);
    } else if (request->body_cut) {
        refuse_posting(posting, 400, "the body is not as long as Content-Length says");
    } else if (request->query.count > 0) {
        refuse_posting(posting, 400, "batch takes no parameters in the address");
    } else {
        entries_start(&posting->entries, request->json, request->body.len);
        if (posting->entries.array && request->idempotency_key.bytes)
            refuse_posting(
                posting, 400,
                "Idempotency-Key is for one message; in an array each has its own, once");
    }
}

/* A message has a text here: one that is made up would be a surprise among others. */
static void take_entry(struct posting *posting, const struct publisher *publisher,
                       struct entry *entry, struct text header)
{
    struct key_room room;
    const char *why = key_find(entry->once, header, &room, &entry->once);
    int status = why ? 400 : publish_check(publisher, entry, &why);
    if (status == 0 && entry->message.len == 0) {
        status = 400;
        why = "msg is missing or empty";
    }
    if (status == 0) {
        posting->messages[posting->count++] = publish_make(entry);
    } else {
        refuse_posting(posting, status, why);
        posting->by_element = true;
    }
}

static void read_posting(struct posting *posting, const struct publisher *publisher,
                         const struct request *request)
{
    struct entries *entries = &posting->entries;
    struct entry entry;
    while (posting->status == 0 && entries_next(entries, &entry))
        take_entry(posting, publisher, &entry, request->idempotency_key);
    if (posting->status == 0 && entries->why) {
        refuse_posting(posting, 400, entries->why);
        posting->by_element = entries->in_entry;
    }
}

void endpoint_batch(struct service *service, struct conn *conn, const struct request *request)
{
    struct posting posting = {.count = 0};
    check_posting(&posting, request, conn->conns->body_max);
    read_posting(&posting, service->publisher, request);
    if (posting.status == 0) {
        storing_begin(service, conn, posting.messages, posting.count, posting.entries.array);
        return;
    }
    conn_answer(conn, posting.by_element && posting.entries.array
                          ? frame_error_at(posting.status, NULL, posting.count, posting.why)
                          : frame_error(posting.status, NULL, posting.why));
    for (size_t i = 0; i < posting.count; i++)
        message_drop(posting.messages[i]);
}

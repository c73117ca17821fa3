/* dialect.h - what differs between the servers that can be asked: what things are called there, how
 * a poll goes on behind its last answer, and where an answer says what place a message has.
 *
 * `encke` is Encke's own protocol, which the boards of other makes speak here too. `nchan` is that
 * of nchan's locations: subscribers' (`update`, `events`, `websocket`), a publisher's (`publish`),
 * which takes bodies as they are, and the `status` of all (nchan_stub_status). A publisher's would
 * do for that, too: it says how many subscribers the channel has, or 404 while there never were
 * any. A subscriber that comes without a place is to wait for the next message
 * (nchan_subscriber_first_message newest).
 *
 * Pure: requests and answers as bytes.
 */
#ifndef ENCKE_BENCH_DIALECT_H
#define ENCKE_BENCH_DIALECT_H

#include "tests/bench/answer.h"
#include "tests/bench/wire.h"

static const char form_type[] = "application/x-www-form-urlencoded";

struct dialect {
    const char *name;
    /* What these options are unless told. */
    const char *poll, *publish, *form, *type, *status, *held;
    const char *sse_header; /* a line that asks for an event stream; NULL: none */
    bool counts_all;        /* --held counts streams, too, of any kind */
    bool absent_is_none;    /* a status that is not found means that nobody is there */
    bool one_order;         /* all readers get the messages in the same order */

    /* Makes the poll that follows `a`, the answer to one of `poll`. False if the answer does not
     * say where to go on, or the request would be too long. */
    bool (*next)(struct request *request, const struct target *target, const char *poll,
                 const struct answer *a);
    /* The place in the log that a create's answer names; 0 if it names none. */
    uint64_t (*seq)(const struct answer *a);
};

/* ---- encke ----------------------------------------------------------------------------------- */

/* The poll ends in `now`, and has the cursor of the answer in the place of that. */
static inline bool encke_next(struct request *request, const struct target *target,
                              const char *poll, const struct answer *a)
{
    const char *id = strstr(a->text + a->head_len, "\"id\":\"");
    char more[256];
    int len;

    if (!id)
        return false;
    id += strlen("\"id\":\"");
    len = snprintf(more, sizeof more, "%.*s%.*s", (int)strlen(poll) - 3, poll,
                   (int)strcspn(id, "\""), id);
    return (size_t)len < sizeof more && request_make(request, target, more, NULL, "");
}

/* The number behind the epoch in `{"id":"EPOCH-NUMBER"}`. */
static inline uint64_t encke_seq(const struct answer *a)
{
    const char *id = strstr(a->text + a->head_len, "\"id\":\"");
    const char *dash = id ? strchr(id, '-') : NULL;

    return dash ? strtoull(dash + 1, NULL, 10) : 0;
}

/* ---- nchan ----------------------------------------------------------------------------------- */

/* A message's place is in two headers of the answer, and goes back in two of the next request. */
static inline bool nchan_next(struct request *request, const struct target *target,
                              const char *poll, const struct answer *a)
{
    const char *modified = answer_header(a, "Last-Modified"), *tag = answer_header(a, "Etag");
    char lines[256];
    int len;

    if (!modified || !tag)
        return false;
    len = snprintf(lines, sizeof lines, "If-Modified-Since: %.*s\r\nIf-None-Match: %.*s\r\n",
                   (int)strcspn(modified, "\r"), modified, (int)strcspn(tag, "\r"), tag);
    return (size_t)len < sizeof lines && request_make(request, target, poll, NULL, "") &&
           request_add(request, lines);
}

/* It tells only the channel's last message, which may be another's by then. */
static inline uint64_t nchan_seq(const struct answer *a)
{
    (void)a;
    return 0;
}

static const struct dialect dialects[] = {
    {.name = "encke",
     .poll = "update?id=now",
     .publish = "create",
     .form = "msg=",
     .type = form_type,
     .status = "status",
     .held = "\"holds\":",
     .one_order = true,
     .next = encke_next,
     .seq = encke_seq},
    {.name = "nchan",
     .poll = "update",
     .publish = "publish",
     .form = "",
     .type = "text/plain",
     .status = "status",
     .held = "\nsubscribers: ",
     .sse_header = "Accept: text/event-stream\r\n",
     .counts_all = true,
     .absent_is_none = true,
     .next = nchan_next,
     .seq = nchan_seq},
};

/* NULL if there is none of that name. */
static inline const struct dialect *dialect_named(const char *name)
{
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++)
        if (strcmp(dialects[i].name, name) == 0)
            return dialects + i;
    return NULL;
}

#endif

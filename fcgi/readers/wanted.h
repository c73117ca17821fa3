/* wanted.h - what a reader asks for: channels, a cursor, how much, how long, in which shape.
 *
 * Loop's thread only: complaints are written into one static buffer. No I/O.
 */
#ifndef ENCKE_FCGI_WANTED_H
#define ENCKE_FCGI_WANTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/wire/request.h"
#include "store/cursor.h"
#include "store/message.h"

enum {
    WANTED_CHANNELS_MAX = 512,  /* the most that --max-channels allows */
    LIMIT_MAX = 1000,           /* messages of one answer */
    ANSWER_BYTES = 1 << 20,     /* an answer ends with the message that reaches so many bytes */
    ANSWER_BYTES_FEW = 1 << 16, /* the same while much is unsent; most sockets take it at once */
    CALLBACK_MAX = 64           /* bytes */
};

enum format {
    /* of an answer that ends the request */
    FORMAT_JSON, /* {"id":…,"messages":[…],"more":…} */
    FORMAT_HTML, /* {"html":"<div>…</div>…","id":…} */
    FORMAT_WORD, /* {"ret":"new"} or {"ret":"punt"} */
    FORMAT_SAYS, /* Server says: … */
    /* of a stream: see transport.c */
    FORMAT_LINES,
    FORMAT_SCRIPT,
    FORMAT_EVENTS,
    FORMAT_EVENTS_JSON,
    FORMAT_FRAMES,
    FORMATS
};

static inline bool format_streams(enum format format)
{
    return format >= FORMAT_LINES;
}

/* All that decides the bytes in which a message reaches a reader. */
struct shape {
    enum format format;
    uint32_t limit;      /* messages of one answer; 0: a stream */
    uint16_t request_id; /* in a stream's records; 0: an answer, which is patched when it is sent */
    const char *callback; /* of scripts; else "" */
};

struct wanted {
    const char *channels[WANTED_CHANNELS_MAX]; /* sorted, distinct; the request's memory */
    size_t count;                              /* at least one */
    struct cursor cursor;
    struct shape shape;
    uint64_t wait_ms; /* how long to hold, or to stream; 0: give what is there, and end */
};

/* What an endpoint accepts. */
struct terms {
    struct {
        const char *as; /* the field's value; the first is the default; NULL ends the list */
        enum format format;
    } formats[3];
    int64_t wait_s, wait_max_s; /* the default, and the longest that a client may ask for */
    bool last_first;            /* Last-Event-ID counts for more than id: see endpoint_events */
};

/* Reads the fields id (or Last-Event-ID, or lastEventId or last_event_id in the query), channel,
 * timeout, limit, as and callback; limit is for answers only, callback for scripts. Returns NULL,
 * or what is wrong with them: one sentence that is JSON-safe, valid until the next call. */
const char *wanted_parse(struct wanted *wanted, const struct request *request,
                         const struct terms *terms, size_t max_channels, const char *epoch);

/* Reads a field that is a plain decimal number from least to most; absent it is standard. Returns
 * NULL, or what is wrong with it, as wanted_parse does. */
const char *wanted_number(const struct request *request, const char *name, uint64_t least,
                          uint64_t most, uint64_t standard, uint64_t *value);

/* Whether name is 1 to 64 of A-Z a-z 0-9 . _ - */
bool channel_name_valid(struct text name);

/* The complaint about a name that is not. */
extern const char CHANNEL_NAME_RULE[];

#endif

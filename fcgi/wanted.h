/* wanted.h - what a reader asks for: channels, a cursor, how much, how long, in which form.
 *
 * Pure, but for the one buffer in which a complaint is written.
 */
#ifndef ENCKE_FCGI_WANTED_H
#define ENCKE_FCGI_WANTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/options.h"
#include "fcgi/request.h"
#include "store/cursor.h"
#include "store/message.h"

enum {
    WANTED_CHANNELS_MAX = 512, /* the most that --max-channels allows */
    LIMIT_MAX = 1000           /* messages of one answer */
};

enum format {
    FORMAT_JSON, /* {"id":…,"messages":[…],"more":…} */
    FORMAT_HTML, /* {"html":"<div>…</div>…","id":…} */
    FORMAT_WORD  /* {"ret":"new"} or {"ret":"punt"} */
};

struct wanted {
    const char *channels[WANTED_CHANNELS_MAX]; /* sorted, distinct; the request's memory */
    size_t count;                              /* at least one */
    struct cursor cursor;
    enum format format;
    size_t limit;
    uint64_t hold_ms; /* 0: do not hold */
};

/* Reads the fields id (or Last-Event-ID), channel, timeout, limit and as. Returns NULL, or what is
 * wrong with them: one sentence that is JSON-safe, valid until the next call. */
const char *wanted_parse(struct wanted *wanted, const struct request *request,
                         const struct options *options, const char *epoch);

/* Whether name is 1 to 64 of A-Z a-z 0-9 . _ - */
bool channel_name_valid(struct text name);

/* The complaint about a name that is not. */
extern const char CHANNEL_NAME_RULE[];

#endif

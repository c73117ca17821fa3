/* feed.h - a feed appends the answers of an upstream to a channel of the log, so that readers on
 * any transport get them.
 *
 * A feed keeps a poll of its upstream under way, whether or not clients wait for one. An answer
 * that says that something changed is appended as it came. Once it is committed, the next poll goes
 * on from the cursor that the answer carried. The answer and its cursor are one message, so after a
 * restart the channel's newest message with a cursor tells where to go on. If every answer has a
 * cursor, nothing is missed, and nothing is appended twice.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_FEED_H
#define ENCKE_FCGI_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fcgi/readers/publish.h"
#include "fcgi/relay/relay.h"
#include "fcgi/relay/upstream.h"
#include "store/log.h"

enum {
    FEED_PACE_MS = 100,           /* the least time between two polls, if the cursor moves on … */
    FEED_IDLE_PACE_MS = 1000,     /* … and if it does not */
    FEED_RETRY_MS = 1000,         /* until what could not be appended or asked is tried again */
    FEED_CURSOR_MAX = 1024,       /* bytes; a longer one is none */
    FEED_ANSWER_MAX = 256 * 1024, /* bytes of an answer, if --max-message is not more */
    FEED_LOOK_BACK = 1000         /* messages among which a cursor is looked for after a restart */
};

struct feeds;

/* Starts the feeds of all upstreams that have a channel; each reads its channel for a cursor first
 * (log_read_newest). Returns NULL with one line in why. */
struct feeds *feeds_open(struct loop *loop, struct relay *relay, struct publisher *publisher,
                         const struct upstreams *upstreams, char *why, size_t why_size);

/* Appends nothing more; relay_release or relay_close ends the polls. */
void feeds_stop(struct feeds *feeds);

/* Before the relay is closed. NULL is allowed. */
void feeds_close(struct feeds *feeds);

struct feed_stats {
    const char *channel; /* NULL: none is fed, and the rest is empty */
    const char *cursor;  /* where the next poll goes on; NULL: nowhere in particular */
    uint64_t appended;   /* messages */
    uint64_t shortened;  /* of these, to the word that something changed */
};
void feed_stats(const struct feeds *feeds, const struct upstream *upstream,
                struct feed_stats *stats);

/* Whether body[0, len), of a good answer, says that something changed: it is not empty, and not a
 * JSON object that says otherwise ("ret":"punt", or "messages":[]). *cursor is the value of the
 * object's field, if that is a string or a number, else NULL; free it. Pure. */
bool feed_understand(const char *body, size_t len, const char *field, char **cursor);

#endif

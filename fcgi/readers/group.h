/* group.h - readers that want the same, and which of them news concerns.
 *
 * Readers that want the same - the same channels in the same shape - form a group. Whoever waits in
 * one has found nothing newer than its cursor, and only the loop moves the head; so all that wait
 * in a group lack the same messages, and get the same bytes: rendered once, framed once, sent to
 * each (invariants 3 and 4 of the design). One that waits needs no cursor. Groups that lack the
 * same share what is rendered, too (round.h).
 *
 *     channel "main" ---- member ---- group {main; json; 1000} ---- conn, conn, conn ...
 *               \------- member ---- group {main, news; events} --- conn ...
 *     channel "news" ---- member ------/
 *
 * What the readers are, and what they get, is for hold.h and stream.h. Loop's thread only.
 */
#ifndef ENCKE_FCGI_GROUP_H
#define ENCKE_FCGI_GROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fcgi/io/buf.h"
#include "fcgi/conn/conn.h"
#include "fcgi/readers/wanted.h"
#include "store/log.h"
#include "store/table.h"

struct channel;
struct member;

struct group {
    UT_hash_handle hh;
    char *key;
    struct shape shape;     /* callback points into key */
    struct frame *call;     /* see transport.h; NULL: none, or not yet */
    uint64_t serial;        /* no other group ever had it */
    struct conn_list conns; /* those that wait for news */
    unsigned readers;       /* these, and polls and streams that are behind */
    unsigned news;          /* channels with news in this round */
    size_t bytes;           /* that it counts for, without its channels */
    STAILQ_ENTRY(group) next_woken;
    bool deserted; /* nobody is in it: it is among the groups that are kept for a moment */
    uint64_t deserted_ms;
    TAILQ_ENTRY(group) next_deserted;
    size_t member_count;
    struct member *members;
};

struct groups {
    struct channel *channels; /* by name: those that somebody reads */
    struct group *groups;     /* by what they want */
    uint64_t serial;
    TAILQ_HEAD(, group) deserted; /* the first that were come first */
    size_t bytes;                 /* of them all, about */
    size_t bytes_max;             /* clients choose the sets of channels: no more than so much */
};

void groups_init(struct groups *groups, size_t bytes_max);

/* What goes before each frame of a bare batch (batch.h) to the group's readers: the group's own, or
 * NULL when out of memory. scratch is overwritten. */
struct frame *group_call(struct group *group, struct buf *scratch);

/* The group of all that want the same as wanted, which is copied. It is joined: see group_leave.
 * NULL when out of memory, or when it would be more than bytes_max; *why says which. */
struct group *group_join(struct groups *groups, struct buf *scratch, const struct wanted *wanted,
                         const char **why);

/* One reader less. A group that nobody is in is kept for a moment, as those who poll come back to
 * it: so neither their news nor their coming back pays for making it and taking it apart. */
void group_leave(struct groups *groups, struct group *group);

/* Frees the groups that have been without readers for at least ms. Not in a round of news. */
void groups_sweep(struct groups *groups, uint64_t ms);

/* The names of its channels, or of those that have news in this round; returns how many. */
size_t group_channels(const struct group *group, const char *names[WANTED_CHANNELS_MAX]);
size_t group_news_channels(const struct group *group, const char *names[WANTED_CHANNELS_MAX]);

/* Calls wake with every group that the drained news concern; before is the head until then. */
void groups_news(struct groups *groups, const struct log_news *news,
                 void (*wake)(void *context, struct group *group, uint64_t before), void *context);

/* Calls each with every group. It may make the group's readers leave. */
void groups_each(struct groups *groups, void (*each)(void *context, struct group *group),
                 void *context);

/* How many channels somebody reads, or did a moment ago. */
unsigned groups_channels(const struct groups *groups);

/* Calls each with every channel that somebody reads, and how many do. */
void groups_each_channel(const struct groups *groups,
                         void (*each)(void *context, const char *name, unsigned count),
                         void *context);

#endif

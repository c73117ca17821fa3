/* group.h - readers that want the same, and which of them are to get which news.
 *
 * Readers that want the same channels in the same shape form a group. Each that waits in it has
 * found nothing newer than its cursor, and only the loop moves the head. So all that wait in a
 * group lack the same messages, and get the same bytes: rendered once, framed once, sent to each
 * (invariants 3 and 4 of the design). None needs a cursor while it waits. Groups that lack the same
 * messages share what is rendered, too (round.h).
 *
 *     channel "main" ---- member ---- group {main; json; 1000} ---- conn, conn, conn ...
 *               \------- member ---- group {main, news; events} --- conn ...
 *     channel "news" ---- member ------/
 *
 * A group does not know what its readers are: they say so by struct readers_ops (hold.h, stream.h).
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_GROUP_H
#define ENCKE_FCGI_GROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fcgi/conn/conn.h"
#include "fcgi/io/buf.h"
#include "fcgi/readers/wanted.h"
#include "store/log.h"
#include "store/table.h"

struct admission;
struct channel;
struct member;
struct readers;

struct group;

/* What the readers of a group are: long polls or streams. */
struct readers_ops {
    /* There are messages in the group's channels that came after `before`: gives them to all who
     * wait in the group. */
    void (*wake)(struct group *group, uint64_t before);
    /* The log has begun anew (log_restart): all who wait in the group are told that they may have
     * missed something, and get what there is. */
    void (*restart)(struct group *group);
    /* The daemon is about to stop: ends all who wait in the group. */
    void (*release)(struct group *group);
};

struct group {
    UT_hash_handle hh;
    struct readers *readers;       /* whose group it is */
    const struct readers_ops *ops; /* static */
    char *key;
    struct shape shape;     /* callback points into key */
    struct frame *call;     /* see transport.h; NULL: none, or not yet */
    uint64_t serial;        /* no other group ever had it */
    struct conn_list conns; /* those that wait for news */
    unsigned readers_count; /* these, and polls that are deferred and streams that are behind */
    unsigned news;          /* channels with news in this round */
    size_t bytes;           /* that it takes, without its channels */
    STAILQ_ENTRY(group) next_woken;
    bool deserted; /* nobody is in it, and it is kept for a moment: see group_leave */
    uint64_t deserted_ms;
    TAILQ_ENTRY(group) next_deserted;
    size_t member_count;
    struct member *members;
};

struct groups {
    struct readers *readers;
    struct admission *admission; /* bounds the bytes of all groups and channels */
    struct buf *scratch;
    struct channel *channels; /* by name: those that somebody reads */
    struct group *groups;     /* by what they want */
    uint64_t serial;
    TAILQ_HEAD(, group) deserted; /* the first that were deserted come first */
};

void groups_init(struct groups *groups, struct readers *readers, struct admission *admission,
                 struct buf *scratch);

/* What goes before each part of a bare batch (batch.h) to the group's readers. It stays the
 * group's. NULL when out of memory. scratch is overwritten. */
struct frame *group_call(struct group *group, struct buf *scratch);

/* The group of all that want the same as wanted, which is copied. One reader more is in it: see
 * group_leave. NULL when out of memory, or when there is no room for more groups; *why says which.
 */
struct group *group_join(struct groups *groups, const struct readers_ops *ops,
                         const struct wanted *wanted, const char **why);

/* One reader more, and one less. A group that nobody is in is kept for a moment, since clients
 * that poll come back to it: so it is not freed and made anew each time. */
void group_rejoin(struct group *group);
void group_leave(struct groups *groups, struct group *group);

/* Frees the groups that have been without readers for at least ms. Not in a round of news. */
void groups_sweep(struct groups *groups, uint64_t ms);

/* The names of its channels, or of those that have news in this round; returns how many. */
size_t group_channels(const struct group *group, const char *names[WANTED_CHANNELS_MAX]);
size_t group_news_channels(const struct group *group, const char *names[WANTED_CHANNELS_MAX]);

/* Wakes every group that has a channel in which there is news. */
void groups_news(struct groups *groups, const struct log_news *news);

/* Restarts every group, as the log has begun anew. */
void groups_restart(struct groups *groups);

/* Releases every group, as the daemon is about to stop. */
void groups_release(struct groups *groups);

/* Ends the connections of all who wait in groups. */
void groups_end_all(struct groups *groups);

/* How many channels somebody reads, or did a moment ago. */
unsigned groups_channels(const struct groups *groups);

/* Calls each with every channel that somebody reads, and how many do. */
void groups_each_channel(const struct groups *groups,
                         void (*each)(void *context, const char *name, unsigned count),
                         void *context);

#endif

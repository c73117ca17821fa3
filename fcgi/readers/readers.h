/* readers.h - what all readers of messages share.
 *
 * A long poll is held (hold.h), a stream goes on (stream.h). Both wait in groups (group.h). What
 * several readers lack is rendered once for all of them (rendered.h, round.h).
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_READERS_H
#define ENCKE_FCGI_READERS_H

#include <stdbool.h>
#include <stdint.h>

#include "fcgi/conn/admission.h"
#include "fcgi/conn/conn.h"
#include "fcgi/readers/group.h"
#include "fcgi/readers/rendered.h"
#include "fcgi/readers/round.h"
#include "fcgi/readers/transport.h"
#include "store/log.h"

struct readers {
    struct log *log;
    struct conns *conns;
    struct admission *admission;
    uint64_t heartbeat_ms;    /* the longest time for which a stream sends nothing */
    uint64_t stream_ms;       /* the longest life of a stream that ends once it has caught up */
    struct groups groups;     /* all who wait for news */
    struct rendered rendered; /* messages, for all who get them */
    struct round round;       /* answers, for all polls that get the news of this moment */

    struct conn_list behind;        /* streams that catch up, or take nothing */
    unsigned streams[STREAM_KINDS]; /* streams */
    unsigned streams_behind;        /* of these */
    bool streams_failing;     /* the last page for a stream could not be read: the operator knows */
    uint64_t polls_round;     /* a round of the loop (loop.rounds) */
    size_t polls_round_bytes; /* what long polls were given in that round */
};

/* heartbeat_ms and stream_ms are the caller's to set. */
void readers_init(struct readers *readers, struct log *log, struct conns *conns,
                  struct admission *admission);

/* Gives what the log has drained to all who wait for it. */
void readers_news(struct readers *readers, const struct log_news *news);

/* The log has begun anew: all who wait in groups are told. Those who do not, by hold_restart and
 * stream_restart. */
void readers_restart(struct readers *readers);

/* Whether this round of news has given so much that the next readers had better take it from the
 * log, each in its turn. */
bool readers_news_can_wait(const struct readers *readers);

/* Frees what is only kept to save rendering it again. */
void readers_tidy(struct readers *readers);

/* Ends every reader that waits, and frees all. */
void readers_free(struct readers *readers);

#endif

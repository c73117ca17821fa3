/* ledger.h - the books of the log: the last seq given out, how many messages and bytes are
 * retained, and each channel's count and floor.
 *
 * The books are in memory. Their rows are written for many messages together: when the messages
 * that are not in them yet (the stretch) are LEDGER_STRETCH_MESSAGES or LEDGER_STRETCH_BYTES, when
 * something is deleted, and while the log is idle. That is to settle: it also indexes the stretch
 * by channel (schema.h). Every other transaction writes a row only for channels that had none. When
 * the log is opened, the stretch that it was left with is added up.
 *
 * Channels that were used lately stay cached, so that an append to one needs no look-up. Those of
 * the stretch must: only the cache knows what their rows lack.
 *
 *     ledger_begin(&ledger);
 *     ... ledger_channel, ledger_add ...
 *     ledger_settle(&ledger);         // if it is due, or before something is removed
 *     ... ledger_remove ...
 *     ledger_save(&ledger);           // before COMMIT: writes the rows
 *     ledger_committed / ledger_undo  // after COMMIT, or after ROLLBACK
 *
 * The writer's thread only. Functions that return int return SQLite's result codes.
 */
#ifndef ENCKE_STORE_LEDGER_H
#define ENCKE_STORE_LEDGER_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "store/append.h"
#include "store/channels.h"
#include "store/message.h"
#include "store/rows.h"
#include "store/stretch.h"

/* The stretch is settled when it has one of these, by message_size. */
enum { LEDGER_STRETCH_MESSAGES = 1000, LEDGER_STRETCH_BYTES = 1 << 20 };

/* A floor that moved, for the loop's tail (tail.h). */
struct floor {
    STAILQ_ENTRY(floor) next;
    uint64_t seq;
    char channel[CHANNEL_MAX + 1];
};
STAILQ_HEAD(floor_list, floor);

/* Frees the floors and empties the list. */
void ledger_free_floors(struct floor_list *list);

struct ledger {
    struct totals now;           /* as of this transaction */
    struct totals committed;     /* as of the last COMMIT */
    struct totals settled;       /* as the row of `log` has them; its head is log.settled */
    struct channel_list changed; /* changed in this transaction */
    struct channel_list behind;  /* changed in the stretch, by earlier transactions */
    struct stretch stretch;
    struct floor_list floors;        /* moved in this transaction; filled by ledger_save */
    bool settling;                   /* this transaction settles */
    char position[POSITION_MAX + 1]; /* as of the last COMMIT; "": none */
    const char *new_position; /* of this transaction; NULL: the same. Borrowed until its end */
    bool position_alone;      /* no message's row has it */
    struct channels channels; /* the cache */
    uint64_t most_channels;   /* with that many, no new one is made */
    sqlite3_int64 next_id;
    struct rows rows;
    sqlite3_int64 seen_version; /* PRAGMA data_version: changes when another connection wrote */
};

/* Prepares the statements, reads the totals and adds up the stretch. After a failure ledger_free is
 * still to be called. */
int ledger_init(struct ledger *ledger, sqlite3 *db, uint64_t most_channels);
void ledger_free(struct ledger *ledger);

/* Starts from what is committed, in a transaction that has begun. Returns SQLITE_ABORT if another
 * program wrote into the log, so that the books are wrong now. */
int ledger_begin(struct ledger *ledger);

/* Finds the channel of that name, or makes it; it gets a row only when it has a message. It is
 * valid until ledger_committed or ledger_undo. *out is NULL if it would be one channel too many. */
int ledger_channel(struct ledger *ledger, const char *name, struct channel **out);

/* The channel of that name gets no message after all: if it has none, and had none, it is not kept.
 */
void ledger_release(struct ledger *ledger, const char *name);

/* Finds the channel of a message on disk. Returns SQLITE_CORRUPT if there is none. */
int ledger_channel_by_id(struct ledger *ledger, sqlite3_int64 id, struct channel **out);

/* Counts one more message, and gives it a seq, the next one. */
int ledger_add(struct ledger *ledger, struct channel *channel, size_t data_len, uint64_t *seq);

/* The next message gets this seq, which must be above the head: the numbers between are left out.
 */
void ledger_skip(struct ledger *ledger, uint64_t seq);

/* The position that this transaction commits, borrowed until its end; in_row: the row of a message
 * has it. */
void ledger_set_position(struct ledger *ledger, const char *position, bool in_row);

/* Whether this transaction has to settle, even if nothing is deleted, and if it gets so many more
 * messages. */
bool ledger_is_due(const struct ledger *ledger, uint64_t messages);

/* Whether the rows lack anything that is committed. */
bool ledger_is_behind(const struct ledger *ledger);

/* Indexes the stretch, with what this transaction appended to it: from now on, all that the log has
 * is in by_channel, and ledger_save will write all rows. Nothing is appended after it. */
int ledger_settle(struct ledger *ledger);

/* Counts one message less, and raises the channel's floor to seq; ledger_save deletes from the
 * index what is not above it. The transaction settles. Returns SQLITE_CORRUPT if the books have no
 * such message. */
int ledger_remove(struct ledger *ledger, struct channel *channel, uint64_t seq, size_t data_len);

/* Writes the rows of new channels; if the transaction settles, the rows of all that changed in the
 * stretch, too. It also allocates all that the report of the commit needs, so that nothing can fail
 * after COMMIT has returned. */
int ledger_save(struct ledger *ledger);

/* The log was emptied, in the database too: nothing is retained, and floor is the last seq that was
 * given out. Not in a transaction. */
void ledger_restart(struct ledger *ledger, uint64_t floor);

/* Whether this transaction has changed anything. */
bool ledger_has_changed(const struct ledger *ledger);

/* What ledger_save wrote is on disk. ledger->floors stays filled; the caller moves it away. */
void ledger_committed(struct ledger *ledger);

/* What this transaction did was rolled back: the books are as of the last COMMIT again. */
void ledger_undo(struct ledger *ledger);

#endif

#include "store/ledger.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many channels stay cached between transactions that settle, at some 300 bytes each. */
enum { CACHED_CHANNELS = 8192 };

/* ---- the cache ---- */

static void list_change(struct ledger *ledger, struct channel *channel)
{
    if (channel->changed)
        return;
    channel->changed = true;
    TAILQ_INSERT_TAIL(&ledger->changed, channel, changes);
}

/* A channel without a row has the floor of all forgotten ones. Its committed floor is 0, so that
 * the loop's tail is told of it. */
static int cache_new_channel(struct ledger *ledger, const char *name, size_t name_len,
                             struct channel **out)
{
    if (ledger->now.channels >= ledger->most_channels)
        return SQLITE_OK;
    struct channel *channel = channels_add(&ledger->channels, ledger->next_id, name, name_len);
    if (!channel)
        return SQLITE_NOMEM;
    ledger->next_id++;
    ledger->now.channels++;
    channel->floor = ledger->now.forgotten;
    list_change(ledger, channel);
    *out = channel;
    return SQLITE_OK;
}

int ledger_channel(struct ledger *ledger, const char *name, struct channel **out)
{
    size_t name_len = strlen(name);
    *out = channels_find(&ledger->channels, name, name_len);
    if (*out)
        return SQLITE_OK;
    int rc = rows_load_name(&ledger->rows, &ledger->channels, name, name_len, out);
    return rc == SQLITE_DONE ? cache_new_channel(ledger, name, name_len, out) : rc;
}

int ledger_channel_by_id(struct ledger *ledger, sqlite3_int64 id, struct channel **out)
{
    *out = channels_find_id(&ledger->channels, id);
    if (*out)
        return SQLITE_OK;
    int rc = rows_load_id(&ledger->rows, &ledger->channels, id, out);
    return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

/* ---- the start and the end ---- */

static void set_behind(struct ledger *ledger, struct channel *channel)
{
    if (channel->behind)
        return;
    channel->behind = true;
    TAILQ_INSERT_TAIL(&ledger->behind, channel, stretch);
}

/* Adds to the books what one channel has in the stretch. */
static void add_up_channel(void *context, struct channel *channel, uint64_t messages,
                           uint64_t bytes)
{
    struct ledger *ledger = context;
    ledger->committed.channels += channel->count == 0; /* its row is as new */
    channel->count = channel->committed_count += messages;
    set_behind(ledger, channel);
    ledger->committed.messages += messages;
    ledger->committed.bytes += bytes + messages * message_size_of(channel->name_len, 0);
}

int ledger_init(struct ledger *ledger, sqlite3 *db, uint64_t most_channels)
{
    uint64_t head = 0;
    *ledger = (struct ledger){.most_channels = most_channels};
    TAILQ_INIT(&ledger->changed);
    TAILQ_INIT(&ledger->behind);
    STAILQ_INIT(&ledger->floors);
    int rc = rows_init(&ledger->rows, db);
    if (rc == SQLITE_OK)
        rc = rows_read_totals(&ledger->rows, &ledger->settled, &head, &ledger->next_id);
    ledger->committed = ledger->settled;
    ledger->committed.head = head;
    if (rc == SQLITE_OK)
        rc = stretch_init(&ledger->stretch, db);
    if (rc == SQLITE_OK && ledger_is_behind(ledger))
        rc = rows_read_stretch(&ledger->rows, &ledger->channels, add_up_channel, ledger);
    if (rc == SQLITE_OK)
        rc = rows_read_position(&ledger->rows, ledger->position);
    ledger->now = ledger->committed;
    return rc;
}

void ledger_free(struct ledger *ledger)
{
    channels_shrink(&ledger->channels, 0);
    stretch_free(&ledger->stretch);
    ledger_free_floors(&ledger->floors);
    rows_free(&ledger->rows);
}

/* ---- one transaction ---- */

/* SQLite says that another program may have changed the file. If it only checkpointed, the totals
 * are as they were; if it wrote, they are not. */
static int compare_totals(struct ledger *ledger)
{
    struct totals there = {0};
    uint64_t head = 0;
    int rc = rows_read_totals(&ledger->rows, &there, &head, &ledger->next_id);
    if (rc != SQLITE_OK)
        return rc;
    bool same = memcmp(&there, &ledger->settled, sizeof there) == 0;
    return same && head == ledger->committed.head ? SQLITE_OK : SQLITE_ABORT;
}

int ledger_begin(struct ledger *ledger)
{
    sqlite3_int64 version = 0;
    int rc = rows_read_version(&ledger->rows, &version);
    assert(TAILQ_EMPTY(&ledger->changed));
    if (rc != SQLITE_ROW)
        return rc;
    if (version == ledger->seen_version)
        return SQLITE_OK;
    rc = compare_totals(ledger);
    if (rc == SQLITE_OK)
        ledger->seen_version = version;
    return rc;
}

int ledger_add(struct ledger *ledger, struct channel *channel, size_t data_len, uint64_t *seq)
{
    assert(!ledger->settling);
    int rc = stretch_add(&ledger->stretch, channel->id, ledger->now.head + 1);
    if (rc != SQLITE_OK)
        return rc;
    list_change(ledger, channel);
    channel->count++;
    ledger->now.messages++;
    ledger->now.bytes += message_size_of(channel->name_len, data_len);
    *seq = ++ledger->now.head;
    return SQLITE_OK;
}

void ledger_release(struct ledger *ledger, const char *name)
{
    struct channel *channel = channels_find(&ledger->channels, name, strlen(name));
    if (!channel || channel->has_row || channel->count > 0)
        return;
    TAILQ_REMOVE(&ledger->changed, channel, changes);
    channels_drop(&ledger->channels, channel);
    ledger->now.channels--;
}

void ledger_skip(struct ledger *ledger, uint64_t seq)
{
    assert(seq > ledger->now.head);
    ledger->now.head = seq - 1;
}

void ledger_set_position(struct ledger *ledger, const char *position, bool in_row)
{
    ledger->new_position = position;
    ledger->position_alone = !in_row;
}

bool ledger_is_due(const struct ledger *ledger, uint64_t messages)
{
    messages += ledger->now.messages - ledger->settled.messages;
    return ledger->position_alone || messages >= LEDGER_STRETCH_MESSAGES ||
           ledger->now.bytes - ledger->settled.bytes >= LEDGER_STRETCH_BYTES;
}

bool ledger_is_behind(const struct ledger *ledger)
{
    return ledger->committed.head != ledger->settled.head;
}

int ledger_settle(struct ledger *ledger)
{
    ledger->settling = true;
    if (ledger->stretch.count != ledger->now.messages - ledger->settled.messages)
        return SQLITE_CORRUPT;
    return stretch_index(&ledger->stretch);
}

int ledger_remove(struct ledger *ledger, struct channel *channel, uint64_t seq, size_t data_len)
{
    size_t size = message_size_of(channel->name_len, data_len);
    assert(ledger->settling);
    if (channel->count == 0 || ledger->now.messages == 0)
        return SQLITE_CORRUPT;
    list_change(ledger, channel);
    channel->count--;
    if (seq > channel->floor)
        channel->floor = seq;
    ledger->now.messages--;
    /* the bytes are an estimate, perhaps of another version: too few are no error */
    ledger->now.bytes -= size < ledger->now.bytes ? size : ledger->now.bytes;
    if (ledger->now.messages == 0)
        ledger->now.bytes = 0;
    return SQLITE_OK;
}

/* ---- writing the rows ---- */

/* The row of a new channel counts nothing until its messages are settled. */
static int save_channel(struct ledger *ledger, const struct channel *channel)
{
    if (channel->count > 0)
        return rows_save_channel(&ledger->rows, channel, ledger->settling ? channel->count : 0);
    if (channel->floor > ledger->now.forgotten)
        ledger->now.forgotten = channel->floor;
    ledger->now.channels--;
    return rows_erase_channel(&ledger->rows, channel);
}

static int note_floor(struct ledger *ledger, const struct channel *channel)
{
    struct floor *floor = malloc(sizeof *floor);
    if (!floor)
        return SQLITE_NOMEM;
    floor->seq = channel->floor;
    memcpy(floor->channel, channel->name, channel->name_len + 1u);
    STAILQ_INSERT_TAIL(&ledger->floors, floor, next);
    return SQLITE_OK;
}

static int save_changed(struct ledger *ledger, const struct channel *channel)
{
    bool moved = channel->floor != channel->committed_floor;
    int rc = SQLITE_OK;
    if (ledger->settling || !channel->has_row)
        rc = save_channel(ledger, channel);
    if (rc == SQLITE_OK && moved && ledger->settling)
        rc = rows_unindex_channel(&ledger->rows, channel);
    if (rc == SQLITE_OK && moved)
        rc = note_floor(ledger, channel);
    return rc;
}

bool ledger_has_changed(const struct ledger *ledger)
{
    if (ledger->settling)
        return ledger->new_position ||
               memcmp(&ledger->now, &ledger->settled, sizeof ledger->now) != 0;
    return !TAILQ_EMPTY(&ledger->changed);
}

int ledger_save(struct ledger *ledger)
{
    int rc = SQLITE_OK;
    const struct channel *channel;
    TAILQ_FOREACH (channel, &ledger->changed, changes) {
        rc = save_changed(ledger, channel);
        if (rc != SQLITE_OK)
            return rc;
    }
    if (!ledger->settling || !ledger_has_changed(ledger))
        return SQLITE_OK;
    TAILQ_FOREACH (channel, &ledger->behind, stretch) {
        rc = channel->changed ? SQLITE_OK : save_channel(ledger, channel);
        if (rc != SQLITE_OK)
            return rc;
    }
    const char *position = ledger->new_position ? ledger->new_position : ledger->position;
    return rows_save_totals(&ledger->rows, &ledger->now, position);
}

/* ---- its end ---- */

static void note_settled(struct ledger *ledger)
{
    struct channel *channel;
    while ((channel = TAILQ_FIRST(&ledger->behind))) {
        TAILQ_REMOVE(&ledger->behind, channel, stretch);
        channel->behind = false;
    }
    stretch_clear(&ledger->stretch);
    ledger->settled = ledger->now;
}

static void note_saved(struct ledger *ledger, struct channel *channel)
{
    channel->changed = false;
    channel->has_row = true;
    channel->committed_floor = channel->floor;
    channel->committed_count = channel->count;
    if (channel->count == 0)
        channels_drop(&ledger->channels, channel);
    else if (!ledger->settling)
        set_behind(ledger, channel);
}

void ledger_committed(struct ledger *ledger)
{
    struct channel *channel;
    if (ledger->settling)
        note_settled(ledger);
    while ((channel = TAILQ_FIRST(&ledger->changed))) {
        TAILQ_REMOVE(&ledger->changed, channel, changes);
        note_saved(ledger, channel);
    }
    if (ledger->settling)
        channels_shrink(&ledger->channels, CACHED_CHANNELS);
    if (ledger->new_position)
        snprintf(ledger->position, sizeof ledger->position, "%s", ledger->new_position);
    ledger_set_position(ledger, NULL, true);
    ledger->settling = false;
    ledger->committed = ledger->now;
}

void ledger_free_floors(struct floor_list *list)
{
    struct floor *floor;
    while ((floor = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, next);
        free(floor);
    }
}

void ledger_undo(struct ledger *ledger)
{
    struct channel *channel;
    while ((channel = TAILQ_FIRST(&ledger->changed))) {
        TAILQ_REMOVE(&ledger->changed, channel, changes);
        channel->changed = false;
        channel->floor = channel->committed_floor;
        channel->count = channel->committed_count;
        if (!channel->has_row)
            channels_drop(&ledger->channels, channel);
    }
    ledger_free_floors(&ledger->floors);
    stretch_undo(&ledger->stretch, ledger->committed.head);
    ledger_set_position(ledger, NULL, true);
    ledger->settling = false;
    ledger->now = ledger->committed;
}

void ledger_restart(struct ledger *ledger, uint64_t floor)
{
    assert(TAILQ_EMPTY(&ledger->changed));
    TAILQ_INIT(&ledger->behind);
    channels_shrink(&ledger->channels, 0);
    stretch_clear(&ledger->stretch);
    ledger->settled = (struct totals){.head = floor, .forgotten = floor};
    ledger->now = ledger->committed = ledger->settled;
    ledger->position[0] = '\0';
    ledger->next_id = 1;
}

#include "store/ledger.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/schema.h"
#include "store/sql.h"

/* How many channels stay cached between transactions that settle, at some 300 bytes each. */
enum { CACHED_CHANNELS = 8192 };

/* ---- the cache ---- */

/* Caches the channel of a row whose first columns are id, name, floor, count. Returns SQLITE_OK or
 * an error. */
static int cache_row(struct ledger *ledger, sqlite3_stmt *row, struct channel **out)
{
    const char *name = (const char *)sqlite3_column_text(row, 1);
    if (!name)
        return SQLITE_NOMEM;
    if (sqlite3_column_bytes(row, 1) > CHANNEL_MAX)
        return SQLITE_CORRUPT;
    struct channel *channel = channels_add(&ledger->channels, sqlite3_column_int64(row, 0), name,
                                           (size_t)sqlite3_column_bytes(row, 1));
    if (!channel)
        return SQLITE_NOMEM;
    channel->has_row = true;
    channel->floor = channel->committed_floor = (uint64_t)sqlite3_column_int64(row, 2);
    channel->count = channel->committed_count = (uint64_t)sqlite3_column_int64(row, 3);
    *out = channel;
    return SQLITE_OK;
}

/* Caches the row that find, bound, gives. Returns SQLITE_OK, SQLITE_DONE if there is none, or an
 * error. */
static int load_channel(struct ledger *ledger, sqlite3_stmt *find, struct channel **out)
{
    int rc = sqlite3_step(find);
    if (rc == SQLITE_ROW)
        rc = cache_row(ledger, find, out);
    sqlite3_reset(find);
    return rc;
}

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
    int rc = sqlite3_bind_text(ledger->find_name, 1, name, (int)name_len, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = load_channel(ledger, ledger->find_name, out);
    return rc == SQLITE_DONE ? cache_new_channel(ledger, name, name_len, out) : rc;
}

int ledger_channel_by_id(struct ledger *ledger, sqlite3_int64 id, struct channel **out)
{
    *out = channels_find_id(&ledger->channels, id);
    if (*out)
        return SQLITE_OK;
    int rc = sqlite3_bind_int64(ledger->find_id, 1, id);
    if (rc == SQLITE_OK)
        rc = load_channel(ledger, ledger->find_id, out);
    return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

/* ---- the start and the end ---- */

/* Reads the row of `log`, and the head. */
static int read_totals(struct ledger *ledger, struct totals *settled, uint64_t *head)
{
    sqlite3_stmt *row = NULL;
    int rc = sql_prepare(ledger->db, &row,
                         "SELECT settled, forgotten, messages, bytes, channels, keys, " SCHEMA_HEAD
                         ", (SELECT coalesce(max(id), 0) FROM channel) + 1 FROM log");
    if (rc == SQLITE_OK)
        rc = sqlite3_step(row);
    if (rc == SQLITE_ROW) {
        settled->head = (uint64_t)sqlite3_column_int64(row, 0);
        settled->forgotten = (uint64_t)sqlite3_column_int64(row, 1);
        settled->messages = (uint64_t)sqlite3_column_int64(row, 2);
        settled->bytes = (uint64_t)sqlite3_column_int64(row, 3);
        settled->channels = (uint64_t)sqlite3_column_int64(row, 4);
        settled->keys = (uint64_t)sqlite3_column_int64(row, 5);
        *head = (uint64_t)sqlite3_column_int64(row, 6);
        ledger->next_id = sqlite3_column_int64(row, 7);
        rc = SQLITE_OK;
    } else if (rc == SQLITE_DONE) {
        rc = SQLITE_CORRUPT;
    }
    sqlite3_finalize(row);
    return rc;
}

static void set_behind(struct ledger *ledger, struct channel *channel)
{
    if (channel->behind)
        return;
    channel->behind = true;
    TAILQ_INSERT_TAIL(&ledger->behind, channel, stretch);
}

/* Adds to the books what one channel has in the stretch. */
static int add_up_channel(struct ledger *ledger, sqlite3_stmt *row)
{
    struct channel *channel;
    uint64_t count = (uint64_t)sqlite3_column_int64(row, 4);
    uint64_t bytes = (uint64_t)sqlite3_column_int64(row, 5);
    int rc = cache_row(ledger, row, &channel);
    if (rc != SQLITE_OK)
        return rc;
    ledger->committed.channels += channel->count == 0; /* its row is as new */
    channel->count = channel->committed_count += count;
    set_behind(ledger, channel);
    ledger->committed.messages += count;
    ledger->committed.bytes += bytes + count * message_size_of(channel->name_len, 0);
    return SQLITE_OK;
}

/* The position of the newest message that has one; else that of the row. */
static int read_position(struct ledger *ledger)
{
    sqlite3_stmt *row = NULL;
    int rc = sql_prepare(ledger->db, &row,
                         "SELECT coalesce((SELECT position FROM message WHERE seq > settled AND "
                         "position IS NOT NULL ORDER BY seq DESC LIMIT 1), position, '') FROM log");
    if (rc == SQLITE_OK)
        rc = sqlite3_step(row);
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(row, 0);
        int len = sqlite3_column_bytes(row, 0);
        rc = !text ? SQLITE_NOMEM : len > POSITION_MAX ? SQLITE_CORRUPT : SQLITE_OK;
        if (rc == SQLITE_OK)
            memcpy(ledger->position, text, (size_t)len + 1);
    }
    sqlite3_finalize(row);
    return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

/* A crash left messages that the rows do not count. */
static int add_up_stretch(struct ledger *ledger)
{
    sqlite3_stmt *sums = NULL;
    int rc = sql_prepare(ledger->db, &sums,
                         "SELECT c.id, c.name, c.floor, c.count, m.count, m.bytes FROM "
                         "(SELECT channel, count(*) AS count, sum(length(data)) AS bytes "
                         "FROM message WHERE seq > (SELECT settled FROM log) GROUP BY channel) m "
                         "JOIN channel c ON c.id = m.channel");
    if (rc == SQLITE_OK)
        while ((rc = sqlite3_step(sums)) == SQLITE_ROW)
            if ((rc = add_up_channel(ledger, sums)) != SQLITE_OK)
                break;
    sqlite3_finalize(sums);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int prepare_books(struct ledger *ledger)
{
    const struct {
        sqlite3_stmt **statement;
        const char *text;
    } all[] = {
        {&ledger->find_name, "SELECT id, name, floor, count FROM channel WHERE name = ?1"},
        {&ledger->find_id, "SELECT id, name, floor, count FROM channel WHERE id = ?1"},
        {&ledger->save, "INSERT INTO channel(id, name, floor, count) VALUES (?1, ?2, ?3, ?4) "
                        "ON CONFLICT(id) DO UPDATE SET floor = ?3, count = ?4"},
        {&ledger->erase, "DELETE FROM channel WHERE id = ?1"},
        {&ledger->unindex, "DELETE FROM by_channel WHERE channel = ?1 AND last <= ?2"},
        {&ledger->save_log, "UPDATE log SET settled = ?1, forgotten = ?2, messages = ?3, "
                            "bytes = ?4, channels = ?5, keys = ?6, position = ?7"},
        {&ledger->version, "PRAGMA data_version"},
    };
    int rc = SQLITE_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && rc == SQLITE_OK; i++)
        rc = sql_prepare(ledger->db, all[i].statement, all[i].text);
    return rc;
}

int ledger_init(struct ledger *ledger, sqlite3 *db, uint64_t most_channels)
{
    uint64_t head = 0;
    *ledger = (struct ledger){.db = db, .most_channels = most_channels};
    TAILQ_INIT(&ledger->changed);
    TAILQ_INIT(&ledger->behind);
    STAILQ_INIT(&ledger->floors);
    int rc = prepare_books(ledger);
    if (rc == SQLITE_OK)
        rc = read_totals(ledger, &ledger->settled, &head);
    ledger->committed = ledger->settled;
    ledger->committed.head = head;
    if (rc == SQLITE_OK)
        rc = stretch_init(&ledger->stretch, db);
    if (rc == SQLITE_OK && ledger_is_behind(ledger))
        rc = add_up_stretch(ledger);
    if (rc == SQLITE_OK)
        rc = read_position(ledger);
    ledger->now = ledger->committed;
    return rc;
}

void ledger_free(struct ledger *ledger)
{
    sqlite3_stmt *const all[] = {ledger->find_name, ledger->find_id,  ledger->save,   ledger->erase,
                                 ledger->unindex,   ledger->save_log, ledger->version};
    channels_shrink(&ledger->channels, 0);
    stretch_free(&ledger->stretch);
    ledger_free_floors(&ledger->floors);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sqlite3_finalize(all[i]);
}

/* ---- one transaction ---- */

/* SQLite says that another program may have changed the file. If it only checkpointed, the totals
 * are as they were; if it wrote, they are not. */
static int compare_totals(struct ledger *ledger)
{
    struct totals there = {0};
    uint64_t head = 0;
    int rc = read_totals(ledger, &there, &head);
    if (rc != SQLITE_OK)
        return rc;
    bool same = memcmp(&there, &ledger->settled, sizeof there) == 0;
    return same && head == ledger->committed.head ? SQLITE_OK : SQLITE_ABORT;
}

int ledger_begin(struct ledger *ledger)
{
    sqlite3_int64 version = 0;
    int rc = sql_number(ledger->version, &version);
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

bool ledger_is_due(const struct ledger *ledger)
{
    return ledger->position_alone ||
           ledger->now.messages - ledger->settled.messages >= LEDGER_STRETCH_MESSAGES ||
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

static int erase_channel(struct ledger *ledger, const struct channel *channel)
{
    if (channel->floor > ledger->now.forgotten)
        ledger->now.forgotten = channel->floor;
    ledger->now.channels--;
    int rc = sqlite3_bind_int64(ledger->erase, 1, channel->id);
    return rc == SQLITE_OK ? sql_run(ledger->erase) : rc;
}

/* The row of a new channel counts nothing until its messages are settled. */
static int save_channel(struct ledger *ledger, const struct channel *channel)
{
    sqlite3_stmt *save = ledger->save;
    uint64_t count = ledger->settling ? channel->count : 0;
    if (channel->count == 0)
        return erase_channel(ledger, channel);
    int rc = sqlite3_bind_int64(save, 1, channel->id);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(save, 2, channel->name, channel->name_len, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(save, 3, (sqlite3_int64)channel->floor);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(save, 4, (sqlite3_int64)count);
    return rc == SQLITE_OK ? sql_run(save) : rc;
}

/* Deletes from the index what was deleted from the channel. */
static int unindex_channel(struct ledger *ledger, const struct channel *channel)
{
    int rc = sqlite3_bind_int64(ledger->unindex, 1, channel->id);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(ledger->unindex, 2, (sqlite3_int64)channel->floor);
    return rc == SQLITE_OK ? sql_run(ledger->unindex) : rc;
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
        rc = unindex_channel(ledger, channel);
    if (rc == SQLITE_OK && moved)
        rc = note_floor(ledger, channel);
    return rc;
}

static const char *position_now(const struct ledger *ledger)
{
    return ledger->new_position ? ledger->new_position : ledger->position;
}

static int save_totals(struct ledger *ledger)
{
    const uint64_t values[] = {ledger->now.head,  ledger->now.forgotten, ledger->now.messages,
                               ledger->now.bytes, ledger->now.channels,  ledger->now.keys};
    int rc = sqlite3_bind_text(ledger->save_log, 7, position_now(ledger), -1, SQLITE_STATIC);
    for (int i = 0; i < 6 && rc == SQLITE_OK; i++)
        rc = sqlite3_bind_int64(ledger->save_log, i + 1, (sqlite3_int64)values[i]);
    return rc == SQLITE_OK ? sql_run(ledger->save_log) : rc;
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
    return save_totals(ledger);
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

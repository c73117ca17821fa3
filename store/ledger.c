#include "store/ledger.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "store/sql.h"

/* How many channels stay cached between transactions, at some 300 bytes each. */
enum { CACHED_CHANNELS = 8192 };

static int read_totals(struct ledger *ledger, struct totals *totals)
{
    sqlite3_stmt *row = NULL;
    int rc = sql_prepare(ledger->db, &row,
                         "SELECT head, forgotten, messages, bytes, "
                         "(SELECT coalesce(max(id), 0) FROM channel) + 1 FROM log");
    if (rc == SQLITE_OK)
        rc = sqlite3_step(row);
    if (rc == SQLITE_ROW) {
        totals->head = (uint64_t)sqlite3_column_int64(row, 0);
        totals->forgotten = (uint64_t)sqlite3_column_int64(row, 1);
        totals->messages = (uint64_t)sqlite3_column_int64(row, 2);
        totals->bytes = (uint64_t)sqlite3_column_int64(row, 3);
        ledger->next_id = sqlite3_column_int64(row, 4);
        rc = SQLITE_OK;
    } else if (rc == SQLITE_DONE) {
        rc = SQLITE_CORRUPT;
    }
    sqlite3_finalize(row);
    return rc;
}

int ledger_init(struct ledger *ledger, sqlite3 *db)
{
    *ledger = (struct ledger){.db = db};
    STAILQ_INIT(&ledger->changed);
    STAILQ_INIT(&ledger->floors);
    int rc = sql_prepare(db, &ledger->find_name,
                         "SELECT id, name, floor, count FROM channel WHERE name = ?1");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &ledger->find_id,
                         "SELECT id, name, floor, count FROM channel WHERE id = ?1");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &ledger->save,
                         "INSERT INTO channel(id, name, floor, count) VALUES (?1, ?2, ?3, ?4) "
                         "ON CONFLICT(id) DO UPDATE SET floor = ?3, count = ?4");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &ledger->erase, "DELETE FROM channel WHERE id = ?1");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &ledger->save_log,
                         "UPDATE log SET head = ?1, forgotten = ?2, messages = ?3, bytes = ?4");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &ledger->version, "PRAGMA data_version");
    if (rc == SQLITE_OK)
        rc = read_totals(ledger, &ledger->committed);
    ledger->now = ledger->committed;
    return rc;
}

/* ---- the cache ---- */

static void uncache_channel(struct ledger *ledger, struct channel *channel)
{
    HASH_DELETE(hh, ledger->by_name, channel);
    HASH_DELETE(hh_id, ledger->by_id, channel);
    free(channel);
}

/* Drops those that were loaded first until at most keep are left. If one of them is busy, it is
 * soon loaded again. */
static void shrink_cache(struct ledger *ledger, unsigned keep)
{
    while (HASH_CNT(hh, ledger->by_name) > keep)
        uncache_channel(ledger, ledger->by_name);
}

static struct channel *cache_channel(struct ledger *ledger, sqlite3_int64 id, const char *name,
                                     size_t name_len)
{
    struct channel *channel = calloc(1, sizeof *channel + name_len + 1);
    if (!channel)
        return NULL;
    channel->id = id;
    channel->name_len = (uint8_t)name_len;
    memcpy(channel->name, name, name_len);
    HASH_ADD(hh, ledger->by_name, name, name_len, channel);
    if (!channel->hh.tbl) {
        free(channel);
        return NULL;
    }
    HASH_ADD(hh_id, ledger->by_id, id, sizeof channel->id, channel);
    if (!channel->hh_id.tbl) {
        HASH_DELETE(hh, ledger->by_name, channel);
        free(channel);
        return NULL;
    }
    return channel;
}

/* Caches the row that find, bound, gives. Returns SQLITE_OK, SQLITE_DONE if there is none, or an
 * error. */
static int load_channel(struct ledger *ledger, sqlite3_stmt *find, struct channel **out)
{
    int rc = sqlite3_step(find);
    const char *name;
    if (rc == SQLITE_ROW) {
        name = (const char *)sqlite3_column_text(find, 1);
        if (!name)
            rc = SQLITE_NOMEM;
        else if (sqlite3_column_bytes(find, 1) > CHANNEL_MAX)
            rc = SQLITE_CORRUPT;
        else if (!(*out = cache_channel(ledger, sqlite3_column_int64(find, 0), name,
                                        (size_t)sqlite3_column_bytes(find, 1))))
            rc = SQLITE_NOMEM;
    }
    if (rc == SQLITE_ROW) {
        (*out)->floor = (*out)->saved_floor = (uint64_t)sqlite3_column_int64(find, 2);
        (*out)->count = (uint64_t)sqlite3_column_int64(find, 3);
        rc = SQLITE_OK;
    }
    sqlite3_reset(find);
    return rc;
}

/* A channel without a row has the floor of all forgotten ones. Its saved floor is 0, so that the
 * loop's tail is told of it. */
static int cache_new_channel(struct ledger *ledger, const char *name, size_t name_len,
                             struct channel **out)
{
    struct channel *channel = cache_channel(ledger, ledger->next_id, name, name_len);
    if (!channel)
        return SQLITE_NOMEM;
    ledger->next_id++;
    channel->floor = ledger->now.forgotten;
    *out = channel;
    return SQLITE_OK;
}

int ledger_channel(struct ledger *ledger, const char *name, struct channel **out)
{
    size_t name_len = strlen(name);
    HASH_FIND(hh, ledger->by_name, name, name_len, *out);
    if (*out)
        return SQLITE_OK;
    int rc = sqlite3_bind_text(ledger->find_name, 1, name, (int)name_len, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = load_channel(ledger, ledger->find_name, out);
    return rc == SQLITE_DONE ? cache_new_channel(ledger, name, name_len, out) : rc;
}

int ledger_channel_by_id(struct ledger *ledger, sqlite3_int64 id, struct channel **out)
{
    HASH_FIND(hh_id, ledger->by_id, &id, sizeof id, *out);
    if (*out)
        return SQLITE_OK;
    int rc = sqlite3_bind_int64(ledger->find_id, 1, id);
    if (rc == SQLITE_OK)
        rc = load_channel(ledger, ledger->find_id, out);
    return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

/* ---- one transaction ---- */

/* SQLite says that another program may have changed the file. If it only checkpointed, the totals
 * are as they were; if it wrote, they are not. */
static int compare_totals(struct ledger *ledger)
{
    struct totals there = {0};
    int rc = read_totals(ledger, &there);
    if (rc == SQLITE_OK && memcmp(&there, &ledger->committed, sizeof there) != 0)
        rc = SQLITE_ABORT;
    ledger_undo(ledger);
    return rc;
}

int ledger_begin(struct ledger *ledger)
{
    sqlite3_int64 version = 0;
    int rc = sql_number(ledger->version, &version);
    assert(STAILQ_EMPTY(&ledger->changed));
    ledger->now = ledger->committed;
    if (rc != SQLITE_ROW)
        return rc;
    if (version == ledger->seen_version)
        return SQLITE_OK;
    rc = compare_totals(ledger);
    if (rc == SQLITE_OK)
        ledger->seen_version = version;
    return rc;
}

static void list_change(struct ledger *ledger, struct channel *channel)
{
    if (channel->changed)
        return;
    channel->changed = true;
    STAILQ_INSERT_TAIL(&ledger->changed, channel, changes);
}

uint64_t ledger_add(struct ledger *ledger, struct channel *channel, size_t data_len)
{
    list_change(ledger, channel);
    channel->count++;
    ledger->now.messages++;
    ledger->now.bytes += message_size_of(channel->name_len, data_len);
    return ++ledger->now.head;
}

int ledger_remove(struct ledger *ledger, struct channel *channel, uint64_t seq, size_t data_len)
{
    size_t size = message_size_of(channel->name_len, data_len);
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

static int save_channel(struct ledger *ledger, struct channel *channel)
{
    sqlite3_stmt *save = channel->count ? ledger->save : ledger->erase;
    int rc = sqlite3_bind_int64(save, 1, channel->id);
    if (channel->count == 0) {
        if (channel->floor > ledger->now.forgotten)
            ledger->now.forgotten = channel->floor;
        return rc == SQLITE_OK ? sql_run(save) : rc;
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(save, 2, channel->name, channel->name_len, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(save, 3, (sqlite3_int64)channel->floor);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(save, 4, (sqlite3_int64)channel->count);
    return rc == SQLITE_OK ? sql_run(save) : rc;
}

static int note_floor(struct ledger *ledger, const struct channel *channel)
{
    if (channel->floor == channel->saved_floor)
        return SQLITE_OK;
    struct floor *floor = malloc(sizeof *floor);
    if (!floor)
        return SQLITE_NOMEM;
    floor->seq = channel->floor;
    memcpy(floor->channel, channel->name, channel->name_len + 1u);
    STAILQ_INSERT_TAIL(&ledger->floors, floor, next);
    return SQLITE_OK;
}

static int save_totals(struct ledger *ledger)
{
    const uint64_t values[] = {ledger->now.head, ledger->now.forgotten, ledger->now.messages,
                               ledger->now.bytes};
    int rc = SQLITE_OK;
    for (int i = 0; i < 4 && rc == SQLITE_OK; i++)
        rc = sqlite3_bind_int64(ledger->save_log, i + 1, (sqlite3_int64)values[i]);
    return rc == SQLITE_OK ? sql_run(ledger->save_log) : rc;
}

int ledger_save(struct ledger *ledger)
{
    int rc = SQLITE_OK;
    struct channel *channel;
    STAILQ_FOREACH (channel, &ledger->changed, changes) {
        rc = save_channel(ledger, channel);
        if (rc == SQLITE_OK)
            rc = note_floor(ledger, channel);
        if (rc != SQLITE_OK)
            return rc;
    }
    return save_totals(ledger);
}

void ledger_committed(struct ledger *ledger)
{
    struct channel *channel;
    while ((channel = STAILQ_FIRST(&ledger->changed))) {
        STAILQ_REMOVE_HEAD(&ledger->changed, changes);
        channel->changed = false;
        channel->saved_floor = channel->floor;
        if (channel->count == 0)
            uncache_channel(ledger, channel);
    }
    ledger->committed = ledger->now;
    shrink_cache(ledger, CACHED_CHANNELS);
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
    STAILQ_INIT(&ledger->changed);
    shrink_cache(ledger, 0);
    ledger_free_floors(&ledger->floors);
    ledger->now = ledger->committed;
}

void ledger_free(struct ledger *ledger)
{
    ledger_undo(ledger);
    sqlite3_finalize(ledger->find_name);
    sqlite3_finalize(ledger->find_id);
    sqlite3_finalize(ledger->save);
    sqlite3_finalize(ledger->erase);
    sqlite3_finalize(ledger->save_log);
    sqlite3_finalize(ledger->version);
}

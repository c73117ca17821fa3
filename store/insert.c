#include "store/insert.h"

#include "store/sql.h"

int insert_init(struct insert *insert, sqlite3 *db, struct ledger *ledger, struct once *once)
{
    *insert = (struct insert){.ledger = ledger, .once = once};
    return sql_prepare(db, &insert->row,
                       "INSERT INTO message(seq, channel, time_ms, data, once, position) "
                       "VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
}

void insert_free(struct insert *insert)
{
    sqlite3_finalize(insert->row);
}

/* ---- looking ---- */

static enum log_status status_of_verdict(enum once_verdict verdict)
{
    return verdict == ONCE_CONFLICT ? LOG_CONFLICT : verdict == ONCE_CROWDED ? LOG_KEYS : LOG_OK;
}

/* Decides whether the entry is new, a duplicate, or refused. A key that is new is reserved. */
static int look_at_key(struct insert *insert, struct append_entry *entry, const struct moment *now,
                       enum log_status *status)
{
    enum once_verdict verdict = ONCE_NEW;
    entry->duplicate = false;
    entry->seq = 0;
    if (entry->message->key_len == 0)
        return SQLITE_OK;
    int rc = once_ask(insert->once, entry->message, now, &verdict, &entry->seq);
    entry->duplicate = verdict == ONCE_DUPLICATE;
    *status = status_of_verdict(verdict);
    return rc;
}

static int look_at_entry(struct insert *insert, struct append_entry *entry,
                         const struct moment *now, enum log_status *status)
{
    struct channel *channel = NULL;
    int rc = look_at_key(insert, entry, now, status);
    if (rc != SQLITE_OK || *status != LOG_OK || entry->duplicate)
        return rc;
    rc = ledger_channel(insert->ledger, message_channel(entry->message), &channel);
    if (rc == SQLITE_OK && !channel)
        *status = LOG_CHANNELS;
    return rc;
}

/* Nothing of the append is stored: the channels that were made for its first entries go. */
static void release_channels(struct insert *insert, const struct append *append)
{
    for (uint32_t i = 0; i < append->refused; i++)
        if (!append->entries[i].duplicate)
            ledger_release(insert->ledger, message_channel(append->entries[i].message));
}

static int look_at_all(struct insert *insert, struct append *append, const struct moment *now)
{
    uint32_t reserved = insert->once->reserved;
    int rc = SQLITE_OK;
    append->status = LOG_OK;
    if (append->seq && (append->seq <= insert->ledger->now.head ||
                        append->seq > (uint64_t)INT64_MAX - append->count))
        append->status = LOG_ORDER;
    for (uint32_t i = 0; i < append->count && rc == SQLITE_OK && append->status == LOG_OK; i++) {
        append->refused = i;
        rc = look_at_entry(insert, &append->entries[i], now, &append->status);
    }
    if (rc == SQLITE_OK && append->status != LOG_OK) {
        once_release(insert->once, reserved);
        release_channels(insert, append);
    }
    return rc;
}

/* ---- writing ---- */

static int bind_extras(sqlite3_stmt *row, const uint8_t *hash, const char *position)
{
    int rc = hash ? sqlite3_bind_blob(row, 5, hash, KEYS_HASH, SQLITE_STATIC)
                  : sqlite3_bind_null(row, 5);
    if (rc != SQLITE_OK)
        return rc;
    return position ? sqlite3_bind_text(row, 6, position, -1, SQLITE_STATIC)
                    : sqlite3_bind_null(row, 6);
}

static int insert_row(struct insert *insert, struct append_entry *entry, const char *position)
{
    const struct message *message = entry->message;
    bool keyed = message->key_len > 0;
    struct channel *channel = NULL;
    int rc = ledger_channel(insert->ledger, message_channel(message), &channel);
    if (rc != SQLITE_OK || !channel)
        return rc == SQLITE_OK ? SQLITE_INTERNAL : rc; /* look_at_entry has found it */
    rc = ledger_add(insert->ledger, channel, message->data_len, &entry->seq);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(insert->row, 1, (sqlite3_int64)entry->seq);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(insert->row, 2, channel->id);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(insert->row, 3, message->time_ms);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob64(insert->row, 4, message_data(message), message->data_len,
                                 SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = bind_extras(insert->row, keyed && !insert->settles ? once_hash(insert->once) : NULL,
                         position);
    if (rc == SQLITE_OK)
        rc = sql_run(insert->row);
    if (rc == SQLITE_OK && keyed)
        once_stored(insert->once, entry->seq);
    return rc;
}

/* The entries whose key an earlier entry of the same append has reserved get its seq. */
static int number_duplicates(struct insert *insert, struct append *append, const struct moment *now)
{
    enum once_verdict verdict;
    int rc = SQLITE_OK;
    for (uint32_t i = 0; i < append->count && rc == SQLITE_OK; i++) {
        struct append_entry *entry = &append->entries[i];
        if (entry->duplicate && entry->seq == 0)
            rc = once_ask(insert->once, entry->message, now, &verdict, &entry->seq);
    }
    return rc;
}

/* The index of the last entry that is stored; -1: none is. */
static int64_t last_stored(const struct append *append)
{
    int64_t last = (int64_t)append->count - 1;
    while (last >= 0 && append->entries[last].duplicate)
        last--;
    return last;
}

/* The position goes into the row of the last message: so it is read back before that of any other.
 */
static int insert_rows(struct insert *insert, struct append *append)
{
    int64_t last = last_stored(append);
    int rc = SQLITE_OK;
    if (append->seq && last >= 0)
        ledger_skip(insert->ledger, append->seq);
    for (int64_t i = 0; i <= last && rc == SQLITE_OK; i++)
        if (!append->entries[i].duplicate)
            rc = insert_row(insert, &append->entries[i], i == last ? append->position : NULL);
    if (append->position)
        ledger_set_position(insert->ledger, append->position, last >= 0);
    return rc;
}

int insert_append(struct insert *insert, struct append *append, const struct moment *now)
{
    int rc = look_at_all(insert, append, now);
    if (rc != SQLITE_OK || append->status != LOG_OK)
        return rc;
    rc = insert_rows(insert, append);
    return rc == SQLITE_OK ? number_duplicates(insert, append, now) : rc;
}

#include "store/once.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "store/schema.h"
#include "store/sql.h"

/* How many keys a row has at most. */
enum { ROW_KEYS = 1024 };

/* What is too old goes little by little: so many keys with each one that is new, and with each
 * stretch so many more keys and rows of the table, beside twice as many as it adds. */
enum { EXPIRE_A_KEY = 2, EXPIRE_KEYS = 1000, EXPIRE_ROWS = 4 };

/* While the log is idle, what is too old waits until it is a sixteenth older, but not more than a
 * minute, so that it goes together: so many rows at once, and as many keys as they may have. */
enum { IDLE_PART = 16, IDLE_MAX_MS = 60000, IDLE_ROWS = 32, IDLE_KEYS = IDLE_ROWS * ROW_KEYS };

/* The NUL behind the channel's name keeps it and the key apart. */
static void hash_key(const struct once *once, const struct message *message,
                     uint8_t hash[KEYS_HASH])
{
    uint8_t bytes[CHANNEL_MAX + 1 + KEY_MAX];
    size_t len = message->channel_len + 1u;
    memcpy(bytes, message_channel(message), len);
    memcpy(bytes + len, message_key(message), message->key_len);
    static_assert(KEYS_HASH == crypto_shorthash_siphashx24_BYTES, "the hash of a key");
    crypto_shorthash_siphashx24(hash, bytes, len + message->key_len, once->secret);
}

static void hash_text(const struct once *once, const void *text, size_t len,
                      uint8_t hash[KEYS_TEXT])
{
    static_assert(KEYS_TEXT == crypto_shorthash_BYTES, "the hash of a text");
    crypto_shorthash(hash, text, len, once->secret);
}

/* ---- a key in a row ---- */

static void put_number(uint8_t bytes[4], uint64_t number)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(number >> (24 - 8 * i));
}

static uint32_t get_number(const uint8_t bytes[4])
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void put_key(uint8_t bytes[SCHEMA_KEY], const struct key *key, const struct key *last)
{
    memcpy(bytes, key->hash, KEYS_HASH);
    memcpy(bytes + 16, key->text, KEYS_TEXT);
    put_number(bytes + 24, last->seq - key->seq);
    put_number(bytes + 28, (uint64_t)last->time_ms - (uint64_t)key->time_ms);
}

static struct key get_key(const uint8_t bytes[SCHEMA_KEY], uint64_t last, int64_t time_ms)
{
    int32_t before_ms = (int32_t)get_number(bytes + 28); /* the clock may have been set back */
    struct key key = {.seq = last - get_number(bytes + 24),
                      .time_ms = (int64_t)((uint64_t)time_ms - (uint64_t)before_ms)};
    memcpy(key.hash, bytes, KEYS_HASH);
    memcpy(key.text, bytes + 16, KEYS_TEXT);
    return key;
}

/* Whether both may be in a row, so that each is near enough to the last one. */
static bool fit_together(const struct key *first, const struct key *key)
{
    return key->seq - first->seq <= UINT32_MAX &&
           (uint64_t)key->time_ms - (uint64_t)first->time_ms + (1u << 30) < 1u << 31;
}

/* ---- what is too old ---- */

static bool is_expired(const struct once *once, const struct key *key, const struct moment *now)
{
    return now->wall_ms - stamps_time(once->stamps, key->seq, key->time_ms, now) >=
           once->limits.keep_ms;
}

/* A key that is not in the table yet is never too old: it is settled soon. */
static bool is_forgotten(const struct once *once, const struct key *key, const struct moment *now)
{
    return key->seq != 0 && key->seq <= once->last_saved && is_expired(once, key, now);
}

/* Keys that are not in the table yet are settled first. If only these are in memory, all that the
 * table has is too old. */
int64_t once_due_ms(const struct once *once, const struct moment *now)
{
    int64_t keep_ms = once->limits.keep_ms;
    int64_t slack_ms = keep_ms / IDLE_PART < IDLE_MAX_MS ? keep_ms / IDLE_PART : IDLE_MAX_MS;
    if (once->keys.count == once->unsaved)
        return once->settled > 0 ? now->steady_ms : INT64_MAX;
    if (keep_ms > INT64_MAX / 4)
        return INT64_MAX;
    const struct key *oldest = keys_at(&once->keys, 0);
    int64_t age_ms = now->wall_ms - stamps_time(once->stamps, oldest->seq, oldest->time_ms, now);
    return now->steady_ms - age_ms + keep_ms + slack_ms;
}

/* Drops the oldest keys, at most that many, that are too old. */
static void expire_keys(struct once *once, uint64_t most, const struct moment *now)
{
    while (most-- > 0 && once->keys.count > once->unsaved &&
           is_forgotten(once, keys_at(&once->keys, 0), now))
        keys_drop_oldest(&once->keys);
}

/* ---- the start and the end ---- */

static int read_secret(struct once *once, sqlite3 *db)
{
    sqlite3_stmt *row = NULL;
    int rc = sql_prepare(db, &row, "SELECT secret FROM log");
    if (rc == SQLITE_OK)
        rc = sqlite3_step(row);
    if (rc == SQLITE_ROW) {
        const void *secret = sqlite3_column_blob(row, 0);
        rc = sqlite3_column_bytes(row, 0) == sizeof once->secret ? SQLITE_OK : SQLITE_CORRUPT;
        if (rc == SQLITE_OK)
            memcpy(once->secret, secret, sizeof once->secret);
    }
    sqlite3_finalize(row);
    return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

/* Adds a key that is on the disk; but none that is too old, unless an older one is kept. */
static int load_key(struct once *once, const struct key *there, const struct moment *now)
{
    if (once->keys.count == 0 && is_expired(once, there, now))
        return SQLITE_OK;
    uint32_t place = keys_place(&once->keys, there->hash);
    struct key *key = keys_add(&once->keys, there->hash, place);
    if (!key)
        return SQLITE_NOMEM;
    *key = *there;
    return SQLITE_OK;
}

struct loading {
    struct once *once;
    struct moment now;
    uint64_t loaded; /* keys */
};

/* Columns last, time_ms, keys. */
static int load_row_of_keys(void *context, sqlite3_stmt *row)
{
    struct loading *loading = context;
    struct once *once = loading->once;
    uint64_t last = (uint64_t)sqlite3_column_int64(row, 0);
    int64_t time_ms = sqlite3_column_int64(row, 1);
    const uint8_t *bytes = sqlite3_column_blob(row, 2);
    size_t len = (size_t)sqlite3_column_bytes(row, 2);
    if (!bytes || len % SCHEMA_KEY != 0)
        return SQLITE_CORRUPT;
    for (size_t at = 0; at < len; at += SCHEMA_KEY) {
        struct key key = get_key(bytes + at, last, time_ms);
        if (key.seq <= once->last_saved || key.seq > last)
            return SQLITE_CORRUPT; /* not in order */
        int rc = load_key(once, &key, &loading->now);
        if (rc != SQLITE_OK)
            return rc;
        once->last_saved = key.seq;
        loading->loaded++;
    }
    return once->last_saved == last ? SQLITE_OK : SQLITE_CORRUPT;
}

static int load_table(struct once *once, sqlite3 *db)
{
    struct loading loading = {.once = once, .now = clock_moment()};
    int rc = sql_each(db, "SELECT last, time_ms, keys FROM once ORDER BY last", load_row_of_keys,
                      &loading);
    return rc == SQLITE_OK && loading.loaded != once->settled ? SQLITE_CORRUPT : rc;
}

/* Columns seq, time_ms, once, data. */
static int load_message(void *context, sqlite3_stmt *row)
{
    struct once *once = context;
    const uint8_t *hash = sqlite3_column_blob(row, 2);
    if (!hash || sqlite3_column_bytes(row, 2) != KEYS_HASH)
        return SQLITE_CORRUPT;
    struct key *key = keys_add(&once->keys, hash, keys_place(&once->keys, hash));
    if (!key)
        return SQLITE_NOMEM;
    key->seq = (uint64_t)sqlite3_column_int64(row, 0);
    key->time_ms = sqlite3_column_int64(row, 1);
    const void *text = sqlite3_column_blob(row, 3);
    hash_text(once, text, (size_t)sqlite3_column_bytes(row, 3), key->text);
    once->unsaved++;
    return SQLITE_OK;
}

static int load_stretch(struct once *once, sqlite3 *db)
{
    return sql_each(db,
                    "SELECT seq, time_ms, once, data FROM message "
                    "WHERE seq > (SELECT settled FROM log) AND once IS NOT NULL ORDER BY seq",
                    load_message, once);
}

static int prepare_table(struct once *once, sqlite3 *db)
{
    once->row = malloc((size_t)ROW_KEYS * SCHEMA_KEY);
    int rc = once->row ? SQLITE_OK : SQLITE_NOMEM;
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &once->save,
                         "INSERT INTO once(last, time_ms, keys) VALUES (?1, ?2, ?3)");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &once->oldest,
                         "SELECT last, length(keys) FROM once WHERE last < ?1 "
                         "ORDER BY last LIMIT ?2");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &once->expire, "DELETE FROM once WHERE last <= ?1");
    return rc;
}

int once_init(struct once *once, sqlite3 *db, const struct once_limits *limits,
              const struct stamps *stamps, uint64_t settled)
{
    *once = (struct once){
        .limits = *limits, .stamps = stamps, .settled = settled, .settled_before = settled};
    int rc = prepare_table(once, db);
    if (rc == SQLITE_OK)
        rc = read_secret(once, db);
    if (rc == SQLITE_OK)
        rc = load_table(once, db);
    return rc == SQLITE_OK ? load_stretch(once, db) : rc;
}

void once_free(struct once *once)
{
    keys_free(&once->keys);
    free(once->row);
    sqlite3_finalize(once->save);
    sqlite3_finalize(once->oldest);
    sqlite3_finalize(once->expire);
}

/* ---- asking ---- */

/* Reserves a key that is new. */
static int reserve_key(struct once *once, const struct key *new, uint32_t place)
{
    struct key *key = keys_add(&once->keys, new->hash, place);
    if (!key)
        return SQLITE_NOMEM;
    *key = *new;
    once->unsaved++;
    once->reserved++;
    once->unnumbered++;
    return SQLITE_OK;
}

int once_ask(struct once *once, const struct message *message, const struct moment *now,
             enum once_verdict *verdict, uint64_t *seq)
{
    struct key asked = {.time_ms = message->time_ms};
    hash_key(once, message, asked.hash);
    uint32_t place = keys_place(&once->keys, asked.hash);
    hash_text(once, message_data(message), message->data_len, asked.text);
    const struct key *key = keys_find(&once->keys, asked.hash, place);
    if (key && !is_forgotten(once, key, now)) {
        *seq = key->seq;
        *verdict = memcmp(key->text, asked.text, KEYS_TEXT) == 0 ? ONCE_DUPLICATE : ONCE_CONFLICT;
        return SQLITE_OK;
    }
    expire_keys(once, EXPIRE_A_KEY, now);
    bool full = once->keys.count >= once->limits.most;
    once->crowded |= full && once->unsaved > 0;
    *verdict = full ? ONCE_CROWDED : ONCE_NEW;
    return full ? SQLITE_OK : reserve_key(once, &asked, place);
}

/* Messages are stored in the order in which their keys were reserved. */
static struct key *first_unnumbered(const struct once *once)
{
    assert(once->unnumbered > 0);
    return keys_at(&once->keys, once->keys.count - once->unnumbered);
}

const uint8_t *once_hash(const struct once *once)
{
    return first_unnumbered(once)->hash;
}

void once_stored(struct once *once, uint64_t seq)
{
    first_unnumbered(once)->seq = seq;
    once->unnumbered--;
}

void once_release(struct once *once, uint32_t kept)
{
    while (once->reserved > kept) {
        keys_drop_newest(&once->keys);
        once->unsaved--;
        once->reserved--;
    }
    once->unnumbered = 0;
}

/* ---- the table ---- */

/* How many keys, from the nth on, go into one row. */
static uint32_t keys_of_row(const struct once *once, uint32_t nth)
{
    const struct key *first = keys_at(&once->keys, nth);
    uint32_t count = 1;
    while (count < ROW_KEYS && nth + count < once->keys.count &&
           fit_together(first, keys_at(&once->keys, nth + count)))
        count++;
    return count;
}

static int save_row(struct once *once, uint32_t nth, uint32_t count)
{
    const struct key *last = keys_at(&once->keys, nth + count - 1);
    for (uint32_t i = 0; i < count; i++)
        put_key(once->row + (size_t)i * SCHEMA_KEY, keys_at(&once->keys, nth + i), last);
    int rc = sqlite3_bind_int64(once->save, 1, (sqlite3_int64)last->seq);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(once->save, 2, last->time_ms);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob(once->save, 3, once->row, (int)count * SCHEMA_KEY, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sql_run(once->save);
    once->settled += count;
    return rc;
}

static int save_keys(struct once *once, uint32_t *rows)
{
    uint32_t nth = once->keys.count - once->unsaved;
    int rc = SQLITE_OK;
    for (*rows = 0; nth < once->keys.count && rc == SQLITE_OK; ++*rows) {
        uint32_t count = keys_of_row(once, nth);
        rc = save_row(once, nth, count);
        nth += count;
    }
    return rc;
}

/* Finds the rows, at most that many, whose keys are all forgotten: the last of them, and the bytes
 * of their keys. */
static int find_forgotten(struct once *once, uint32_t most, sqlite3_int64 *last, uint64_t *bytes)
{
    sqlite3_int64 oldest =
        once->keys.count ? (sqlite3_int64)keys_at(&once->keys, 0)->seq : INT64_MAX;
    int rc = sqlite3_bind_int64(once->oldest, 1, oldest);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(once->oldest, 2, most);
    if (rc != SQLITE_OK)
        return rc;
    while ((rc = sqlite3_step(once->oldest)) == SQLITE_ROW) {
        *last = sqlite3_column_int64(once->oldest, 0);
        *bytes += (uint64_t)sqlite3_column_int64(once->oldest, 1);
    }
    sqlite3_reset(once->oldest);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int delete_rows(struct once *once, uint32_t most)
{
    sqlite3_int64 last = 0;
    uint64_t bytes = 0;
    int rc = find_forgotten(once, most, &last, &bytes);
    if (rc != SQLITE_OK || last == 0)
        return rc;
    rc = sqlite3_bind_int64(once->expire, 1, last);
    if (rc == SQLITE_OK)
        rc = sql_run(once->expire);
    once->settled -= bytes / SCHEMA_KEY;
    return rc;
}

int once_settle(struct once *once, const struct moment *now, bool idle)
{
    uint32_t rows = 0;
    int rc = save_keys(once, &rows);
    expire_keys(once, (idle ? IDLE_KEYS : EXPIRE_KEYS) + 2 * (uint64_t)once->unsaved, now);
    if (rc == SQLITE_OK && once->settled > 0)
        rc = delete_rows(once, (idle ? IDLE_ROWS : EXPIRE_ROWS) + 2 * rows);
    return rc;
}

/* ---- the end of a transaction ---- */

void once_committed(struct once *once, bool settled)
{
    once->reserved = 0;
    if (!settled)
        return;
    if (once->unsaved > 0)
        once->last_saved = keys_at(&once->keys, once->keys.count - 1)->seq;
    once->unsaved = 0;
    once->settled_before = once->settled;
    once->crowded = false;
}

void once_undo(struct once *once)
{
    once_release(once, 0);
    once->settled = once->settled_before;
}

void once_restart(struct once *once)
{
    keys_free(&once->keys);
    once->unsaved = 0;
    once->last_saved = 0;
    once->settled = once->settled_before = 0;
    once->crowded = false;
}

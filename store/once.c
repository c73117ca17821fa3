#include "store/once.h"

#include <sodium/crypto_generichash.h>
#include <stdlib.h>
#include <string.h>

#include "store/sql.h"

/* How many rows that are too old are deleted with each stretch, beside twice as many as it adds. */
enum { EXPIRE_ROWS = 1000 };

struct once_key {
    UT_hash_handle hh;
    TAILQ_ENTRY(once_key) next;
    uint64_t seq;    /* 0: reserved, and not stored yet */
    int64_t time_ms; /* of the message */
    bool replaces;   /* the table has it, too old */
    uint8_t key[MESSAGE_KEY], text[MESSAGE_KEY];
};

static void hash_text(const struct message *message, uint8_t hash[MESSAGE_KEY])
{
    crypto_generichash(hash, MESSAGE_KEY, (const unsigned char *)message_data(message),
                       message->data_len, NULL, 0);
}

static struct once_key *find_reserved(const struct once *once, const uint8_t *hash)
{
    struct once_key *key;
    HASH_FIND(hh, once->keys, hash, MESSAGE_KEY, key);
    return key;
}

static struct once_key *add_key(struct once *once, struct once_list *list, const uint8_t *hash,
                                int64_t time_ms)
{
    struct once_key *key = calloc(1, sizeof *key);
    if (!key)
        return NULL;
    memcpy(key->key, hash, MESSAGE_KEY);
    key->time_ms = time_ms;
    HASH_ADD(hh, once->keys, key, MESSAGE_KEY, key);
    if (!key->hh.tbl) {
        free(key);
        return NULL;
    }
    TAILQ_INSERT_TAIL(list, key, next);
    once->count++;
    return key;
}

static void free_keys(struct once *once, struct once_list *list)
{
    struct once_key *key;
    while ((key = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, key, next);
        HASH_DELETE(hh, once->keys, key);
        free(key);
    }
}

/* ---- the start and the end ---- */

static int load_key(struct once *once, sqlite3_stmt *row)
{
    const uint8_t *hash = sqlite3_column_blob(row, 2);
    if (!hash || sqlite3_column_bytes(row, 2) != MESSAGE_KEY)
        return SQLITE_CORRUPT;
    struct once_key *key = add_key(once, &once->stretch, hash, sqlite3_column_int64(row, 1));
    if (!key)
        return SQLITE_NOMEM;
    key->seq = (uint64_t)sqlite3_column_int64(row, 0);
    const unsigned char *text = sqlite3_column_blob(row, 3);
    crypto_generichash(key->text, MESSAGE_KEY, text, (size_t)sqlite3_column_bytes(row, 3), NULL, 0);
    return SQLITE_OK;
}

static int load_stretch(struct once *once, sqlite3 *db)
{
    sqlite3_stmt *rows = NULL;
    int rc = sql_prepare(db, &rows,
                         "SELECT seq, time_ms, once, data FROM message "
                         "WHERE seq > (SELECT settled FROM log) AND once IS NOT NULL ORDER BY seq");
    if (rc == SQLITE_OK)
        while ((rc = sqlite3_step(rows)) == SQLITE_ROW)
            if ((rc = load_key(once, rows)) != SQLITE_OK)
                break;
    sqlite3_finalize(rows);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int once_init(struct once *once, sqlite3 *db, const struct once_limits *limits,
              const struct stamps *stamps, uint64_t settled)
{
    *once = (struct once){.limits = *limits,
                          .stamps = stamps,
                          .settled = settled,
                          .settled_before = settled,
                          .count = settled};
    TAILQ_INIT(&once->stretch);
    TAILQ_INIT(&once->now);
    int rc = sql_prepare(db, &once->find, "SELECT seq, time_ms, text FROM once WHERE key = ?1");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &once->save,
                         "INSERT OR REPLACE INTO once(key, seq, time_ms, text) "
                         "VALUES (?1, ?2, ?3, ?4)");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &once->oldest, "SELECT seq, time_ms FROM once ORDER BY seq LIMIT ?1");
    if (rc == SQLITE_OK)
        rc = sql_prepare(db, &once->expire, "DELETE FROM once WHERE seq <= ?1");
    if (rc == SQLITE_OK)
        rc = load_stretch(once, db);
    once->count_before = once->count;
    return rc;
}

void once_free(struct once *once)
{
    free_keys(once, &once->now);
    free_keys(once, &once->stretch);
    sqlite3_finalize(once->find);
    sqlite3_finalize(once->save);
    sqlite3_finalize(once->oldest);
    sqlite3_finalize(once->expire);
}

/* ---- asking ---- */

static bool is_expired(const struct once *once, uint64_t seq, int64_t time_ms,
                       const struct moment *now)
{
    return now->wall_ms - stamps_time(once->stamps, seq, time_ms, now) >= once->limits.keep_ms;
}

/* What the row that `find` gave says of a message with that text. */
static enum once_verdict judge_row(const struct once *once, const uint8_t *text,
                                   const struct moment *now, uint64_t *seq)
{
    const void *there = sqlite3_column_blob(once->find, 2);
    *seq = (uint64_t)sqlite3_column_int64(once->find, 0);
    if (is_expired(once, *seq, sqlite3_column_int64(once->find, 1), now))
        return ONCE_NEW;
    if (there && sqlite3_column_bytes(once->find, 2) == MESSAGE_KEY &&
        memcmp(there, text, MESSAGE_KEY) == 0)
        return ONCE_DUPLICATE;
    return ONCE_CONFLICT;
}

/* Asks the table. *found: it has the key, perhaps too old. */
static int ask_table(struct once *once, const uint8_t *hash, const uint8_t *text,
                     const struct moment *now, enum once_verdict *verdict, uint64_t *seq,
                     bool *found)
{
    int rc = sqlite3_bind_blob(once->find, 1, hash, MESSAGE_KEY, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(once->find);
    *found = rc == SQLITE_ROW;
    *verdict = *found ? judge_row(once, text, now, seq) : ONCE_NEW;
    sqlite3_reset(once->find);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Reserves a key that is new. `replaces`: the table has it. */
static int reserve_key(struct once *once, const struct message *message, const uint8_t *text,
                       bool replaces, enum once_verdict *verdict)
{
    if (once->count >= once->limits.most) {
        once->crowded = true;
        *verdict = ONCE_CROWDED;
        return SQLITE_OK;
    }
    struct once_key *key = add_key(once, &once->now, message_key(message), message->time_ms);
    if (!key)
        return SQLITE_NOMEM;
    key->replaces = replaces;
    memcpy(key->text, text, MESSAGE_KEY);
    return SQLITE_OK;
}

/* A key of the stretch is never too old: it is settled soon. */
int once_ask(struct once *once, const struct message *message, const struct moment *now,
             enum once_verdict *verdict, uint64_t *seq)
{
    uint8_t text[MESSAGE_KEY];
    bool found = false;
    hash_text(message, text);
    const struct once_key *key = find_reserved(once, message_key(message));
    if (key) {
        *seq = key->seq;
        *verdict = memcmp(key->text, text, MESSAGE_KEY) == 0 ? ONCE_DUPLICATE : ONCE_CONFLICT;
        return SQLITE_OK;
    }
    int rc = ask_table(once, message_key(message), text, now, verdict, seq, &found);
    if (rc == SQLITE_OK && *verdict == ONCE_NEW)
        rc = reserve_key(once, message, text, found, verdict);
    return rc;
}

void once_stored(struct once *once, const struct message *message, uint64_t seq)
{
    struct once_key *key = find_reserved(once, message_key(message));
    if (key)
        key->seq = seq;
}

void once_release(struct once *once, const struct message *message)
{
    struct once_key *key = find_reserved(once, message_key(message));
    if (!key || key->seq != 0)
        return;
    TAILQ_REMOVE(&once->now, key, next);
    HASH_DELETE(hh, once->keys, key);
    free(key);
    once->count--;
}

/* ---- the table ---- */

static int save_key(struct once *once, const struct once_key *key)
{
    sqlite3_stmt *save = once->save;
    int rc = sqlite3_bind_blob(save, 1, key->key, MESSAGE_KEY, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(save, 2, (sqlite3_int64)key->seq);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(save, 3, key->time_ms);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob(save, 4, key->text, MESSAGE_KEY, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sql_run(save);
    if (key->replaces)
        once->count--; /* it was counted twice */
    else
        once->settled++;
    return rc;
}

static int save_keys(struct once *once, const struct once_list *list, int64_t *saved)
{
    const struct once_key *key;
    int rc = SQLITE_OK;
    TAILQ_FOREACH (key, list, next) {
        rc = save_key(once, key);
        if (rc != SQLITE_OK)
            break;
        ++*saved;
    }
    return rc;
}

/* Finds the newest of the oldest rows, at most that many, that are too old: their seq in *last. */
static int find_expired(struct once *once, int64_t rows, const struct moment *now,
                        sqlite3_int64 *last)
{
    int rc = sqlite3_bind_int64(once->oldest, 1, rows);
    if (rc != SQLITE_OK)
        return rc;
    while ((rc = sqlite3_step(once->oldest)) == SQLITE_ROW) {
        sqlite3_int64 seq = sqlite3_column_int64(once->oldest, 0);
        if (!is_expired(once, (uint64_t)seq, sqlite3_column_int64(once->oldest, 1), now))
            break;
        *last = seq;
    }
    sqlite3_reset(once->oldest);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int expire_keys(struct once *once, int64_t rows, const struct moment *now)
{
    sqlite3_int64 last = 0;
    int rc = find_expired(once, rows, now, &last);
    if (rc != SQLITE_OK || last == 0)
        return rc;
    rc = sqlite3_bind_int64(once->expire, 1, last);
    if (rc == SQLITE_OK)
        rc = sql_run(once->expire);
    if (rc != SQLITE_OK)
        return rc;
    uint64_t gone = (uint64_t)sqlite3_changes64(sqlite3_db_handle(once->expire));
    once->settled -= gone;
    once->count -= gone;
    return SQLITE_OK;
}

int once_settle(struct once *once, const struct moment *now)
{
    int64_t saved = 0;
    int rc = save_keys(once, &once->stretch, &saved);
    if (rc == SQLITE_OK)
        rc = save_keys(once, &once->now, &saved);
    if (rc == SQLITE_OK && once->settled > 0)
        rc = expire_keys(once, EXPIRE_ROWS + 2 * saved, now);
    return rc;
}

/* ---- the end of a transaction ---- */

void once_committed(struct once *once, bool settled)
{
    if (settled) {
        free_keys(once, &once->stretch);
        free_keys(once, &once->now);
        once->settled_before = once->settled;
        once->crowded = false;
    } else {
        TAILQ_CONCAT(&once->stretch, &once->now, next);
    }
    once->count_before = once->count;
}

void once_undo(struct once *once)
{
    free_keys(once, &once->now);
    once->settled = once->settled_before;
    once->count = once->count_before;
}

void once_restart(struct once *once)
{
    free_keys(once, &once->stretch);
    once->settled = once->settled_before = 0;
    once->count = once->count_before = 0;
    once->crowded = false;
}

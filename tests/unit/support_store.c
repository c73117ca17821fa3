#include "support_store.h"

#include <dirent.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/clock.h"

int store_setup(void **state)
{
    struct store *store = calloc(1, sizeof *store);
    const char *tmp = getenv("TMPDIR");
    if (!store)
        return -1;
    snprintf(store->dir, sizeof store->dir, "%.40s/encke-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(store->dir))
        return -1;
    snprintf(store->path, sizeof store->path, "%s/log.db", store->dir);
    store->options = (struct log_options){.path = store->path,
                                          .memory_bytes = 16 << 20,
                                          .queue_bytes = 64 << 20,
                                          .reads_bytes = 8 << 20};
    *state = store;
    return 0;
}

int store_teardown(void **state)
{
    struct store *store = *state;
    log_close(store->log);
    DIR *dir = opendir(store->dir);
    char name[400];
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        snprintf(name, sizeof name, "%s/%s", store->dir, entry->d_name);
        if (entry->d_name[0] != '.')
            remove(name);
    }
    if (dir)
        closedir(dir);
    remove(store->dir);
    free(store);
    return 0;
}

int store_try_open(struct store *store)
{
    return log_open(&store->log, &store->options, store->why, sizeof store->why);
}

void store_open(struct store *store)
{
    if (store_try_open(store) != 0)
        fail_msg("log_open: %s", store->why);
}

enum log_status store_close(struct store *store)
{
    enum log_status status = log_close(store->log);
    store->log = NULL;
    return status;
}

void store_reopen(struct store *store)
{
    assert_int_equal(store_close(store), LOG_OK);
    store_open(store);
}

void store_crash(struct store *store)
{
    size_t size, log_size;
    char *db = store_slurp(store->path, &size);
    char *wal = store_slurp(store_beside(store, "-wal"), &log_size);
    assert_int_equal(store_close(store), LOG_OK);
    store_remove_log(store->path);
    store_spit(store->path, db, size);
    store_spit(store_beside(store, "-wal"), wal, log_size);
    free(db);
    free(wal);
}

/* ---- appending ---- */

static void wait_for_fd(int fd)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    if (poll(&readable, 1, PATIENCE_MS) != 1)
        fail_msg("the log had nothing to say for %d ms", PATIENCE_MS);
}

enum log_status store_append(struct store *store, struct message *message)
{
    return log_append(store->log, &message, 1, NULL, NULL, NULL);
}

static enum log_status queue(struct store *store, const char *channel, const char *data,
                             struct append **out)
{
    struct message *message = message_new(channel, data, strlen(data), clock_wall_ms());
    assert_non_null(message);
    enum log_status status = log_append(store->log, &message, 1, NULL, NULL, out);
    if (status != LOG_OK)
        message_drop(message);
    return status;
}

enum log_status store_queue(struct store *store, const char *channel, const char *data)
{
    return queue(store, channel, data, NULL);
}

void store_wait(struct store *store)
{
    wait_for_fd(log_fd(store->log));
}

void store_drain(struct store *store)
{
    struct log_news news;
    log_drain(store->log, &news);
    struct append *append;
    STAILQ_FOREACH (append, &news.done, next) {
        store->last = append->status;
        store->last_seq = append->entries[append->count - 1].message->seq;
        if (append->status == LOG_OK)
            store->acknowledged++;
        else
            store->worst = append->status;
    }
    store->failed = news.failed;
    log_news_free(store->log, &news);
}

static uint64_t queued(const struct store *store)
{
    struct log_stats stats;
    log_stats(store->log, &stats);
    return stats.queued;
}

void store_settle(struct store *store)
{
    while (queued(store)) {
        store_wait(store);
        store_drain(store);
    }
}

void store_settle_at(struct store *store, uint64_t messages)
{
    struct log_stats stats;
    for (log_stats(store->log, &stats); stats.messages != messages; log_stats(store->log, &stats)) {
        store_wait(store);
        store_drain(store);
    }
}

uint64_t store_put(struct store *store, const char *channel, const char *data)
{
    assert_int_equal(store_queue(store, channel, data), LOG_OK);
    store_settle(store);
    return store->last_seq;
}

void store_put_many(struct store *store, const char *channel, size_t count)
{
    while (count) {
        enum log_status status = store_queue(store, channel, "x");
        if (status == LOG_OK) {
            count--;
            continue;
        }
        assert_int_equal(status, LOG_QUEUE);
        store_wait(store);
        store_drain(store);
    }
    store_settle(store);
}

/* ---- reading ---- */

void store_tell_reads(struct store *store)
{
    wait_for_fd(log_reads_fd(store->log));
    log_tell_reads(store->log, 0);
}

struct awaited {
    struct page *page;
    enum log_status status;
    bool over;
};

static void take_page(void *owner, enum log_status status, struct page *page)
{
    struct awaited *awaited = owner;
    awaited->status = status;
    awaited->over = true;
    *awaited->page = *page;
    *page = (struct page){0};
}

/* Waits until the read is over, if it was asked for. */
static enum log_status await_page(struct store *store, const struct awaited *awaited,
                                  enum log_status asked)
{
    while (asked == LOG_OK && !awaited->over)
        store_tell_reads(store);
    return asked == LOG_OK ? awaited->status : asked;
}

enum log_status store_page(struct store *store, const char *const *channels, size_t count,
                           struct cursor cursor, struct page_limit limit, struct page *page)
{
    enum log_status status = log_read(store->log, channels, count, cursor, limit, page);
    if (status != LOG_LATER)
        return status;
    struct read *read;
    struct awaited awaited = {.page = page};
    status = log_read_later(store->log, channels, count, cursor, limit, take_page, &awaited, &read);
    return await_page(store, &awaited, status);
}

const char *store_read(struct store *store, const char *channels, struct cursor cursor,
                       size_t limit)
{
    char names[2048], *rest = names;
    size_t count = 0, at = 0;
    snprintf(names, sizeof names, "%s", channels);
    const char *list[64];
    for (char *name; (name = strsep(&rest, " "));)
        list[count++] = name;
    struct page page;
    enum log_status status = store_page(store, list, count, cursor, UP_TO(limit), &page);
    if (status != LOG_OK) {
        snprintf(store->text, sizeof store->text, "status %d", status);
        return store->text;
    }
    for (size_t i = 0; i < page.count; i++)
        at +=
            (size_t)snprintf(store->text + at, sizeof store->text - at, "%lu=%.20s ",
                             (unsigned long)page.messages[i]->seq, message_data(page.messages[i]));
    snprintf(store->text + at, sizeof store->text - at, "next %lu%s%s", (unsigned long)page.next,
             page.more ? " more" : "", page.reset ? " reset" : "");
    page_free(&page);
    return store->text;
}

const char *store_status(enum log_status status)
{
    static char text[20];
    snprintf(text, sizeof text, "status %d", status);
    return text;
}

const char *store_read_at(struct store *store, const char *channels, uint64_t seq)
{
    return store_read(store, channels, (struct cursor){CURSOR_AT, seq}, 1000);
}

const char *store_read_all(struct store *store, const char *channels)
{
    return store_read(store, channels, (struct cursor){.kind = CURSOR_START}, 1000);
}

struct message *store_newest_message(struct store *store, const char *channel, uint64_t before)
{
    struct page page;
    struct read *read;
    struct awaited awaited = {.page = &page};
    enum log_status status =
        log_read_newest(store->log, channel, before, take_page, &awaited, &read);
    assert_int_equal(await_page(store, &awaited, status), LOG_OK);
    assert_in_range(page.count, 0, 1);
    struct message *message = page.count > 0 ? message_hold(page.messages[0]) : NULL;
    page_free(&page);
    return message;
}

uint64_t store_newest(struct store *store, const char *channel, uint64_t before)
{
    struct message *message = store_newest_message(store, channel, before);
    uint64_t seq = message ? message->seq : 0;
    if (message)
        assert_string_equal(message_channel(message), channel);
    message_drop(message);
    return seq;
}

/* ---- files ---- */

const char *store_beside(const struct store *store, const char *suffix)
{
    static char names[4][200];
    static size_t at;
    at = (at + 1) % 4;
    snprintf(names[at], sizeof names[at], "%s%s", store->path, suffix);
    return names[at];
}

void store_remove_log(const char *path)
{
    static const char *const suffixes[] = {"",      "-wal",       "-shm",
                                           ".lock", ".encke-new", ".encke-new-journal"};
    char name[300];
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        remove(name);
    }
}

int64_t store_sql(struct store *store, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    sqlite3 *db = NULL;
    int64_t value = 0;
    assert_int_equal(sqlite3_open(store->path, &db), SQLITE_OK);
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    else if (rc != SQLITE_DONE)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

char *store_slurp(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    long end = ftell(file);
    rewind(file);
    char *bytes = malloc((size_t)end + 1);
    assert_non_null(bytes);
    *size = fread(bytes, 1, (size_t)end, file);
    bytes[*size] = '\0';
    fclose(file);
    return bytes;
}

void store_spit(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

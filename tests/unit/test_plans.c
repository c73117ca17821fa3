/* No statement of the store may look through more rows than it gives back or deletes, however large
 * the log is. What is run is taken down and explained. */
#include "support_store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

/* Only walked as far as there is something to delete, or to load. */
static const char *const walks[] = {
    "SELECT seq, channel, length(data), time_ms FROM message ORDER BY seq",
    "LEFT JOIN channel c ON c.id = m.channel ORDER BY m.seq DESC",
    "SELECT last, time_ms, keys FROM once ORDER BY last",
};

enum { MAX_STATEMENTS = 100 };

static char *statements[MAX_STATEMENTS];
static size_t statement_count;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* both threads run statements */

static int take_down(unsigned event, void *arg, void *statement, void *text)
{
    const char *sql = sqlite3_sql(statement);
    size_t i = 0;
    pthread_mutex_lock(&mutex);
    while (sql && i < statement_count && strcmp(statements[i], sql) != 0)
        i++;
    if (sql && i == statement_count && i < MAX_STATEMENTS)
        statements[statement_count++] = strdup(sql);
    pthread_mutex_unlock(&mutex);
    return 0;
}

/* SQLite calls this for every connection that is opened. */
static int listen_in(sqlite3 *db, char **error, const struct sqlite3_api_routines *api)
{
    return sqlite3_trace_v2(db, SQLITE_TRACE_STMT, take_down, NULL);
}

static bool is_walk(const char *sql)
{
    for (size_t i = 0; i < sizeof walks / sizeof *walks; i++)
        if (strstr(sql, walks[i]))
            return true;
    return false;
}

/* Returns how many steps of the plan there were. */
static int check_plan(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *plan = NULL;
    int steps = 0;
    char explain[1000];
    snprintf(explain, sizeof explain, "EXPLAIN QUERY PLAN %s", sql);
    if (sqlite3_prepare_v2(db, explain, -1, &plan, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    for (; sqlite3_step(plan) == SQLITE_ROW; steps++) {
        const char *step = (const char *)sqlite3_column_text(plan, 3);
        if (strstr(step, "TEMP B-TREE"))
            fail_msg("%s\nsorts: %s", sql, step);
        if (strncmp(step, "SCAN ", 5) == 0 && strcmp(step, "SCAN log") != 0 && !is_walk(sql))
            fail_msg("%s\nlooks through all: %s", sql, step);
    }
    sqlite3_finalize(plan);
    return steps;
}

/* The checks at the start are left out: they are meant to look through a small file. */
static bool belongs_to_the_start(const char *sql)
{
    return strstr(sql, "count(*)") || strstr(sql, "sqlite_schema") || strstr(sql, "PRAGMA") ||
           strstr(sql, "CREATE") || strstr(sql, "BEGIN") || strstr(sql, "COMMIT");
}

static void every_statement_is_a_search(void **state)
{
    struct store *store = *state;
    int steps = 0;
    sqlite3_auto_extension((void (*)(void))listen_in);
    store->options.keep_messages = 20;
    store->options.keep_bytes = 30 * message_size_of(1, 1);
    store->options.keep_age_ms = 3600 * 1000;
    store->options.memory_bytes = 5 * message_size_of(1, 1);
    store_open(store);
    store_put_many(store, "a", 50);
    store_put_many(store, "b", 50);
    store_read_all(store, "a b c");
    store_newest(store, "a", UINT64_MAX);
    store->options.keep_messages = 10; /* so that the sweep has something to do */
    store_reopen(store);
    store_settle_at(store, 20);
    store_close(store);
    sqlite3_cancel_auto_extension((void (*)(void))listen_in);

    sqlite3 *db;
    assert_int_equal(sqlite3_open(store->path, &db), SQLITE_OK);
    for (size_t i = 0; i < statement_count; i++) {
        if (!belongs_to_the_start(statements[i]))
            steps += check_plan(db, statements[i]);
        free(statements[i]);
    }
    sqlite3_close(db);
    assert_true(steps >= 10); /* it did listen */
}

/* ---- how many ---- */

static unsigned runs;

static int count_run(unsigned event, void *arg, void *statement, void *text)
{
    pthread_mutex_lock(&mutex);
    runs++;
    pthread_mutex_unlock(&mutex);
    return 0;
}

static int count_runs(sqlite3 *db, char **error, const struct sqlite3_api_routines *api)
{
    return sqlite3_trace_v2(db, SQLITE_TRACE_STMT, count_run, NULL);
}

static void put_in_channels(struct store *store, unsigned from, unsigned to)
{
    char name[16];
    for (unsigned i = from; i < to; i++) {
        snprintf(name, sizeof name, "c%u", i);
        assert_int_equal(store_queue(store, name, "x"), LOG_OK);
    }
    store_settle_at(store, to);
}

static unsigned runs_of_a_start(struct store *store)
{
    store_close(store);
    sqlite3_auto_extension((void (*)(void))count_runs);
    runs = 0;
    store_open(store);
    store_close(store);
    sqlite3_cancel_auto_extension((void (*)(void))count_runs);
    store_open(store);
    return runs;
}

static void a_start_runs_as_many_statements_for_1000_channels_as_for_10(void **state)
{
    struct store *store = *state;
    store_open(store);
    put_in_channels(store, 0, 10);
    unsigned few = runs_of_a_start(store);
    put_in_channels(store, 10, 1000);
    assert_int_equal(runs_of_a_start(store), few);
    assert_true(few > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_statement_is_a_search),
        TEST(a_start_runs_as_many_statements_for_1000_channels_as_for_10),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

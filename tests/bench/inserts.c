/* inserts.c - the floor of durable creates: SQLite alone, inserting messages in groups.
 *
 *     inserts [-c] [-t SECONDS] [-r ROUNDS] FILE [GROUP...]
 *
 * Makes FILE anew and inserts messages of 60 bytes into its one table, GROUP of them a transaction
 * (1 16 64 256), in WAL mode, each COMMIT with synchronous=FULL, checkpoints as SQLite makes them.
 * For each group, SECONDS (1) a round: how many messages a second, and how long a transaction took;
 * with more than one group, the figures' names end in _GROUP.
 * Prints as load(1) does; -c for CSV. Removes FILE at the end.
 *
 * No log that keeps its messages in SQLite, and has them on the disk before it answers, is faster
 * than this with as many publishers.
 */
#include <getopt.h>
#include <sqlite3.h>
#include <unistd.h>

#include "tests/bench/figures.h"
#include "tests/bench/number.h"

enum { GROUPS_MAX = 16, GROUP_MAX = 100000, SECONDS_MAX = 600, MESSAGE = 60 };

static sqlite3 *db;

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "inserts: %s: %s\n", what, db ? sqlite3_errmsg(db) : "out of memory");
    exit(1);
}

static int number(const char *text, int most)
{
    int value;

    if (number_read(text, 1, most, &value))
        return value;
    fprintf(stderr, "inserts: '%s' is not a number from 1 to %d\n", text, most);
    exit(2);
}

static void exec(const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        die(sql);
}

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *statement;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        die(sql);
    return statement;
}

static void run(sqlite3_stmt *statement)
{
    if (sqlite3_step(statement) != SQLITE_DONE)
        die("a statement failed");
    sqlite3_reset(statement);
}

static void remove_file(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char name[4096];

    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

static void open_file(const char *path)
{
    remove_file(path);
    if (sqlite3_open(path, &db) != SQLITE_OK)
        die(path);
    exec("PRAGMA journal_mode=WAL");
    exec("PRAGMA synchronous=FULL");
    exec("CREATE TABLE message(seq INTEGER PRIMARY KEY, data BLOB NOT NULL)");
}

/* Transactions for so many seconds. The figures' names end in `suffix`. */
static void insert_groups(struct figures *figures, int round, int group, int seconds,
                          const char *suffix)
{
    char message[MESSAGE];
    sqlite3_stmt *begin = prepare("BEGIN IMMEDIATE"), *commit = prepare("COMMIT");
    sqlite3_stmt *insert = prepare("INSERT INTO message(data) VALUES (?1)");
    struct samples times = {0};
    uint64_t start = clock_ns(), now = start;
    char name[64];

    memset(message, 'x', sizeof message);
    sqlite3_bind_blob(insert, 1, message, MESSAGE, SQLITE_STATIC);
    while (now < start + (uint64_t)seconds * 1000000000U) {
        uint64_t began = now;

        run(begin);
        for (int i = 0; i < group; i++)
            run(insert);
        run(commit);
        now = clock_ns();
        samples_add(&times, now - began);
    }
    snprintf(name, sizeof name, "inserts_a_second%s", suffix);
    figures_add(figures, round, name, (double)times.n * group / ((double)(now - start) / 1e9));
    snprintf(name, sizeof name, "commit_p50_ms%s", suffix);
    figures_add(figures, round, name, samples_ms(&times, 0.5));
    snprintf(name, sizeof name, "commit_p99_ms%s", suffix);
    figures_add(figures, round, name, samples_ms(&times, 0.99));
    samples_free(&times);
    sqlite3_finalize(begin);
    sqlite3_finalize(commit);
    sqlite3_finalize(insert);
}

int main(int argc, char **argv)
{
    static struct figures figures;
    int groups[GROUPS_MAX] = {1, 16, 64, 256}, count = 4, seconds = 1, rounds = 1, option;
    const char *path;

    while ((option = getopt(argc, argv, "ct:r:")) != -1) {
        if (option == 'c')
            figures.csv = true;
        else if (option == 't')
            seconds = number(optarg, SECONDS_MAX);
        else if (option == 'r')
            rounds = number(optarg, FIGURES_ROUNDS);
        else
            optind = argc;
    }
    if (optind >= argc || argc - optind - 1 > GROUPS_MAX) {
        fputs("usage: inserts [-c] [-t SECONDS] [-r ROUNDS] FILE [GROUP...]\n", stderr);
        return 2;
    }
    path = argv[optind++];
    for (int i = optind; i < argc; i++)
        groups[i - optind] = number(argv[i], GROUP_MAX);
    if (optind < argc)
        count = argc - optind;
    open_file(path);
    for (int round = 1; round <= rounds; round++)
        for (int i = 0; i < count; i++) {
            char suffix[16];

            snprintf(suffix, sizeof suffix, "_%d", groups[i]);
            insert_groups(&figures, round, groups[i], seconds, count > 1 ? suffix : "");
        }
    sqlite3_close(db);
    remove_file(path);
    figures_print(&figures);
    return 0;
}

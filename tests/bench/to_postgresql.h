/* to_postgresql.h - appends to a table of PostgreSQL, an INSERT a transaction, by libpq without
 * waiting: a prepared statement, parameters as they are.
 */
#ifndef ENCKE_BENCH_TO_POSTGRESQL_H
#define ENCKE_BENCH_TO_POSTGRESQL_H

#include <libpq-fe.h>

#include "tests/bench/appender.h"

/* What a message board would have: a sequence for the cursor, and when it was. */
static const char postgresql_table[] =
    "CREATE TABLE IF NOT EXISTS message ("
    "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
    "channel text NOT NULL, time timestamptz NOT NULL DEFAULT now(), data text NOT NULL)";
static const char postgresql_insert[] =
    "INSERT INTO message (channel, data) VALUES ($1, $2) RETURNING id";

static PGconn *postgresql_connect(const char *folder)
{
    const char *const keywords[] = {"host", "dbname", "user", NULL};
    const char *const values[] = {folder, "postgres", "bench", NULL};
    PGconn *conn = PQconnectdbParams(keywords, values, 0);

    if (PQstatus(conn) != CONNECTION_OK)
        die("postgresql: %s", PQerrorMessage(conn));
    return conn;
}

/* Ends the program if the answer is none of that kind. */
static void postgresql_take(PGresult *result, ExecStatusType good)
{
    if (PQresultStatus(result) != good)
        die("postgresql: %s", PQresultErrorMessage(result));
    PQclear(result);
}

static void postgresql_prepare(const char *folder, bool anew)
{
    PGconn *conn = postgresql_connect(folder);

    postgresql_take(PQexec(conn, "SET client_min_messages = warning"), PGRES_COMMAND_OK);
    postgresql_take(PQexec(conn, postgresql_table), PGRES_COMMAND_OK);
    if (anew)
        postgresql_take(PQexec(conn, "TRUNCATE message"), PGRES_COMMAND_OK);
    PQfinish(conn);
}

static void postgresql_open(struct appender *a, const char *folder)
{
    PGconn *conn = a->client = postgresql_connect(folder);

    postgresql_take(PQprepare(conn, "append", postgresql_insert, 2, NULL), PGRES_COMMAND_OK);
    if (PQsetnonblocking(conn, 1) != 0)
        die("postgresql: %s", PQerrorMessage(conn));
    /* A process a connection; they are not watched if nothing is. */
    if (appends.watch.n && !watch_add(&appends.watch, PQbackendPID(conn)))
        die("postgresql: too many processes");
    appender_watch(a, PQsocket(conn));
}

static void postgresql_write(struct appender *a)
{
    int left = PQflush(a->client);

    if (left < 0)
        die("postgresql: %s", PQerrorMessage(a->client));
    appender_want_out(a, left > 0);
}

static void postgresql_append(struct appender *a)
{
    const char *const values[] = {"main", appends.message};

    if (!PQsendQueryPrepared(a->client, "append", 2, values, NULL, NULL, 0))
        die("postgresql: %s", PQerrorMessage(a->client));
    postgresql_write(a);
}

static enum append_news postgresql_step(struct appender *a, uint32_t events)
{
    PGconn *conn = a->client;
    PGresult *result;

    if (events & EPOLLOUT)
        postgresql_write(a);
    if (!PQconsumeInput(conn))
        die("postgresql: %s", PQerrorMessage(conn));
    while (!PQisBusy(conn)) {
        result = PQgetResult(conn);
        if (!result)
            return APPENDED;                      /* the command is over */
        postgresql_take(result, PGRES_TUPLES_OK); /* a row: the id */
    }
    return APPEND_NOTHING;
}

static const struct store postgresql_store = {.name = "postgresql",
                                              .address = "FOLDER of its socket",
                                              .prepare = postgresql_prepare,
                                              .open = postgresql_open,
                                              .append = postgresql_append,
                                              .step = postgresql_step};

#endif

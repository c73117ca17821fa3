/* storm.h - the mode of the load generator in which very many clients come back at once, each with
 * an old cursor, while messages are published.
 *
 *     run_storm();    // with `load` filled in
 *
 * Messages are published at --rate, first for --seconds with nobody there. Then N clients connect,
 * all at once, and poll from a random cursor of the last --behind messages on, until they have all
 * that was there when the storm began: they are current. Each then polls once more, is held, and is
 * done when that brings a newer message. Every message that a client gets must be the next one of
 * the log, so nothing but this may have been published to another channel.
 *
 * A client whose connection is lost, or that the web server tells that it has no backend for it
 * (502, 503, 504), comes back as the page's script does: after a random part of a second, of two,
 * of four.
 *
 * Who publishes is another process (apart.h), in the quiet as in the storm. A create's time is from
 * when it was due. Those of the storm are those due before the last client was current.
 */
#ifndef ENCKE_BENCH_STORM_H
#define ENCKE_BENCH_STORM_H

#include "tests/bench/apart.h"
#include "tests/bench/behind.h"

/* As in www/encke.js. */
enum { BACKOFF_FIRST_MS = 1000, BACKOFF_MOST_MS = 30000, BACKOFF_LEAST_MS = 200 };

enum { STORM_MAX_S = 120 };

enum client_state { CLIENT_BEHIND, CLIENT_CURRENT, CLIENT_DONE, CLIENT_FAILED };

struct client {
    enum client_state state;
    unsigned failures; /* one after the other */
    uint64_t again_ns; /* of those that wait: when it asks again */
    struct cursors cursors;
};

static struct storm {
    struct client *clients; /* one a reader */
    struct request status;
    uint64_t start_ns, current_ns, held_ns; /* the first connect; the last was current, done */
    int count[CLIENT_FAILED + 1];           /* of the clients that have come to that */
    struct samples currents;                /* when clients became current, since the start */
    struct samples creates;
    uint64_t answers, messages, retries;
    int *waiting; /* clients that have failed and will ask again; `waiting_n` of them */
    int waiting_n;
    uint64_t again_ns; /* the first of them */
} storm;

static void client_move(struct client *client, enum client_state state)
{
    client->state = state;
    storm.count[state]++;
}

/* Asks on from the cursor that it has. */
static bool client_ask(struct reader *r, struct client *client)
{
    cursors_answer(&client->cursors);
    request_free(&r->own);
    behind_ask(&r->own, client->cursors.last);
    return ask_at(&load.target, load.epoll, r->conn, &r->own);
}

/* Takes a whole answer. False if the client asks no more. */
static bool client_answer(struct client *client, uint64_t now)
{
    uint32_t messages = cursors_messages(&client->cursors);

    behind_check(&client->cursors);
    storm.answers++;
    storm.messages += messages;
    if (client->state == CLIENT_CURRENT && messages) {
        client_move(client, CLIENT_DONE);
        storm.held_ns = now;
        return false;
    }
    if (client->state == CLIENT_BEHIND && client->cursors.last >= behind.head) {
        client_move(client, CLIENT_CURRENT);
        samples_add(&storm.currents, now - storm.start_ns);
        storm.current_ns = now;
    }
    return true;
}

/* Whether an answer means that its question may be asked again, later. */
static bool client_is_put_off(const struct answer *a)
{
    return a->status >= 502 && a->status <= 504;
}

static void client_later(int i, struct client *client)
{
    unsigned most = BACKOFF_FIRST_MS << (client->failures < 5 ? client->failures : 5);
    uint64_t ms = behind_random(most < BACKOFF_MOST_MS ? most : BACKOFF_MOST_MS);

    client->failures++;
    client->again_ns = clock_ns() + (ms > BACKOFF_LEAST_MS ? ms : BACKOFF_LEAST_MS) * 1000000U;
    storm.retries++;
    storm.waiting[storm.waiting_n++] = i;
    if (storm.waiting_n == 1 || client->again_ns < storm.again_ns)
        storm.again_ns = client->again_ns;
}

static void client_news(struct reader *r, enum conn_news news)
{
    struct client *client = &storm.clients[r->conn->number];

    count_news(news);
    if (news == CONN_NOTHING)
        return;
    if (news == CONN_LOST || (news == CONN_ANSWERED && client_is_put_off(&r->conn->answer))) {
        client_later((int)r->conn->number, client);
        return;
    }
    if (news != CONN_ANSWERED || !count_status(r->conn->answer.status)) {
        client_move(client, CLIENT_FAILED);
        return;
    }
    crowd.moved_ns = r->conn->read_ns;
    client->failures = 0;
    if (client_answer(client, r->conn->read_ns) && !client_ask(r, client))
        client_move(client, CLIENT_FAILED);
}

/* Those whose time has come ask again. */
static void clients_again(void)
{
    uint64_t now = clock_ns(), next = UINT64_MAX;

    if (!storm.waiting_n || now < storm.again_ns)
        return;
    for (int i = storm.waiting_n - 1; i >= 0; i--) {
        int number = storm.waiting[i];
        struct client *client = &storm.clients[number];

        if (client->again_ns > now) {
            next = client->again_ns < next ? client->again_ns : next;
            continue;
        }
        storm.waiting[i] = storm.waiting[--storm.waiting_n];
        if (!client_ask(&crowd.readers[number], client))
            client_move(client, CLIENT_FAILED);
    }
    storm.again_ns = next;
}

static void client_start(int i, uint64_t choice)
{
    struct client *client = &storm.clients[i];
    struct reader *r = &crowd.readers[i];

    *client = (struct client){.state = CLIENT_BEHIND};
    cursors_begin(&client->cursors, behind.head - 1 - behind_random(choice));
    r->conn->hasty = true;
    r->conn->answer.take = behind_take;
    r->conn->answer.taker = &client->cursors;
    storm.count[CLIENT_BEHIND]++;
    if (!client_ask(r, client))
        client_move(client, CLIENT_FAILED);
}

/* Whether all are current, or failed before. */
static bool all_current(void)
{
    return (int)storm.currents.n + storm.count[CLIENT_FAILED] >= crowd.n;
}

static bool all_done(void)
{
    return storm.count[CLIENT_DONE] + storm.count[CLIENT_FAILED] >= crowd.n;
}

/* Goes on until over(), until then, or until nothing has moved for --give-up. */
static bool storm_run(bool (*over)(void), uint64_t until_ns)
{
    uint64_t give_up_ns = (uint64_t)load.options.give_up_s * 1000000000U;
    bool done;

    crowd.moved_ns = clock_ns();
    while (!(done = over())) {
        uint64_t now = clock_ns();

        if (now > until_ns || now > crowd.moved_ns + give_up_ns)
            break;
        crowd_turn(5000000U);
        clients_again();
    }
    return done;
}

static void report_creates(int round, const char *phase)
{
    apart_hear(&storm.creates);
    report_named(round, phase, "creates", (double)storm.creates.n);
    report_times(round, phase, "create", &storm.creates);
}

static void quiet(int round)
{
    apart_begin((uint32_t)(load.options.rate * load.options.seconds));
    report_creates(round, "quiet");
}

/* Begins the connects, and looks at what comes between. */
static void connect_clients(uint64_t choice)
{
    for (int i = 0; i < crowd.n; i++) {
        client_start(i, choice);
        if ((i + 1) % load.options.batch == 0)
            crowd_turn(0);
    }
}

static void report_storm(int round, uint64_t choice, const struct spent *before,
                         const struct spent *after)
{
    struct figures *f = &load.figures;
    uint64_t bytes = 0;

    for (int i = 0; i < crowd.n; i++)
        bytes += load.conns[i].read_bytes;
    figures_add(f, round, "clients", crowd.n);
    figures_add(f, round, "behind", (double)choice);
    figures_add(f, round, "current_s", samples_ms(&storm.currents, 1) / 1e3);
    figures_add(f, round, "current_p50_s", samples_ms(&storm.currents, 0.5) / 1e3);
    figures_add(f, round, "current_p99_s", samples_ms(&storm.currents, 0.99) / 1e3);
    if (storm.count[CLIENT_DONE])
        figures_add(f, round, "held_s", (double)(storm.held_ns - storm.start_ns) / 1e9);
    figures_add(f, round, "answers", (double)storm.answers);
    figures_add(f, round, "messages", (double)storm.messages);
    figures_add(f, round, "retries", (double)storm.retries);
    figures_add(f, round, "mib", (double)bytes / 1048576);
    report_cpu(round, "storm_cpu_ms", before, after, 1);
}

static void storm_round(int round)
{
    uint64_t choice = (uint64_t)load.options.behind, until;
    struct spent before = {0}, after = {0};
    bool done;

    behind_look(&storm.status);
    if (behind.head < 2)
        die("the log has no messages that a client could have missed: call `load feed` before");
    choice = choice < behind.head - 1 ? choice : behind.head - 1;
    memset(storm.count, 0, sizeof storm.count);
    samples_clear(&storm.currents);
    storm.answers = storm.messages = storm.retries = 0;
    storm.waiting_n = 0;
    read_cpu(&before);
    storm.start_ns = storm.current_ns = storm.held_ns = clock_ns();
    until = storm.start_ns + STORM_MAX_S * 1000000000ULL;
    apart_begin(APART_ENDLESS);
    connect_clients(choice);
    done = storm_run(all_current, until);
    read_cpu(&after);
    done = done && storm_run(all_done, until);
    apart_end(storm.current_ns);
    if (!done)
        load.errors.unanswered +=
            (unsigned)(crowd.n - storm.count[CLIENT_DONE] - storm.count[CLIENT_FAILED]);
    report_storm(round, choice, &before, &after);
    report_creates(round, "storm");
}

/* Ends the clients, and waits until the server has noticed. */
static void disconnect_clients(void)
{
    for (int i = 0; i < crowd.n; i++)
        reader_close(&crowd.readers[i]);
    if (!wait_counted(&storm.status, holds_counted, 0))
        die("the server holds requests of clients that have gone");
}

static void run_storm(void)
{
    const struct options *o = &load.options;

    check_poll_option();
    apart_start();
    crowd_start(o->conns, 0);
    crowd.reader_news = client_news;
    storm.clients = calloc((size_t)o->conns, sizeof *storm.clients);
    storm.waiting = calloc((size_t)o->conns, sizeof *storm.waiting);
    if (!storm.clients || !storm.waiting)
        die("no memory for %d clients", o->conns);
    make_request(&storm.status, o->status, NULL, "");
    for (int round = 1; round <= o->rounds; round++) {
        quiet(round);
        storm_round(round);
        disconnect_clients();
        report_errors(round);
    }
    worker_end();
    samples_free(&storm.currents);
    samples_free(&storm.creates);
    free(storm.clients);
    free(storm.waiting);
    request_free(&storm.status);
    crowd_free();
}

#endif

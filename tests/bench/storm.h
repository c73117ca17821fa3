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
 * A create's time is from when it was due. Those of the storm are those due before the last client
 * was current.
 */
#ifndef ENCKE_BENCH_STORM_H
#define ENCKE_BENCH_STORM_H

#include "tests/bench/behind.h"
#include "tests/bench/publish.h"

enum { STORM_MAX_S = 120 };

enum client_state { CLIENT_BEHIND, CLIENT_CURRENT, CLIENT_DONE, CLIENT_FAILED };

struct client {
    enum client_state state;
    struct cursors cursors;
};

static struct storm {
    struct client *clients; /* one a reader */
    struct request status;
    uint64_t start_ns, current_ns, held_ns; /* the first connect; the last was current, done */
    int count[CLIENT_FAILED + 1];           /* of the clients that have come to that */
    struct samples currents;                /* when clients became current, since the start */
    uint64_t answers, messages;
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

static void client_news(struct reader *r, enum conn_news news)
{
    struct client *client = &storm.clients[r->conn->number];
    bool good;

    count_news(news);
    if (news == CONN_NOTHING)
        return;
    good = news == CONN_ANSWERED && count_status(r->conn->answer.status);
    if (good && !client_answer(client, r->conn->read_ns))
        return;
    if (!good || !client_ask(r, client))
        client_move(client, CLIENT_FAILED);
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
static bool all_current(const struct campaign *c, enum reader_sort sort)
{
    (void)c;
    (void)sort;
    return (int)storm.currents.n + storm.count[CLIENT_FAILED] >= crowd.n;
}

static bool all_done(const struct campaign *c, enum reader_sort sort)
{
    (void)c;
    (void)sort;
    return storm.count[CLIENT_DONE] + storm.count[CLIENT_FAILED] >= crowd.n;
}

/* The times of the creates from number `first` on that were due before then. */
static void report_creates(int round, const char *phase, uint32_t first, uint64_t until_ns)
{
    struct samples samples = {0};
    char name[32];

    for (uint32_t i = first; i < crowd.book.published; i++) {
        const struct book_entry *entry = &crowd.book.of[i];

        if (entry->due_ns < until_ns && entry->acked_ns)
            samples_add(&samples, entry->acked_ns - entry->due_ns);
    }
    snprintf(name, sizeof name, "%s_creates", phase);
    figures_add(&load.figures, round, name, (double)samples.n);
    report_times(round, phase, "create", &samples);
    samples_free(&samples);
}

static void quiet(int round)
{
    const struct options *o = &load.options;
    struct campaign c = {.messages = (uint32_t)(o->rate * o->seconds),
                         .interval_ns = 1000000000U / (unsigned)o->rate};
    uint32_t first = crowd.book.published;

    if (!campaign_run(&c, PROMPT, UINT64_MAX, campaign_over))
        die("the creates are not answered");
    report_creates(round, "quiet", first, UINT64_MAX);
    delays_free(&c.acks);
}

/* Begins the connects, and lets messages be published between. */
static void connect_clients(struct campaign *c, uint64_t choice)
{
    for (int i = 0; i < crowd.n; i++) {
        client_start(i, choice);
        if ((i + 1) % load.options.batch == 0)
            campaign_step(c, 0);
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
    figures_add(f, round, "current_s", (double)(storm.current_ns - storm.start_ns) / 1e9);
    figures_add(f, round, "current_p50_s", samples_ms(&storm.currents, 0.5) / 1e3);
    figures_add(f, round, "current_p99_s", samples_ms(&storm.currents, 0.99) / 1e3);
    figures_add(f, round, "held_s", (double)(storm.held_ns - storm.start_ns) / 1e9);
    figures_add(f, round, "answers", (double)storm.answers);
    figures_add(f, round, "messages", (double)storm.messages);
    figures_add(f, round, "mib", (double)bytes / 1048576);
    report_cpu(round, "storm_cpu_ms", before, after, 1);
}

/* How many messages were due by then; those that found no publisher free are still to be sent. */
static uint32_t due_by(const struct campaign *c, uint64_t ns)
{
    uint64_t due = ns > c->first_ns ? (ns - c->first_ns) / c->interval_ns + 1 : 0;

    return due > c->sent ? (uint32_t)due : c->sent;
}

static void storm_round(int round)
{
    struct campaign c = {.messages = UINT32_MAX,
                         .interval_ns = 1000000000U / (unsigned)load.options.rate};
    uint64_t choice = (uint64_t)load.options.behind, until;
    uint32_t first = crowd.book.published;
    struct spent before = {0}, after = {0};
    bool done;

    behind_look(&storm.status);
    if (behind.head < 2)
        die("the log has no messages that a client could have missed: call `load feed` before");
    choice = choice < behind.head - 1 ? choice : behind.head - 1;
    memset(storm.count, 0, sizeof storm.count);
    samples_clear(&storm.currents);
    storm.answers = storm.messages = 0;
    read_cpu(&before);
    storm.start_ns = storm.current_ns = storm.held_ns = clock_ns();
    until = storm.start_ns + STORM_MAX_S * 1000000000ULL;
    campaign_begin(&c);
    connect_clients(&c, choice);
    done = campaign_run(&c, PROMPT, until, all_current);
    read_cpu(&after);
    done = done && campaign_run(&c, PROMPT, until, all_done);
    c.messages = due_by(&c, storm.current_ns);
    campaign_run(&c, PROMPT, UINT64_MAX, campaign_over);
    if (!done)
        load.errors.unanswered +=
            (unsigned)(crowd.n - storm.count[CLIENT_DONE] - storm.count[CLIENT_FAILED]);
    report_storm(round, choice, &before, &after);
    report_creates(round, "storm", first, storm.current_ns);
    delays_free(&c.acks);
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
    crowd_start(o->conns, o->publishers);
    crowd.reader_news = client_news;
    publishers_start(o->publishers);
    storm.clients = calloc((size_t)o->conns, sizeof *storm.clients);
    if (!storm.clients)
        die("no memory for %d clients", o->conns);
    make_request(&storm.status, o->status, NULL, "");
    for (int round = 1; round <= o->rounds; round++) {
        quiet(round);
        storm_round(round);
        disconnect_clients();
        report_errors(round);
    }
    samples_free(&storm.currents);
    free(storm.clients);
    request_free(&storm.status);
    publishers_free();
    crowd_free();
}

#endif

/* load.c - the load generator: many held requests or streams and one publish, streams that do not
 * read, or many requests a second.
 *
 *     load fanout  [options] BASE      BASE is where the server's endpoints are, with its slash
 *     load streams [options] BASE
 *     load chain   [options] BASE
 *     load slow    [options] BASE
 *     load feed    [options] BASE
 *     load catchup [options] BASE
 *     load storm   [options] BASE
 *     load rate    [options] URL
 *
 * An address is http://127.0.0.1:PORT/PATH; or, with no web server between, fcgi:SOCKET:/PATH to
 * speak FastCGI to the socket, and unix:SOCKET:/PATH to speak HTTP to it (WebSockets do).
 * Other servers than Encke are asked in their own dialect (dialect.h). `load --help` lists the
 * options.
 *
 * `fanout` holds N long polls on N connections, waits until the server's own status counts them
 * all, publishes once on a further connection, and times every answer; round after round on the
 * same connections. `streams` does it with N streams, and can publish at a rate instead. `chain`
 * has one reader, and publishes one message after the other. `slow` opens N streams that do not
 * read, and shows what that does to creates, to other readers, and to the server's memory; then
 * lets them read. `feed` publishes with nobody to read. `catchup` asks for what follows random old
 * cursors. `storm` has N clients with such cursors come back at once. `rate` keeps C connections
 * busy for some seconds, one request at a time each.
 *
 * One thread, and one process; but storm has a second one that publishes (apart.h). Everything is
 * bounded: connections, rounds and seconds by the options, each wait by --give-up. An answer that
 * is not a 2xx, comes early, lacks the message or does not come is an error, and so is a stream
 * that ends, misses a message, or gets one twice or out of order; errors are counted by kind and
 * always shown.
 */
#include <getopt.h>

#include "tests/bench/catchup.h"
#include "tests/bench/chain.h"
#include "tests/bench/fanout.h"
#include "tests/bench/feed.h"
#include "tests/bench/loadgen.h"
#include "tests/bench/number.h"
#include "tests/bench/rate.h"
#include "tests/bench/slow.h"
#include "tests/bench/storm.h"
#include "tests/bench/streams.h"

static const char usage[] =
    "usage: load fanout|streams|chain|slow|feed|catchup|storm [options] BASE\n"
    "       load rate                                         [options] URL\n"
    "BASE, URL: http://127.0.0.1:PORT/PATH, or fcgi:SOCKET:/PATH without a web server\n"
    "  -n, --conns N         connections (1000, rate 64, catchup 1, storm 8000); slow: those that\n"
    "                        do not read\n"
    "  -g, --give-up S       how long any one thing may take (10)\n"
    "      --dialect NAME    encke, or nchan (encke): what the server speaks; nchan at update,\n"
    "                        events and websocket (with nchan_subscriber_first_message newest),\n"
    "                        publish, and status (nchan_stub_status)\n"
    "  -w, --watch NAME=PID[,PID...]  report the CPU of these processes too; may be repeated\n"
    "  -c, --csv             lines of round,figure,value\n"
    "fanout, rate:\n"
    "      --vary N          add &q=0 to &q=N-1 to what is asked: so many different queries\n"
    "all but rate and catchup (of two defaults the second is nchan's):\n"
    "  -s, --size BYTES      length of a message (60, slow 1024)\n"
    "      --publish REST    where the message is posted (create; publish)\n"
    "      --form TEXT       what stands before the message in the body (msg=; nothing)\n"
    "      --type TYPE       the body's content type (application/x-www-form-urlencoded;\n"
    "                        text/plain)\n"
    "      --publish-at BASE where messages are published, if not at BASE: at the upstream\n"
    "fanout, streams, slow, storm:\n"
    "  -b, --batch N         requests on their way to being held at a time (500); storm: connects\n"
    "                        begun before anything else is looked at\n"
    "all but rate and feed:\n"
    "      --poll REST       what is held (update?id=now; update)\n"
    "      --status REST     where the server says how many it holds (status)\n"
    "      --held TEXT       what stands before that number (\"holds\":; subscribers: )\n"
    "fanout, streams, slow:\n"
    "  -r, --rounds R        publishes (10); slow: rounds of two campaigns (1)\n"
    "  -i, --idle S          before the first publish, watch what is held for S seconds (0)\n"
    "      --relay NAME      what is held is relayed to that upstream, which is at --publish-at:\n"
    "                        before a publish, wait until it holds what was asked, coalesced\n"
    "streams, chain, slow:\n"
    "  -k, --kind KIND       sse, lines, iframe or ws (sse); not slow: poll, as --poll says;\n"
    "                        streams: several, as sse,ws, share the connections\n"
    "      --stream REST     what a stream asks for (events?id=now; events; or as its kind is)\n"
    "      --streams-at BASE where streams are, if not at BASE: unix:SOCKET:/PATH for ws; of\n"
    "                        several kinds only ws is there\n"
    "streams, slow, feed, storm:\n"
    "  -P, --publishers P    connections that publish (streams 4, slow 16, feed 64, storm 16)\n"
    "streams, slow, storm:\n"
    "      --rate M          publish M messages a second (streams: instead of rounds; storm 100)\n"
    "streams with --rate:\n"
    "  -t, --seconds S       for how long (5)\n"
    "chain, slow, feed:\n"
    "  -m, --messages K      how many in all; slow: a campaign (10000)\n"
    "slow:\n"
    "      --readers N       streams that do read (10)\n"
    "      --polls N         long polls (10)\n"
    "catchup:\n"
    "  -t, --seconds S       how long to measure, after half a second that is not (5)\n"
    "  -m, --messages K      or so many requests instead\n"
    "      --limit L         messages an answer (100)\n"
    "      --behind M        cursors are of the log's last M messages (0: from anywhere in it)\n"
    "storm:\n"
    "  -r, --rounds R        storms (1)\n"
    "  -t, --seconds S       of quiet before each (5)\n"
    "      --limit L         messages an answer at most (1000)\n"
    "      --behind M        cursors are of the log's last M messages (10000)\n"
    "rate:\n"
    "  -t, --seconds S       how long to measure, after half a second that is not (5)\n"
    "  -p, --post BODY       a POST with this body, instead of a GET\n"
    "      --type TYPE       its content type, as above\n"
    "      --expect TEXT     what each answer must have in its body, within 6 KB\n";

static int number_option(const char *name, const char *text, int least, int most)
{
    int value;

    if (!number_read(text, least, most, &value))
        die("--%s is a number from %d to %d, not '%s'", name, least, most, text);
    return value;
}

static void add_watch(const char *spec)
{
    if (load.watches == WATCHES || !watch_parse(&load.watch[load.watches++], spec))
        die("--watch is NAME=PID[,PID...] with processes that run, not '%s'", spec);
}

/* Options that are a number or a text: where it goes. */
struct row {
    const char *name;
    int letter; /* 0: has none */
    int *number;
    int least, most;
    const char **text;
};

#define NUMBER(field) .number = &load.options.field
#define TEXT(field) .text = &load.options.field

static const struct row rows[] = {
    {"conns", 'n', NUMBER(conns), 1, CONNS_MAX},
    {"give-up", 'g', NUMBER(give_up_s), 1, 600},
    {"rounds", 'r', NUMBER(rounds), 1, FIGURES_ROUNDS},
    {"size", 's', NUMBER(size), 1, SIZE_MAX_BYTES},
    {"batch", 'b', NUMBER(batch), 1, CONNS_MAX},
    {"idle", 'i', NUMBER(idle_s), 0, 600},
    {"dialect", 0, TEXT(dialect)},
    {"poll", 0, TEXT(poll)},
    {"publish", 0, TEXT(publish)},
    {"form", 0, TEXT(form)},
    {"status", 0, TEXT(status)},
    {"held", 0, TEXT(held)},
    {"kind", 'k', TEXT(kind)},
    {"stream", 0, TEXT(stream)},
    {"streams-at", 0, TEXT(streams_at)},
    {"publishers", 'P', NUMBER(publishers), 1, PUBLISHERS_MAX},
    {"rate", 0, NUMBER(rate), 1, 100000},
    {"messages", 'm', NUMBER(messages), 2, 100000000},
    {"readers", 0, NUMBER(readers), 1, 1000},
    {"polls", 0, NUMBER(polls), 0, 1000},
    {"limit", 0, NUMBER(limit), 1, 1000},
    {"behind", 0, NUMBER(behind), 0, 1000000000},
    {"vary", 0, NUMBER(vary), 1, 1000000000},
    {"publish-at", 0, TEXT(publish_at)},
    {"relay", 0, TEXT(relay)},
    {"seconds", 't', NUMBER(seconds), 1, 600},
    {"post", 'p', TEXT(post)},
    {"type", 0, TEXT(type)},
    {"expect", 0, TEXT(expect)},
};
enum { ROWS = sizeof rows / sizeof *rows };

/* What getopt_long tells of an option is its letter, or this and the row. */
enum { ROW = 256 };

static void take_option(int option, const char *text)
{
    for (int i = 0; i < ROWS; i++) {
        const struct row *row = rows + i;

        if (option != ROW + i && (option != row->letter || !row->letter))
            continue;
        if (row->number)
            *row->number = number_option(row->name, text, row->least, row->most);
        else
            *row->text = text;
        return;
    }
    if (option == 'w') {
        add_watch(text);
    } else if (option == 'c') {
        load.figures.csv = true;
    } else if (option == 'h') {
        fputs(usage, stdout);
        exit(0);
    } else {
        fputs(usage, stderr);
        exit(2);
    }
}

static void take_options(int argc, char **argv)
{
    struct option known[ROWS + 4] = {0};
    int option;

    for (int i = 0; i < ROWS; i++)
        known[i] = (struct option){rows[i].name, required_argument, NULL, ROW + i};
    known[ROWS] = (struct option){"watch", required_argument, NULL, 'w'};
    known[ROWS + 1] = (struct option){"csv", no_argument, NULL, 'c'};
    known[ROWS + 2] = (struct option){"help", no_argument, NULL, 'h'};
    while ((option = getopt_long(argc, argv, "n:g:w:cr:s:b:i:k:P:m:t:p:h", known, NULL)) != -1)
        take_option(option, optarg);
}

/* What has not been told is as the server's dialect has it. */
static void take_dialect(void)
{
    struct options *o = &load.options;
    const struct dialect *d = load.dialect = dialect_named(o->dialect);

    if (!d)
        die("--dialect is encke or nchan, not '%s'", o->dialect);
    if (d->counts_all && load.target.fcgi)
        die("%s does not speak FastCGI", d->name);
    o->poll = o->poll ? o->poll : d->poll;
    o->publish = o->publish ? o->publish : d->publish;
    o->form = o->form ? o->form : d->form;
    o->type = o->type ? o->type : d->type;
    o->status = o->status ? o->status : d->status;
    o->held = o->held ? o->held : d->held;
}

static const struct mode {
    const char *name;
    void (*run)(void);
    struct options unless_told;
} modes[] = {
    {"fanout", run_fanout, {.conns = 1000, .rounds = 10, .size = 60}},
    {"streams", run_streams, {.conns = 1000, .rounds = 10, .size = 60, .publishers = 4}},
    {"chain", run_chain, {.size = 60, .messages = 10000}},
    {"slow",
     run_slow,
     {.conns = 1000, .rounds = 1, .size = 1024, .publishers = 16, .messages = 10000}},
    {"feed", run_feed, {.size = 60, .publishers = 64, .messages = 10000}},
    {"catchup", run_catchup, {.conns = 1, .limit = 100}},
    {"storm",
     run_storm,
     {.conns = 8000,
      .rounds = 1,
      .size = 60,
      .publishers = 16,
      .rate = 100,
      .limit = 1000,
      .behind = 10000}},
    {"rate", run_rate, {.conns = 64}},
};

/* What all modes have in common of what is not told. */
static void take_defaults(const struct options *unless_told)
{
    struct options *o = &load.options;

    *o = *unless_told;
    o->batch = 500;
    o->seconds = 5;
    o->give_up_s = 10;
    o->readers = o->polls = 10;
    o->dialect = "encke";
    o->kind = "sse";
}

int main(int argc, char **argv)
{
    const struct mode *mode = NULL;

    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (argc > 1 && strcmp(argv[1], modes[i].name) == 0)
            mode = modes + i;
    if (mode)
        take_defaults(&mode->unless_told);
    optind = mode ? 2 : 1;
    take_options(argc, argv);
    if (!mode || optind + 1 != argc)
        take_option('?', NULL);
    if (!target_parse(&load.target, argv[optind]))
        die("'%s' is not http://127.0.0.1:PORT/PATH, fcgi:SOCKET:/PATH or unix:SOCKET:/PATH",
            argv[optind]);
    take_dialect();
    load.publish_at = load.target;
    if (load.options.publish_at && !target_parse(&load.publish_at, load.options.publish_at))
        die("--publish-at is an address like BASE, not '%s'", load.options.publish_at);
    if (load.options.relay && !load.options.publish_at)
        die("--relay needs --publish-at, where the upstream is");
    setvbuf(stdout, NULL, _IOLBF, 0); /* whoever runs this beside others waits for its figures */
    mode->run();
    figures_print(&load.figures);
    return 0;
}

/* load.c - the load generator: many held requests and one publish, or many requests a second.
 *
 *     load fanout [options] BASE      BASE is where the server's endpoints are, with its slash
 *     load rate   [options] URL
 *
 * An address is http://127.0.0.1:PORT/PATH, or fcgi:SOCKET:/PATH to speak FastCGI to the socket
 * with no web server between. `load --help` lists the options.
 *
 * `fanout` holds N long polls on N connections, waits until the server's own status counts them
 * all, publishes once on a further connection, and times every answer; round after round on the
 * same connections. `rate` keeps C connections busy for some seconds, one request at a time each.
 *
 * One process, one thread. Everything is bounded: connections, rounds and seconds by the options,
 * each wait by --give-up. An answer that is not a 200, comes early, lacks the message or does not
 * come is an error; errors are counted by kind and always shown.
 */
#include <getopt.h>

#include "tests/bench/fanout.h"
#include "tests/bench/rate.h"
#include "tests/bench/loadgen.h"

static const char usage[] =
    "usage: load fanout [options] BASE\n"
    "       load rate   [options] URL\n"
    "BASE, URL: http://127.0.0.1:PORT/PATH, or fcgi:SOCKET:/PATH without a web server\n"
    "  -n, --conns N         connections (fanout 1000, rate 64)\n"
    "  -g, --give-up S       how long any one thing may take (10)\n"
    "  -w, --watch NAME=PID[,PID...]  report the CPU of these processes too; may be repeated\n"
    "  -c, --csv             lines of round,figure,value\n"
    "fanout:\n"
    "  -r, --rounds R        publishes (10)\n"
    "  -s, --size BYTES      length of the message (60)\n"
    "  -b, --batch N         requests on their way to being held at a time (500)\n"
    "  -i, --idle S          before the first publish, watch the holds for S seconds (0)\n"
    "      --poll REST       what is held (update?id=now)\n"
    "      --publish REST    where the message is posted (create)\n"
    "      --form TEXT       what stands before the message in the body (msg=)\n"
    "      --status REST     where the server says how many it holds (status)\n"
    "      --held TEXT       what stands before that number (\"holds\":)\n"
    "rate:\n"
    "  -t, --seconds S       how long to measure, after half a second that is not (5)\n"
    "  -p, --post BODY       a POST with this body, instead of a GET\n"
    "      --type TYPE       its content type (application/x-www-form-urlencoded)\n";

static int number_option(const char *name, const char *text, int least, int most)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (end == text || *end || value < least || value > most)
        die("--%s is a number from %d to %d, not '%s'", name, least, most, text);
    return (int)value;
}

static void add_watch(const char *spec)
{
    if (load.watches == WATCHES || !watch_parse(&load.watch[load.watches++], spec))
        die("--watch is NAME=PID[,PID...] with processes that run, not '%s'", spec);
}

enum { OPT_POLL = 256, OPT_PUBLISH, OPT_FORM, OPT_STATUS, OPT_HELD, OPT_TYPE };

static const struct option long_options[] = {
    {"conns", required_argument, NULL, 'n'},
    {"give-up", required_argument, NULL, 'g'},
    {"watch", required_argument, NULL, 'w'},
    {"csv", no_argument, NULL, 'c'},
    {"rounds", required_argument, NULL, 'r'},
    {"size", required_argument, NULL, 's'},
    {"batch", required_argument, NULL, 'b'},
    {"idle", required_argument, NULL, 'i'},
    {"poll", required_argument, NULL, OPT_POLL},
    {"publish", required_argument, NULL, OPT_PUBLISH},
    {"form", required_argument, NULL, OPT_FORM},
    {"status", required_argument, NULL, OPT_STATUS},
    {"held", required_argument, NULL, OPT_HELD},
    {"seconds", required_argument, NULL, 't'},
    {"post", required_argument, NULL, 'p'},
    {"type", required_argument, NULL, OPT_TYPE},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static void take_option(int option, const char *text)
{
    struct options *o = &load.options;

    switch (option) {
    case 'n':
        o->conns = number_option("conns", text, 1, CONNS_MAX);
        break;
    case 'g':
        o->give_up_s = number_option("give-up", text, 1, 600);
        break;
    case 'w':
        add_watch(text);
        break;
    case 'c':
        load.figures.csv = true;
        break;
    case 'r':
        o->rounds = number_option("rounds", text, 1, FIGURES_ROUNDS);
        break;
    case 's':
        o->size = number_option("size", text, 1, SIZE_MAX_BYTES);
        break;
    case 'b':
        o->batch = number_option("batch", text, 1, CONNS_MAX);
        break;
    case 'i':
        o->idle_s = number_option("idle", text, 0, 600);
        break;
    case 't':
        o->seconds = number_option("seconds", text, 1, 600);
        break;
    case 'p':
        o->post = text;
        break;
    case OPT_POLL:
        o->poll = text;
        break;
    case OPT_PUBLISH:
        o->publish = text;
        break;
    case OPT_FORM:
        o->form = text;
        break;
    case OPT_STATUS:
        o->status = text;
        break;
    case OPT_HELD:
        o->held = text;
        break;
    case OPT_TYPE:
        o->type = text;
        break;
    case 'h':
        fputs(usage, stdout);
        exit(0);
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    bool fanout = argc > 1 && strcmp(argv[1], "fanout") == 0;
    bool rate = argc > 1 && strcmp(argv[1], "rate") == 0;
    int option;

    load.options = (struct options){.conns = fanout ? 1000 : 64,
                                    .rounds = 10,
                                    .size = 60,
                                    .batch = 500,
                                    .seconds = 5,
                                    .give_up_s = 10,
                                    .poll = "update?id=now",
                                    .publish = "create",
                                    .form = "msg=",
                                    .status = "status",
                                    .held = "\"holds\":",
                                    .type = form_type};
    optind = fanout || rate ? 2 : 1;
    while ((option = getopt_long(argc, argv, "n:g:w:cr:s:b:i:t:p:h", long_options, NULL)) != -1)
        take_option(option, optarg);
    if (!(fanout || rate) || optind + 1 != argc)
        take_option('?', NULL);
    if (!target_parse(&load.target, argv[optind]))
        die("'%s' is neither http://127.0.0.1:PORT/PATH nor fcgi:SOCKET:/PATH", argv[optind]);
    open_all();
    if (fanout)
        run_fanout();
    else
        run_rate();
    figures_print(&load.figures);
    close_all();
    return 0;
}

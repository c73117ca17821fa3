#include "fcgi/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fcgi/conflicts.h"
#include "fcgi/wire/origin.h"
#include "fcgi/spelling.h"

#ifndef ENCKE_VERSION
#define ENCKE_VERSION "unknown"
#endif

enum kind { TEXT, REPEATED, PREFIX, ORIGINS, NUMBER, OCTAL, SIZE, AGE, YES_NO, LEVEL };

struct row {
    const char *name;
    const char *argument; /* as --help shows it */
    enum kind kind;
    size_t offset; /* in struct options */
    const char *standard;
    int64_t least, most;
    const char *help;
};

#define AT(field) offsetof(struct options, field)
#define FOREVER (INT64_C(100) * 365 * 86400)
#define TERABYTE (INT64_C(1) << 40)

static const struct row rows[] = {
    {"socket", "PATH", TEXT, AT(socket), NULL, 0, 0,
     "unix socket for the web server; not needed if\none is inherited"},
    {"socket-mode", "MODE", OCTAL, AT(socket_mode), "0660", 0, 0777, "its permissions"},
    {"db", "PATH", TEXT, AT(db), NULL, 0, 0, "the message log, an SQLite file; made if missing"},
    {"mount", "PATH", PREFIX, AT(mount), NULL, 0, 0,
     "where the endpoints are, such as /comet/: create\nis only /comet/create then; else any path "
     "that\nends in /create is"},
    {"origin", "LIST", ORIGINS, AT(origin), NULL, 0, 0,
     "origins, parted by commas, whose pages may\npublish and open WebSockets besides the "
     "same\nhost's; any: all"},
    {"hold", "SECONDS", NUMBER, AT(hold_s), "55", 1, 3600,
     "hold a request so long, less a random tenth"},
    {"hold-max", "SECONDS", NUMBER, AT(hold_max_s), "120", 1, 3600,
     "the longest hold a client may ask for; keep\nthe web server's read timeout above it"},
    {"stream", "TIME", AGE, AT(stream_s), "10m", 1, 86400,
     "end a stream after so long, less a random\ntenth; its reader comes back where it was"},
    {"heartbeat", "SECONDS", NUMBER, AT(heartbeat_s), "25", 1, 3600,
     "say something in every stream so often; keep\nthe web server's read timeout above it"},
    {"max-holds", "N", NUMBER, AT(max_holds), "20000", 1, 10000000,
     "requests held and streams open at once; more\nget 503"},
    {"max-message", "SIZE", SIZE, AT(max_message), "64K", 1, 8 << 20,
     "bytes of one message; more get 413"},
    {"max-channels", "N", NUMBER, AT(max_channels), "32", 1, 512, "channels of one request"},
    {"keep-messages", "N", NUMBER, AT(keep_messages), "10000", 0, TERABYTE,
     "messages kept in a channel; 0: no limit"},
    {"keep-age", "TIME", AGE, AT(keep_age_s), "7d", 0, FOREVER,
     "how long messages are kept; 0: no limit"},
    {"keep-bytes", "SIZE", SIZE, AT(keep_bytes), "1G", 0, 1024 * TERABYTE,
     "bytes of all messages kept; 0: no limit"},
    {"memory", "SIZE", SIZE, AT(memory_bytes), "16M", 0, TERABYTE,
     "bytes of recent messages held in memory"},
    {"queue", "SIZE", SIZE, AT(queue_bytes), "64M", 1, TERABYTE,
     "bytes of messages that may wait for the disk;\nmore get 503"},
    {"unsent", "SIZE", SIZE, AT(unsent_bytes), "32M", 1 << 20, TERABYTE,
     "bytes that readers have not taken; beyond it\nwho takes nothing is cut off"},
    {"request-timeout", "SECONDS", NUMBER, AT(request_timeout_s), "10", 1, 3600,
     "for a request to arrive whole, and for a\nstuck answer to move"},
    {"websocket-socket", "PATH", TEXT, AT(websocket_socket), NULL, 0, 0,
     "a second unix socket, for WebSockets (HTTP/1.1)"},
    {"websocket-create", "yes|no", YES_NO, AT(websocket_create), "no", 0, 0,
     "whether what clients send is published"},
    {"websocket-rate", "N", NUMBER, AT(websocket_rate), "100", 1, 1000000,
     "frames a second that a client may send in the\nlong run; ten times as many in a burst"},
    {"upstream", "[NAME=]URL", REPEATED, AT(upstream), NULL, 0, 0,
     "subscribe is relayed to this comet server; may\nbe repeated, as may the next three"},
    {"upstream-params", "[NAME=]LIST", REPEATED, AT(upstream_params), NULL, 0, 0,
     "what clients may add to its query, parted by\ncommas; else all"},
    {"upstream-channel", "[NAME=]CHANNEL", REPEATED, AT(upstream_channel), NULL, 0, 0,
     "append its answers to this channel"},
    {"upstream-cursor", "[NAME=]P:F", REPEATED, AT(upstream_cursor), NULL, 0, 0,
     "for that, go on with parameter P as the last\nanswer's JSON field F says; else id:id"},
    {"upstream-ca", "FILE", TEXT, AT(upstream_ca), NULL, 0, 0,
     "certificates to trust, instead of the system's"},
    {"upstream-proxy", "URL", TEXT, AT(upstream_proxy), NULL, 0, 0,
     "proxy to reach upstreams by; else none"},
    {"upstream-timeout", "SECONDS", NUMBER, AT(upstream_timeout_s), "100", 1, 3600,
     "for a request to an upstream, whole; 10 s of\nit at most to connect"},
    {"upstream-answer", "SIZE", SIZE, AT(upstream_answer), "1M", 1 << 10, 64 << 20,
     "bytes of the largest answer passed on"},
    {"upstream-requests", "N", NUMBER, AT(upstream_requests), "1000", 1, 100000,
     "different requests to upstreams under way;\nmore get 503"},
    {"log-level", "LEVEL", LEVEL, AT(log_level), "info", 0, 0, "error, warn, info or debug"},
};
enum {
    ROWS = sizeof rows / sizeof *rows,
    HELP = ROWS,
    SHOW_VERSION,
    NAME_SIZE = 64,
    LEFT_COLUMN = 26
};
static_assert(ROWS <= 64, "options.given has a bit for each");

#define ENVIRONMENT "ENCKE_"

/* Its text in a column of its own, which begins a line later if the name is too long. */
static void help_row(const struct row *row)
{
    char left[40];
    bool fits = snprintf(left, sizeof left, "--%s %s", row->name, row->argument) <= LEFT_COLUMN;
    printf("  %-*s%s", LEFT_COLUMN, left, fits ? "" : "\n");
    bool first = fits;
    for (const char *line = row->help; *line; line += strspn(line, "\n"), first = false) {
        size_t len = strcspn(line, "\n");
        printf("%*s%.*s%s", first ? 1 : LEFT_COLUMN + 3, "", (int)len, line, line[len] ? "\n" : "");
        line += len;
    }
    if (row->standard)
        printf(" (%s)", row->standard);
    putchar('\n');
}

static void help(void)
{
    puts("Usage: encke --socket PATH --db PATH [OPTION ...]\n"
         "Live pages behind lighttpd or nginx: a FastCGI responder that holds requests\n"
         "until there is news, over a durable SQLite message log.\n");
    for (const struct row *row = rows; row < rows + ROWS; row++)
        help_row(row);
    puts("  --help                     this text\n"
         "  --version                  the version\n\n"
         "Sizes take K, M or G, times s, m, h or d. Each option may also come from the\n"
         "environment: --keep-age 1d is ENCKE_KEEP_AGE=1d; the command line wins. Options\n"
         "that contradict each other are an error, and so are other ENCKE_ variables. A\n"
         "listening socket that the daemon inherits (systemd's LISTEN_FDS, or descriptor 0\n"
         "from lighttpd or spawn-fcgi) is used instead of --socket. SIGTERM answers every\n"
         "held request, commits, and ends.\n\n"
         "  encke --socket /run/encke/encke.sock --db /var/lib/encke/encke.db\n"
         "  curl -d msg=hello http://localhost/comet/create");
}

int options_complain(const char *format, ...)
{
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    diag(DIAG_ERROR, "%s; see encke --help", text);
    return -1;
}

/* A number with an optional unit out of units, whose factors stand beside it. */
static int parse_number(const char *text, int base, const char *units, const int64_t *factors,
                        int64_t *value)
{
    char *end;
    errno = 0;
    if (*text < '0' || *text > '9')
        return -1;
    *value = strtoll(text, &end, base);
    if (errno != 0)
        return -1;
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (unit) {
        if (__builtin_mul_overflow(*value, factors[unit - units], value))
            return -1;
        end++;
    }
    return *end == '\0' ? 0 : -1;
}

static int parse_value(const struct row *row, const char *text, int64_t *value)
{
    static const int64_t sizes[] = {1 << 10, 1 << 10, 1 << 20, 1 << 20, 1 << 30, 1 << 30};
    static const int64_t times[] = {1, 60, 3600, 86400};
    int rc = -1;
    if (row->kind == NUMBER)
        rc = parse_number(text, 10, "", NULL, value);
    else if (row->kind == OCTAL)
        rc = parse_number(text, 8, "", NULL, value);
    else if (row->kind == SIZE)
        rc = parse_number(text, 10, "kKmMgG", sizes, value);
    else if (row->kind == AGE)
        rc = parse_number(text, 10, "smhd", times, value);
    return rc == 0 && *value >= row->least && *value <= row->most ? 0 : -1;
}

/* Of a path as clients write it: what may be written in two ways, %-escapes say, is not compared.
 */
static bool prefix_valid(const char *text)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._~-/";
    size_t len = strlen(text);
    return len > 0 && text[0] == '/' && text[len - 1] == '/' && strspn(text, allowed) == len;
}

struct phrase {
    char text[128];
};

/* What values of the row look like. */
static struct phrase describe(const struct row *row)
{
    static const char *const texts[] = {
        [PREFIX] =
            "a path of letters, digits and . _ ~ - that begins and ends with /, such as /comet/",
        [ORIGINS] = "any, or origins such as https://www.example.org with commas between",
        [OCTAL] = "an octal mode such as 0660",
        [YES_NO] = "yes or no",
        [LEVEL] = "error, warn, info or debug",
        [NUMBER] = "a whole number",
        [SIZE] = "a size",
        [AGE] = "a time",
    };
    static const char *const units[LEVEL + 1] = {
        [SIZE] = " (bytes, or with K, M, G)", [AGE] = " (seconds, or with s, m, h, d)"};
    struct phrase phrase;
    if (row->kind == NUMBER || row->kind == SIZE || row->kind == AGE)
        snprintf(phrase.text, sizeof phrase.text, "%s from %lld to %lld%s", texts[row->kind],
                 (long long)row->least, (long long)row->most,
                 units[row->kind] ? units[row->kind] : "");
    else
        snprintf(phrase.text, sizeof phrase.text, "%s", texts[row->kind]);
    return phrase;
}

/* Stores what text says into the row's field, unless it says nothing of the kind. */
static bool understand(const struct row *row, const char *text, void *field)
{
    if (row->kind == YES_NO) {
        *(bool *)field = strcmp(text, "yes") == 0;
        return *(bool *)field || strcmp(text, "no") == 0;
    }
    if (row->kind == LEVEL)
        return diag_level_parse(text, field);
    if (row->kind != TEXT && row->kind != PREFIX && row->kind != ORIGINS)
        return parse_value(row, text, field) == 0;
    *(const char **)field = text;
    return row->kind == TEXT ||
           (row->kind == PREFIX ? prefix_valid(text) : origin_list_valid(text));
}

/* Stores text into the row's field; origin is what a person typed, for the complaint. */
static int set(struct options *options, const struct row *row, const char *text, const char *origin)
{
    void *field = (char *)options + row->offset;
    if (!*text)
        return options_complain("%s is empty", origin);
    if (row->kind == REPEATED) {
        struct given *given = field;
        if (given->count == GIVEN_MAX)
            return options_complain("%s may be given %d times", origin, GIVEN_MAX);
        given->texts[given->count++] = text;
        return 0;
    }
    if (understand(row, text, field))
        return 0;
    char shown[NAME_SIZE];
    snprintf(shown, sizeof shown, "%s", text);
    diag_printable(shown);
    return options_complain("%s is %s, not '%s'", origin, describe(row).text, shown);
}

static struct given *given_of(struct options *options, const struct row *row)
{
    return (struct given *)((char *)options + row->offset);
}

static void given_reset(struct given *given)
{
    free(given->copy);
    *given = (struct given){0};
}

/* Several values in one variable, parted by blanks. */
static int set_each(struct options *options, const struct row *row, const char *texts,
                    const char *origin)
{
    struct given *given = given_of(options, row);
    char *rest;
    given->copy = strdup(texts);
    if (!given->copy)
        return options_complain("out of memory");
    for (char *text = strtok_r(given->copy, " \t\n", &rest); text;
         text = strtok_r(NULL, " \t\n", &rest))
        if (set(options, row, text, origin) != 0)
            return -1;
    return 0;
}

/* ---- names ---- */

struct name {
    char text[NAME_SIZE];
};

/* As the environment has it. */
static struct name variable(const struct row *row)
{
    struct name name;
    snprintf(name.text, sizeof name.text, ENVIRONMENT "%s", row->name);
    for (char *c = name.text; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper(*c);
    return name;
}

/* As the command line has it. */
static struct name flag(const struct row *row)
{
    struct name name;
    snprintf(name.text, sizeof name.text, "--%s", row->name);
    return name;
}

/* What somebody may have meant who wrote so, cut it short or misspelt it; "" if nothing is near. */
static struct name nearest(const char *written, size_t len,
                           struct name (*name_of)(const struct row *))
{
    struct name best = {""};
    size_t least = 2 + len / 4; /* what is further away is another word */
    for (const struct row *row = rows; row < rows + ROWS; row++) {
        struct name name = name_of(row);
        size_t away = strncasecmp(name.text, written, len) == 0
                          ? name.text[len] != '\0'
                          : spelling_distance(name.text, written, len);
        if (away < least) {
            least = away;
            best = name;
        }
    }
    return best;
}

/* ---- the environment ---- */

bool options_given(const struct options *options, const char *name)
{
    for (int i = 0; i < ROWS; i++)
        if (strcmp(rows[i].name, name) == 0)
            return options->given >> i & 1;
    return false;
}

static void note_given(struct options *options, const struct row *row)
{
    options->given |= UINT64_C(1) << (row - rows);
}

static int from_environment(struct options *options, const struct row *row)
{
    struct name name = variable(row);
    const char *text = getenv(name.text);
    if (!text || !*text)
        return 0;
    note_given(options, row);
    return row->kind == REPEATED ? set_each(options, row, text, name.text)
                                 : set(options, row, text, name.text);
}

/* Kubernetes tells each container of a service named encke by variables such as ENCKE_PORT and
 * ENCKE_SERVICE_HOST; so did Docker's links. */
static bool tells_of_a_service(const char *entry)
{
    static const char *const begin[] = {ENVIRONMENT "SERVICE_",
                                        ENVIRONMENT "PORT=", ENVIRONMENT "PORT_"};
    for (size_t i = 0; i < sizeof begin / sizeof *begin; i++)
        if (strncmp(entry, begin[i], strlen(begin[i])) == 0)
            return true;
    return false;
}

/* An option that is misspelt would be missing in silence. */
static int expect_known_variables(void)
{
    for (char **entry = environ; *entry; entry++) {
        size_t len = strcspn(*entry, "=");
        if (strncmp(*entry, ENVIRONMENT, strlen(ENVIRONMENT)) != 0 || tells_of_a_service(*entry))
            continue;
        struct name near = nearest(*entry, len, variable);
        if (strlen(near.text) == len && memcmp(near.text, *entry, len) == 0)
            continue;
        char shown[NAME_SIZE];
        snprintf(shown, sizeof shown, "%.*s", (int)len, *entry);
        diag_printable(shown);
        return options_complain("%s in the environment is no option%s%s", shown,
                                *near.text ? ", the nearest is " : "", near.text);
    }
    return 0;
}

static int start_values(struct options *options)
{
    *options = (struct options){0};
    for (const struct row *row = rows; row < rows + ROWS; row++) {
        if (row->standard && set(options, row, row->standard, row->name) != 0)
            return -1;
        if (from_environment(options, row) != 0)
            return -1;
    }
    return 0;
}

/* ---- the command line ---- */

static void complain_of(const char *written, bool wants_value)
{
    if (wants_value) {
        options_complain("%s wants a value", written);
        return;
    }
    struct name near = nearest(written, strcspn(written, "="), flag);
    options_complain("unknown or ambiguous option %s%s%s", written,
                     *near.text ? ", the nearest is " : "", near.text);
}

enum options_verdict options_parse(struct options *options, int argc, char **argv)
{
    struct option known[ROWS + 3] = {0};
    for (int i = 0; i < ROWS; i++)
        known[i] = (struct option){rows[i].name, required_argument, NULL, i};
    known[HELP] = (struct option){"help", no_argument, NULL, HELP};
    known[SHOW_VERSION] = (struct option){"version", no_argument, NULL, SHOW_VERSION};

    if (start_values(options) != 0)
        return OPTIONS_BAD;
    bool said[ROWS] = {false}; /* on the command line, which wins over the environment as a whole */
    int at, which;
    opterr = 0; /* the complaints are ours */
    /* "+": words are left in their order, so that the one in question is known. */
    while (at = optind > 0 ? optind : 1,
           (which = getopt_long(argc, argv, "+:h", known, NULL)) != -1) {
        if (which == HELP || which == 'h') {
            help();
            return OPTIONS_DONE;
        }
        if (which == SHOW_VERSION) {
            puts("encke " ENCKE_VERSION);
            return OPTIONS_DONE;
        }
        if (which == ':' || which == '?') {
            complain_of(argv[at], which == ':');
            return OPTIONS_BAD;
        }
        if (rows[which].kind == REPEATED && !said[which])
            given_reset(given_of(options, &rows[which]));
        said[which] = true;
        note_given(options, &rows[which]);
        if (set(options, &rows[which], optarg, flag(&rows[which]).text) != 0)
            return OPTIONS_BAD;
    }
    if (optind < argc) {
        options_complain("unexpected argument '%s'", argv[optind]);
        return OPTIONS_BAD;
    }
    if (!options->db) {
        options_complain("no message log: give --db PATH (or ENCKE_DB)");
        return OPTIONS_BAD;
    }
    return expect_known_variables() == 0 && conflicts_settle(options) == 0 ? OPTIONS_RUN
                                                                           : OPTIONS_BAD;
}

void options_free(struct options *options)
{
    for (const struct row *row = rows; row < rows + ROWS; row++)
        if (row->kind == REPEATED)
            given_reset(given_of(options, row));
}

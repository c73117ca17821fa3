#include "fcgi/options_parse.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fcgi/conflicts.h"
#include "fcgi/options_help.h"
#include "fcgi/spelling.h"
#include "fcgi/wire/origin.h"

#ifndef ENCKE_VERSION
#define ENCKE_VERSION "unknown"
#endif

enum { HELP = OPTION_COUNT, SHOW_VERSION, NAME_SIZE = 64 };

#define ENVIRONMENT "ENCKE_"

/* Reads a number with or without one of the units; factors has the factor of each unit. */
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

static int parse_value(const struct option_row *row, const char *text, int64_t *value)
{
    static const int64_t sizes[] = {1 << 10, 1 << 10, 1 << 20, 1 << 20, 1 << 30, 1 << 30};
    static const int64_t times[] = {1, 60, 3600, 86400};
    int rc = -1;
    if (row->kind == OPTION_NUMBER)
        rc = parse_number(text, 10, "", NULL, value);
    else if (row->kind == OPTION_OCTAL)
        rc = parse_number(text, 8, "", NULL, value);
    else if (row->kind == OPTION_SIZE)
        rc = parse_number(text, 10, "kKmMgG", sizes, value);
    else if (row->kind == OPTION_AGE)
        rc = parse_number(text, 10, "smhd", times, value);
    return rc == 0 && *value >= row->least && *value <= row->most ? 0 : -1;
}

/* Whether text is a path that clients can write in one way only: with %-escapes, for example, they
 * could write it in two. */
static bool prefix_valid(const char *text)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._~-/";
    size_t len = strlen(text);
    return len > 0 && text[0] == '/' && text[len - 1] == '/' && strspn(text, allowed) == len;
}

/* Stores the value that text has into the row's field. Returns false if it is not of the row's
 * kind.
 */
static bool parse_into(const struct option_row *row, const char *text, void *field)
{
    if (row->kind == OPTION_YES_NO) {
        *(bool *)field = strcmp(text, "yes") == 0;
        return *(bool *)field || strcmp(text, "no") == 0;
    }
    if (row->kind == OPTION_LEVEL)
        return diag_level_parse(text, field);
    if (row->kind != OPTION_TEXT && row->kind != OPTION_PREFIX && row->kind != OPTION_ORIGINS)
        return parse_value(row, text, field) == 0;
    *(const char **)field = text;
    return row->kind == OPTION_TEXT ||
           (row->kind == OPTION_PREFIX ? prefix_valid(text) : origin_list_valid(text));
}

/* Stores text into the row's field; origin is the name that the operator wrote, for the complaint.
 */
static int set_option(struct options *options, const struct option_row *row, const char *text,
                      const char *origin)
{
    void *field = (char *)options + row->offset;
    if (!*text)
        return options_complain("%s is empty", origin);
    if (row->kind == OPTION_REPEATED) {
        struct given *given = field;
        if (given->count == GIVEN_MAX)
            return options_complain("%s may be given %d times", origin, GIVEN_MAX);
        given->texts[given->count++] = text;
        return 0;
    }
    if (parse_into(row, text, field))
        return 0;
    char shown[NAME_SIZE];
    snprintf(shown, sizeof shown, "%s", text);
    diag_printable(shown);
    return options_complain("%s is %s, not '%s'", origin, option_describe(row).text, shown);
}

static struct given *given_of(struct options *options, const struct option_row *row)
{
    return (struct given *)((char *)options + row->offset);
}

static void given_reset(struct given *given)
{
    free(given->copy);
    *given = (struct given){0};
}

/* Stores the values of one variable, separated by blanks. */
static int set_each(struct options *options, const struct option_row *row, const char *texts,
                    const char *origin)
{
    struct given *given = given_of(options, row);
    char *rest;
    given->copy = strdup(texts);
    if (!given->copy)
        return options_complain("out of memory");
    for (char *text = strtok_r(given->copy, " \t\n", &rest); text;
         text = strtok_r(NULL, " \t\n", &rest))
        if (set_option(options, row, text, origin) != 0)
            return -1;
    return 0;
}

/* ---- names ---- */

struct name {
    char text[NAME_SIZE];
};

/* The option's name in the environment. */
static struct name variable_of(const struct option_row *row)
{
    struct name name;
    snprintf(name.text, sizeof name.text, ENVIRONMENT "%s", row->name);
    for (char *c = name.text; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper(*c);
    return name;
}

/* The option's name on the command line. */
static struct name flag_of(const struct option_row *row)
{
    struct name name;
    snprintf(name.text, sizeof name.text, "--%s", row->name);
    return name;
}

/* The name that is nearest to the written one, which may be cut short or misspelt; "" if none is
 * near. */
static struct name find_nearest(const char *written, size_t len,
                                struct name (*name_of)(const struct option_row *))
{
    struct name best = {""};
    size_t least = 2 + len / 4; /* a name that differs more is another word */
    for (const struct option_row *row = option_rows; row < option_rows + OPTION_COUNT; row++) {
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

static void note_given(struct options *options, const struct option_row *row)
{
    options->given |= UINT64_C(1) << (row - option_rows);
}

static int from_environment(struct options *options, const struct option_row *row)
{
    struct name name = variable_of(row);
    const char *text = getenv(name.text);
    if (!text || !*text)
        return 0;
    note_given(options, row);
    return row->kind == OPTION_REPEATED ? set_each(options, row, text, name.text)
                                        : set_option(options, row, text, name.text);
}

/* Where a service is named encke, Kubernetes sets variables such as ENCKE_PORT and
 * ENCKE_SERVICE_HOST in each container; so did Docker's links. */
static bool is_of_a_service(const char *entry)
{
    static const char *const begin[] = {ENVIRONMENT "SERVICE_",
                                        ENVIRONMENT "PORT=", ENVIRONMENT "PORT_"};
    for (size_t i = 0; i < sizeof begin / sizeof *begin; i++)
        if (strncmp(entry, begin[i], strlen(begin[i])) == 0)
            return true;
    return false;
}

/* A misspelt variable is an error, since otherwise nobody would notice it. */
static int expect_known_variables(void)
{
    for (char **entry = environ; *entry; entry++) {
        size_t len = strcspn(*entry, "=");
        if (strncmp(*entry, ENVIRONMENT, strlen(ENVIRONMENT)) != 0 || is_of_a_service(*entry))
            continue;
        struct name near = find_nearest(*entry, len, variable_of);
        if (strlen(near.text) == len && memcmp(near.text, *entry, len) == 0)
            continue;
        char shown[NAME_SIZE];
        snprintf(shown, sizeof shown, "%.*s", (int)len, *entry);
        diag_printable(shown);
        return options_complain("%s in the environment is not an option%s%s", shown,
                                *near.text ? ", the nearest is " : "", near.text);
    }
    return 0;
}

/* Stores the defaults, and then the values in the environment. */
static int set_defaults(struct options *options)
{
    *options = (struct options){0};
    for (const struct option_row *row = option_rows; row < option_rows + OPTION_COUNT; row++) {
        if (row->standard && set_option(options, row, row->standard, row->name) != 0)
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
        options_complain("%s needs a value", written);
        return;
    }
    struct name near = find_nearest(written, strcspn(written, "="), flag_of);
    options_complain("unknown or ambiguous option %s%s%s", written,
                     *near.text ? ", the nearest is " : "", near.text);
}

/* form: the text after "--help=", or NULL. */
static enum options_verdict print_help(const char *form)
{
    if (form && strcmp(form, "man") != 0) {
        options_complain("--help takes no value, or man; not '%s'", form);
        return OPTIONS_BAD;
    }
    if (form)
        options_print_manual();
    else
        options_print_help();
    return OPTIONS_DONE;
}

/* Takes an option off the command line. The first time that a repeated one is there, it replaces
 * the values of the environment. */
static int take_option(struct options *options, const struct option_row *row, bool *seen,
                       const char *text)
{
    if (row->kind == OPTION_REPEATED && !*seen)
        given_reset(given_of(options, row));
    *seen = true;
    note_given(options, row);
    return set_option(options, row, text, flag_of(row).text);
}

static enum options_verdict parse_command_line(struct options *options, int argc, char **argv)
{
    struct option known[OPTION_COUNT + 3] = {0};
    bool seen[OPTION_COUNT] = {false};
    int at, which;
    for (int i = 0; i < OPTION_COUNT; i++)
        known[i] = (struct option){option_rows[i].name, required_argument, NULL, i};
    known[HELP] = (struct option){"help", optional_argument, NULL, HELP};
    known[SHOW_VERSION] = (struct option){"version", no_argument, NULL, SHOW_VERSION};
    opterr = 0; /* getopt prints nothing */
    /* "+": getopt keeps the order of the arguments, so argv[at] is the one that is wrong */
    while (at = optind > 0 ? optind : 1,
           (which = getopt_long(argc, argv, "+:h", known, NULL)) != -1) {
        if (which == HELP || which == 'h')
            return print_help(which == HELP ? optarg : NULL);
        if (which == SHOW_VERSION) {
            puts("encke " ENCKE_VERSION);
            return OPTIONS_DONE;
        }
        if (which == ':' || which == '?') {
            complain_of(argv[at], which == ':');
            return OPTIONS_BAD;
        }
        if (take_option(options, &option_rows[which], &seen[which], optarg) != 0)
            return OPTIONS_BAD;
    }
    if (optind == argc)
        return OPTIONS_RUN;
    options_complain("unexpected argument '%s'", argv[optind]);
    return OPTIONS_BAD;
}

enum options_verdict options_parse(struct options *options, int argc, char **argv)
{
    if (set_defaults(options) != 0)
        return OPTIONS_BAD;
    enum options_verdict verdict = parse_command_line(options, argc, argv);
    if (verdict != OPTIONS_RUN)
        return verdict;
    if (!options->db) {
        options_complain("no message log: give --db PATH (or ENCKE_DB)");
        return OPTIONS_BAD;
    }
    return expect_known_variables() == 0 && conflicts_settle(options) == 0 ? OPTIONS_RUN
                                                                           : OPTIONS_BAD;
}

void options_free(struct options *options)
{
    for (const struct option_row *row = option_rows; row < option_rows + OPTION_COUNT; row++)
        if (row->kind == OPTION_REPEATED)
            given_reset(given_of(options, row));
}

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
#include "fcgi/wire/origin.h"
#include "fcgi/spelling.h"

#ifndef ENCKE_VERSION
#define ENCKE_VERSION "unknown"
#endif

enum { HELP = OPTION_COUNT, SHOW_VERSION, NAME_SIZE = 64 };

#define ENVIRONMENT "ENCKE_"

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

/* Of a path as clients write it: what may be written in two ways, %-escapes say, is not compared.
 */
static bool prefix_valid(const char *text)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._~-/";
    size_t len = strlen(text);
    return len > 0 && text[0] == '/' && text[len - 1] == '/' && strspn(text, allowed) == len;
}

/* Stores what text says into the row's field, unless it says nothing of the kind. */
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

/* Stores text into the row's field; origin is what a person typed, for the complaint. */
static int set(struct options *options, const struct option_row *row, const char *text,
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

/* Several values in one variable, parted by blanks. */
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
        if (set(options, row, text, origin) != 0)
            return -1;
    return 0;
}

/* ---- names ---- */

struct name {
    char text[NAME_SIZE];
};

/* As the environment has it. */
static struct name variable(const struct option_row *row)
{
    struct name name;
    snprintf(name.text, sizeof name.text, ENVIRONMENT "%s", row->name);
    for (char *c = name.text; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper(*c);
    return name;
}

/* As the command line has it. */
static struct name flag(const struct option_row *row)
{
    struct name name;
    snprintf(name.text, sizeof name.text, "--%s", row->name);
    return name;
}

/* What somebody may have meant who wrote so, cut it short or misspelt it; "" if nothing is near. */
static struct name nearest(const char *written, size_t len,
                           struct name (*name_of)(const struct option_row *))
{
    struct name best = {""};
    size_t least = 2 + len / 4; /* what is further away is another word */
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
    struct name name = variable(row);
    const char *text = getenv(name.text);
    if (!text || !*text)
        return 0;
    note_given(options, row);
    return row->kind == OPTION_REPEATED ? set_each(options, row, text, name.text)
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
    for (const struct option_row *row = option_rows; row < option_rows + OPTION_COUNT; row++) {
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

/* form is what follows "--help=", or NULL. */
static enum options_verdict print_help(const char *form)
{
    if (form && strcmp(form, "man") != 0) {
        options_complain("--help=%s is none: it is --help, or --help=man", form);
        return OPTIONS_BAD;
    }
    if (form)
        options_print_manual();
    else
        options_print_help();
    return OPTIONS_DONE;
}

enum options_verdict options_parse(struct options *options, int argc, char **argv)
{
    struct option known[OPTION_COUNT + 3] = {0};
    for (int i = 0; i < OPTION_COUNT; i++)
        known[i] = (struct option){option_rows[i].name, required_argument, NULL, i};
    known[HELP] = (struct option){"help", optional_argument, NULL, HELP};
    known[SHOW_VERSION] = (struct option){"version", no_argument, NULL, SHOW_VERSION};

    if (start_values(options) != 0)
        return OPTIONS_BAD;
    bool said[OPTION_COUNT] = {
        false}; /* on the command line, which wins over the environment as a whole */
    int at, which;
    opterr = 0; /* the complaints are ours */
    /* "+": words are left in their order, so that the one in question is known. */
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
        if (option_rows[which].kind == OPTION_REPEATED && !said[which])
            given_reset(given_of(options, &option_rows[which]));
        said[which] = true;
        note_given(options, &option_rows[which]);
        if (set(options, &option_rows[which], optarg, flag(&option_rows[which]).text) != 0)
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
    for (const struct option_row *row = option_rows; row < option_rows + OPTION_COUNT; row++)
        if (row->kind == OPTION_REPEATED)
            given_reset(given_of(options, row));
}

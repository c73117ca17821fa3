#include "fcgi/options_help.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { LEFT_COLUMN = 26, RIGHT_COLUMN = 50, FIRST_OF_RIGHT = LEFT_COLUMN + 3 };

struct option_phrase option_describe(const struct option_row *row)
{
    static const char *const texts[] = {
        [OPTION_TEXT] = "",
        [OPTION_REPEATED] = "",
        [OPTION_PREFIX] =
            "a path of letters, digits and . _ ~ - that begins and ends with /, such as /comet/",
        [OPTION_ORIGINS] = "any, or origins such as https://www.example.org with commas between",
        [OPTION_OCTAL] = "an octal mode such as 0660",
        [OPTION_YES_NO] = "yes or no",
        [OPTION_LEVEL] = "error, warn, info or debug",
        [OPTION_NUMBER] = "a whole number",
        [OPTION_SIZE] = "a size",
        [OPTION_AGE] = "a time",
    };
    static const char *const units[] = {[OPTION_SIZE] = " (bytes, or with K, M, G)",
                                        [OPTION_AGE] = " (seconds, or with s, m, h, d)",
                                        [OPTION_NUMBER] = "",
                                        [OPTION_LEVEL] = NULL};
    struct option_phrase phrase;
    if (units[row->kind])
        snprintf(phrase.text, sizeof phrase.text, "%s from %lld to %lld%s", texts[row->kind],
                 (long long)row->least, (long long)row->most, units[row->kind]);
    else
        snprintf(phrase.text, sizeof phrase.text, "%s", texts[row->kind]);
    return phrase;
}

/* ---- --help ---- */

/* How much of text fits into a line of the right column. A word is only cut if it is longer. */
static size_t line_length(const char *text)
{
    size_t len = strlen(text);
    if (len <= RIGHT_COLUMN)
        return len;
    for (len = RIGHT_COLUMN; len > 0 && text[len] != ' ';)
        len--;
    return len > 0 ? len : RIGHT_COLUMN;
}

/* The text has its own column. It begins on the next line if the name is too long. */
static void print_help_of(const struct option_row *row)
{
    char left[40], right[256];
    bool fits = snprintf(left, sizeof left, "--%s %s", row->name, row->argument) <= LEFT_COLUMN;
    if (row->standard)
        snprintf(right, sizeof right, "%s (default %s)", row->help, row->standard);
    else
        snprintf(right, sizeof right, "%s", row->help);
    printf("  %-*s%s", LEFT_COLUMN, left, fits ? "" : "\n");
    int indent = fits ? 1 : FIRST_OF_RIGHT;
    for (const char *line = right; *line; indent = FIRST_OF_RIGHT) {
        size_t len = line_length(line);
        printf("%*s%.*s\n", indent, "", (int)len, line);
        line += len + strspn(line + len, " ");
    }
}

void options_print_help(void)
{
    puts("Usage: encke --socket PATH --db PATH [OPTION ...]\n"
         "Live pages behind lighttpd or nginx: a FastCGI responder that holds requests\n"
         "until there is news, over a durable SQLite message log.\n");
    for (const struct option_row *row = option_rows; row < option_rows + OPTION_COUNT; row++)
        print_help_of(row);
    puts("  --help[=man]               this text, or the same for the manual page\n"
         "  --version                  the version\n\n"
         "Sizes take K, M or G, times s, m, h or d. Each option may also come from the\n"
         "environment: --keep-age 1d is ENCKE_KEEP_AGE=1d; the command line wins. Options\n"
         "that contradict each other are an error, and so are other ENCKE_ variables. A\n"
         "listening socket that the daemon inherits (systemd's LISTEN_FDS, or descriptor 0\n"
         "from lighttpd or spawn-fcgi) is used instead of --socket. SIGTERM answers every\n"
         "held request, commits, and ends. The manual page, encke(8), says more.\n\n"
         "  encke --socket /run/encke/encke.sock --db /var/lib/encke/encke.db\n"
         "  curl -d msg=hello http://localhost/comet/create");
}

/* ---- --help=man ---- */

/* Prints text with the characters escaped that roff would change. Each sentence begins on a new
 * line, as mdoc(7) asks. */
static void print_roff(const char *text)
{
    for (const char *c = text; *c; c++) {
        bool ends_sentence = c[0] == '.' && c[1] == ' ' && isupper((unsigned char)c[2]);
        if (*c == '-')
            fputs("\\-", stdout);
        else if (*c == '~')
            fputs("\\(ti", stdout);
        else if (*c == '\\')
            fputs("\\e", stdout);
        else
            putchar(*c);
        if (ends_sentence) {
            putchar('\n');
            c++;
        }
    }
}

/* Prints a sentence such as "Values: a whole number from 1 to 3600; the default is 55." What is
 * typed as it stands keeps its case. */
static void print_values_of(const struct option_row *row)
{
    const char *values = option_describe(row).text;
    if (*values) {
        fputs("Values: ", stdout);
        print_roff(values);
    }
    if (row->standard) {
        fputs("; the default is ", stdout);
        print_roff(row->standard);
    }
    if (*values)
        puts(".");
}

static void print_manual_of(const struct option_row *row)
{
    fputs(".It Fl -", stdout);
    print_roff(row->name);
    fputs(" Ar ", stdout);
    print_roff(row->argument);
    putchar('\n');
    putchar(toupper((unsigned char)row->help[0]));
    print_roff(row->help + 1);
    puts(".");
    print_values_of(row);
    if (row->more) {
        print_roff(row->more);
        putchar('\n');
    }
}

void options_print_manual(void)
{
    for (const struct option_row *row = option_rows; row < option_rows + OPTION_COUNT; row++)
        print_manual_of(row);
    puts(".It Fl -help\n"
         "A short text about all options.\n"
         ".It Fl -version\n"
         "The version.");
}

/* options_help.h - the table of options as text: --help, the list in the manual page, and what the
 * values of an option look like.
 */
#ifndef ENCKE_FCGI_OPTIONS_HELP_H
#define ENCKE_FCGI_OPTIONS_HELP_H

#include "fcgi/options.h"

struct option_phrase {
    char text[128];
};

/* What the values of the option look like, such as "a whole number from 1 to 3600"; empty if any
 * text will do. */
struct option_phrase option_describe(const struct option_row *row);

/* Prints the answer to --help on stdout, in 80 columns. */
void options_print_help(void);

/* Prints the answer to --help=man on stdout: the items of an mdoc(7) list, for deploy/encke.8.in.
 */
void options_print_manual(void);

#endif

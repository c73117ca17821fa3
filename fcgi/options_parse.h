/* options_parse.h - reads the options from ENCKE_ environment variables and from the command line,
 * which wins.
 *
 * An ENCKE_ variable that names no option is an error, and so are options that contradict each
 * other (conflicts.h).
 */
#ifndef ENCKE_FCGI_OPTIONS_PARSE_H
#define ENCKE_FCGI_OPTIONS_PARSE_H

#include "fcgi/options.h"

enum options_verdict { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_BAD };

/* Fills options. OPTIONS_DONE: --help or --version has been answered on stdout; OPTIONS_BAD: stderr
 * says what is wrong. Not thread-safe (getopt). */
enum options_verdict options_parse(struct options *options, int argc, char **argv);

/* Frees what options_parse allocated, whatever it returned. */
void options_free(struct options *options);

#endif

/* encke - live pages behind an existing web server: a FastCGI responder over a durable log. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "fcgi/io/diag.h"
#include "fcgi/io/signals.h"
#include "fcgi/options_parse.h"
#include "fcgi/server.h"

/* Fills descriptors 0 to 2 where they are closed. Otherwise the log's file would become one of
 * them, and what is meant for stderr would be written into it. */
static void fill_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    signals_block();
    fill_standard_descriptors();
    diag_open();
    static struct server server;
    static struct options options;
    enum options_verdict verdict = options_parse(&options, argc, argv);
    if (verdict != OPTIONS_RUN) {
        options_free(&options);
        return verdict == OPTIONS_DONE ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    diag_level_set(options.log_level);

    int rc = server_open(&server, &options) == 0 ? server_run(&server) : EXIT_FAILURE;
    int closed = server_close(&server);
    if (rc == EXIT_SUCCESS)
        rc = closed;
    options_free(&options);
    diag_close();
    if (rc == EXIT_SUCCESS)
        diag(DIAG_INFO, "stopped");
    return rc;
}

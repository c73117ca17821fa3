/* encke - live pages behind an existing web server: a FastCGI responder over a durable log. */
#include <stdlib.h>

#include "fcgi/diag.h"
#include "fcgi/options.h"
#include "fcgi/server.h"

int main(int argc, char **argv)
{
    static struct server server;
    static struct options options;
    enum options_verdict verdict = options_parse(&options, argc, argv);
    if (verdict != OPTIONS_RUN)
        return verdict == OPTIONS_DONE ? EXIT_SUCCESS : EXIT_FAILURE;
    diag_level_set(options.log_level);

    int rc = server_open(&server, &options) == 0 ? server_run(&server) : EXIT_FAILURE;
    int closed = server_close(&server);
    if (rc == EXIT_SUCCESS)
        rc = closed;
    if (rc == EXIT_SUCCESS)
        diag(DIAG_INFO, "stopped");
    return rc;
}

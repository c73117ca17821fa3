#include "fcgi/relay/trouble.h"

#include <stdbool.h>
#include <stdio.h>

#include "fcgi/io/diag.h"
#include "fcgi/io/timer.h"

enum { QUIET_MS = 60000 }; /* after a warning */

static bool is_quiet_time(const struct trouble *trouble)
{
    return trouble->told_ms != 0 && timer_now_ms() - trouble->told_ms < QUIET_MS;
}

static void warn_of_trouble(struct trouble *trouble, const char *name)
{
    trouble->state = TROUBLE_TOLD;
    trouble->told_ms = timer_now_ms();
    diag(DIAG_WARN, "upstream %s: %s; clients are told to look for themselves", name,
         trouble->latest);
}

void trouble_note(struct trouble *trouble, const char *name, enum relay_error error,
                  const char *what)
{
    trouble->errors[error]++;
    snprintf(trouble->latest, sizeof trouble->latest, "%s", what);
    diag_printable(trouble->latest);
    if (trouble->state == TROUBLE_NONE) {
        trouble->state = TROUBLE_UNTOLD;
        trouble->since_ms = timer_now_ms();
    }
    if (trouble->state == TROUBLE_UNTOLD && !is_quiet_time(trouble))
        warn_of_trouble(trouble, name);
}

void trouble_end(struct trouble *trouble, const char *name)
{
    if (trouble->state == TROUBLE_TOLD)
        diag(DIAG_INFO, "upstream %s answers again", name);
    trouble->state = TROUBLE_NONE;
}

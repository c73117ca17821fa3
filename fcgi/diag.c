#include "fcgi/diag.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static enum diag_level shown = DIAG_INFO;

bool diag_level_parse(const char *name, enum diag_level *level)
{
    for (unsigned i = 0; i < sizeof level_names / sizeof *level_names; i++)
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum diag_level)i;
            return true;
        }
    return false;
}

void diag_level_set(enum diag_level level)
{
    shown = level;
}

void diag_printable(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

void diag(enum diag_level level, const char *format, ...)
{
    if (level > shown)
        return;
    int saved = errno;
    char line[1024];
    int head = snprintf(line, sizeof line, "encke: %s: ", level_names[level]);
    va_list args;
    va_start(args, format);
    int text = vsnprintf(line + head, sizeof line - (size_t)head - 1, format, args);
    va_end(args);
    size_t len = (size_t)head + (text > 0 ? (size_t)text : 0);
    if (len > sizeof line - 2)
        len = sizeof line - 2;
    line[len++] = '\n';
    /* One write a line, so that lines never mix. One that would block, because nobody reads the
     * other end of a pipe, is dropped: the loop must not wait for it (invariant 6). */
    struct pollfd err = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&err, 1, 0) == 1 && write(STDERR_FILENO, line, len) < 0)
        errno = saved; /* there is nowhere to complain */
    errno = saved;
}

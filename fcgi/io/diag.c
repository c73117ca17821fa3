#include "fcgi/io/diag.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fcgi/io/causes.h"
#include "fcgi/io/timer.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const int priorities[] = {3, 4, 6, 7}; /* sd-daemon(3) */
static enum diag_level shown = DIAG_INFO;
static bool journal; /* stderr is systemd's journal */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct causes causes; /* used with the mutex locked */

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

void diag_open(void)
{
    const char *stream = getenv("JOURNAL_STREAM"); /* systemd.exec(5): device:inode */
    char own[64];
    struct stat err;
    journal = false;
    if (!stream || fstat(STDERR_FILENO, &err) != 0)
        return;
    snprintf(own, sizeof own, "%llu:%llu", (unsigned long long)err.st_dev,
             (unsigned long long)err.st_ino);
    journal = strcmp(own, stream) == 0;
}

/* Writes each line at once, so that lines of two threads never mix. If nobody reads the other end
 * of a pipe, and the write would block, drops the line: the loop never blocks (invariant 6). */
static void write_line(const char *line, size_t len)
{
    struct pollfd err = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&err, 1, 0) == 1 && write(STDERR_FILENO, line, len) < 0)
        return; /* there is nobody to tell */
}

static void __attribute__((format(printf, 2, 0)))
print_args(enum diag_level level, const char *format, va_list args)
{
    char line[1024];
    int head = journal ? snprintf(line, sizeof line, "<%d>", priorities[level]) : 0;
    head += snprintf(line + head, sizeof line - (size_t)head, "encke: %s: ", level_names[level]);
    int text = vsnprintf(line + head, sizeof line - (size_t)head - 1, format, args);
    size_t len = (size_t)head + (text > 0 ? (size_t)text : 0);
    if (len > sizeof line - 2)
        len = sizeof line - 2;
    line[len++] = '\n';
    write_line(line, len);
}

static void __attribute__((format(printf, 2, 3)))
print_line(enum diag_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_args(level, format, args);
    va_end(args);
}

/* Errors are always printed: there are few of them, and most are the last line. */
static bool may_print(enum diag_level level, const char *format, uint64_t now_ms)
{
    if (level == DIAG_ERROR)
        return true;
    pthread_mutex_lock(&mutex);
    bool may = causes_admit(&causes, format, (int)level, now_ms);
    pthread_mutex_unlock(&mutex);
    return may;
}

static void print_left_out(uint64_t now_ms)
{
    for (bool more = true; more;) {
        struct cause cause;
        pthread_mutex_lock(&mutex);
        more = causes_take(&causes, now_ms, &cause);
        pthread_mutex_unlock(&mutex);
        if (more)
            print_line((enum diag_level)cause.level, "%u more lines like \"%s\" were left out",
                       cause.left_out, cause.format);
    }
}

void diag(enum diag_level level, const char *format, ...)
{
    if (level > shown)
        return;
    int saved = errno;
    uint64_t now_ms = timer_now_ms();
    print_left_out(now_ms);
    if (may_print(level, format, now_ms)) {
        va_list args;
        va_start(args, format);
        print_args(level, format, args);
        va_end(args);
    }
    errno = saved;
}

void diag_close(void)
{
    print_left_out(UINT64_MAX);
}

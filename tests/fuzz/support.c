#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fcgi/wire/form.h"
#include "tests/fuzz/fuzz.h"

void fuzz_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

void fuzz_wait(int fd, const char *what)
{
    enum { PATIENCE_MS = 60000 };
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int count;
    do
        count = poll(&ready, 1, PATIENCE_MS);
    while (count < 0 && errno == EINTR);
    CLAIM(count == 1, "%s", what);
}

uint8_t choose_byte(struct choices *choices)
{
    if (choices->left == 0)
        return 0;
    choices->left--;
    return *choices->at++;
}

unsigned choose_below(struct choices *choices, unsigned limit)
{
    unsigned number = choose_byte(choices);
    if (limit > 256)
        number = number << 8 | choose_byte(choices);
    return number % limit;
}

struct piece choose_piece(struct choices *choices, size_t most)
{
    size_t len = choose_below(choices, most < 65535 ? (unsigned)most + 1 : 65536);
    if (len > choices->left)
        len = choices->left;
    struct piece piece = {choices->at, len};
    choices->at += len;
    choices->left -= len;
    return piece;
}

char *fuzz_copy(const void *bytes, size_t len)
{
    char *copy = malloc(len + 1);
    CLAIM(copy, "no memory for the test itself");
    if (len > 0)
        memcpy(copy, bytes, len);
    copy[len] = '\0';
    return copy;
}

bool fuzz_is_text(const void *bytes, size_t len)
{
    return len == 0 || (!memchr(bytes, '\0', len) && text_is_utf8((struct text){bytes, len}));
}

static char dir[64];

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *walk)
{
    (void)about, (void)kind, (void)walk;
    return remove(path);
}

static void remove_dir(void)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_dir(void)
{
    if (*dir)
        return dir;
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(dir, sizeof dir, "%s/encke-fuzz-XXXXXX", base);
    CLAIM(mkdtemp(dir), "no directory in %s", base);
    atexit(remove_dir);
    return dir;
}

/*
 * Want of memory, for the end-to-end tests: a library preloaded into the daemon, of whose
 * allocations one fails.
 *
 *   SHORT_OF_MEMORY  a file of four bytes, an int of the machine's, that is mapped and shared: with
 * N the Nth allocation from now on fails, whichever thread's; it counts down to 0, and then they
 * succeed again.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own, below those that this library puts in their place. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static int *left;

__attribute__((constructor)) static void map(void)
{
    const char *path = getenv("SHORT_OF_MEMORY");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *mapped =
        fd >= 0 ? mmap(NULL, sizeof *left, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (mapped == MAP_FAILED)
        abort();
    close(fd);
    left = mapped;
}

/* libfcgi aborts when it gets none: fcgi/wire/request.c sees to it that it does. */
static bool is_of_libfcgi(const void *caller)
{
    Dl_info info;

    return dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "libfcgi");
}

static bool fails(const void *caller)
{
    if (!left || __atomic_load_n(left, __ATOMIC_RELAXED) <= 0 || is_of_libfcgi(caller))
        return false;
    if (__atomic_sub_fetch(left, 1, __ATOMIC_RELAXED) != 0)
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

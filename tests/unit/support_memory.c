#include "support_memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static __thread unsigned left; /* allocations until one fails; 0: none fails */
static __thread bool failed;

/* Of the threads that are not this one. */
static _Atomic unsigned left_elsewhere;
static _Atomic bool failed_elsewhere;
static __thread bool is_here;

void memory_fail(unsigned nth)
{
    left = nth;
    failed = false;
}

void memory_fail_elsewhere(unsigned nth)
{
    is_here = true;
    failed = false;
    failed_elsewhere = false;
    left_elsewhere = nth;
}

bool memory_has_failed(void)
{
    left = 0;
    left_elsewhere = 0;
    bool either = failed || failed_elsewhere;
    failed_elsewhere = false;
    return either;
}

/* ---- what is linked in place of malloc and the others ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);

static bool fails_elsewhere(void)
{
    unsigned now = left_elsewhere;
    while (now > 0 && !atomic_compare_exchange_weak(&left_elsewhere, &now, now - 1))
        ;
    if (now != 1)
        return false;
    failed_elsewhere = true;
    errno = ENOMEM;
    return true;
}

static bool fails(void)
{
    if (!is_here && fails_elsewhere())
        return true;
    if (left == 0 || --left > 0)
        return false;
    failed = true;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

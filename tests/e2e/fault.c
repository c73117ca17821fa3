/* Faults of the disk, for the end-to-end tests: a library preloaded into the daemon that makes
 * calls on the log's files fail, wait or take long, as a control file says at that moment.
 *
 * FAULT_FILES: files whose path begins with this are the log's.
 * FAULT_CONTROL: the control file, replaced by rename so that it is never seen half written. Words:
 *  - write=ENOSPC or write=EIO: writing, growing and truncating fail;
 *  - sync=EIO: fsync and fdatasync fail;
 *  - sync=gate: they wait until the control file no longer says so;
 *  - sync=delay:N: they take N milliseconds more;
 *  - read=EIO or read=garbage: reading fails, or gives bytes that were never written;
 *  - read=delay:N: reading the database itself, not a file beside it, takes N milliseconds more.
 *
 * FAULT_CONTROL with ".hits": a line is appended for each call that a word was for, before it takes
 * effect.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The real function behind the one this library puts in its place. */
#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    if (!found)
        abort();
    return found;
}

enum { PATH_SIZE = 4096 };

static bool is_log_file(int fd, char path[PATH_SIZE])
{
    const char *prefix = getenv("FAULT_FILES");
    char link[64];
    ssize_t n;

    if (!prefix)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, PATH_SIZE - 1);
    if (n < 0)
        return false;
    path[n] = '\0';
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

static bool of_the_log(int fd)
{
    char path[PATH_SIZE];

    return is_log_file(fd, path);
}

static bool is_database(int fd)
{
    char path[PATH_SIZE];

    return is_log_file(fd, path) && strlen(path) > 3 && strcmp(path + strlen(path) - 3, ".db") == 0;
}

/* What the control file says of `kind` now, or "" for nothing; `word` has room for 32 bytes. */
static const char *ordered(const char *kind, char *word)
{
    const char *path = getenv("FAULT_CONTROL");
    char text[256], *save = NULL;
    size_t len = strlen(kind);
    long fd, n;

    word[0] = '\0';
    if (!path || (fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC)) < 0)
        return word;
    n = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    text[n < 0 ? 0 : n] = '\0';
    for (char *w = strtok_r(text, " \n", &save); w; w = strtok_r(NULL, " \n", &save)) {
        if (strncmp(w, kind, len) == 0 && w[len] == '=')
            snprintf(word, 32, "%.31s", w + len + 1);
    }
    return word;
}

static void tell(const char *kind)
{
    char path[4096], line[32];
    int n = snprintf(line, sizeof line, "%s\n", kind);
    long fd;

    snprintf(path, sizeof path, "%s.hits", getenv("FAULT_CONTROL"));
    fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd >= 0) {
        syscall(SYS_write, fd, line, n);
        syscall(SYS_close, fd);
    }
}

static void nap(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    while (nanosleep(&t, &t) && errno == EINTR)
        ;
}

/* The error that a call of this kind on fd shall fail with, or 0. Waits where that was ordered. */
static int fault(const char *kind, int fd)
{
    char word[32];
    int saved = errno, error = 0;

    if (*ordered(kind, word) && of_the_log(fd)) {
        tell(kind);
        while (strcmp(word, "gate") == 0) {
            nap(1);
            ordered(kind, word);
        }
        if (strncmp(word, "delay:", 6) == 0 && (strcmp(kind, "read") != 0 || is_database(fd)))
            nap(strtol(word + 6, NULL, 10));
        else if (strcmp(word, "ENOSPC") == 0)
            error = ENOSPC;
        else if (strcmp(word, "EIO") == 0)
            error = EIO;
    }
    errno = saved;
    return error;
}

/* Fails with that error as a system call does. */
static int failed(int error)
{
    errno = error;
    return -1;
}

ssize_t write(int fd, const void *buf, size_t count)
{
    int error = fault("write", fd);

    return error ? failed(error) : REAL(write)(fd, buf, count);
}

ssize_t pwrite(int fd, const void *buf, size_t count, off_t at)
{
    int error = fault("write", fd);

    return error ? failed(error) : REAL(pwrite)(fd, buf, count, at);
}

ssize_t pwrite64(int fd, const void *buf, size_t count, off64_t at)
{
    int error = fault("write", fd);

    return error ? failed(error) : REAL(pwrite64)(fd, buf, count, at);
}

int ftruncate(int fd, off_t length)
{
    int error = fault("write", fd);

    return error ? failed(error) : REAL(ftruncate)(fd, length);
}

int ftruncate64(int fd, off64_t length)
{
    int error = fault("write", fd);

    return error ? failed(error) : REAL(ftruncate64)(fd, length);
}

int fallocate(int fd, int mode, off_t at, off_t length)
{
    int error = fault("write", fd);

    return error ? failed(error) : REAL(fallocate)(fd, mode, at, length);
}

int fallocate64(int fd, int mode, off64_t at, off64_t length)
{
    int error = fault("write", fd);

    return error ? failed(error) : REAL(fallocate64)(fd, mode, at, length);
}

int fsync(int fd)
{
    int error = fault("sync", fd);

    return error ? failed(error) : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    int error = fault("sync", fd);

    return error ? failed(error) : REAL(fdatasync)(fd);
}

/* Bytes read from the log, spoilt where that was ordered. */
static ssize_t spoilt(int fd, void *buf, ssize_t n)
{
    char word[32];
    int saved = errno;

    if (n > 0 && strcmp(ordered("read", word), "garbage") == 0 && of_the_log(fd))
        memset(buf, 0xa5, n);
    errno = saved;
    return n;
}

ssize_t read(int fd, void *buf, size_t count)
{
    int error = fault("read", fd);

    return error ? failed(error) : spoilt(fd, buf, REAL(read)(fd, buf, count));
}

ssize_t pread(int fd, void *buf, size_t count, off_t at)
{
    int error = fault("read", fd);

    return error ? failed(error) : spoilt(fd, buf, REAL(pread)(fd, buf, count, at));
}

ssize_t pread64(int fd, void *buf, size_t count, off64_t at)
{
    int error = fault("read", fd);

    return error ? failed(error) : spoilt(fd, buf, REAL(pread64)(fd, buf, count, at));
}

#define _GNU_SOURCE
#include "store/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "store/advice.h"
#include "store/path.h"

static long read_owner(int fd)
{
    char text[LOCK_OWNER_SIZE];
    ssize_t len = pread(fd, text, sizeof text - 1, 0);
    text[len > 0 ? len : 0] = '\0';
    return strtol(text, NULL, 10);
}

/* It is only for the message that refuses another process, so a disk too full for it does not
 * matter. */
static void write_owner(int fd)
{
    char text[LOCK_OWNER_SIZE + 1];
    snprintf(text, sizeof text, "%-*ld\n", LOCK_OWNER_SIZE - 1, (long)getpid());
    if (pwrite(fd, text, LOCK_OWNER_SIZE, 0) != LOCK_OWNER_SIZE)
        return;
}

int lock_take(const char *path, char *why, size_t why_size)
{
    char name[PATH_MAX];
    if (path_beside(name, path, ".lock", why, why_size) != 0)
        return -1;
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
    if (fd < 0) {
        snprintf(why, why_size, "%s cannot be opened: %s: %s", name, strerror(errno),
                 advice_for(errno));
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        write_owner(fd);
        return fd;
    }
    long owner;
    if (errno != EWOULDBLOCK)
        snprintf(why, why_size, "%s cannot be locked: %s", name, strerror(errno));
    else if ((owner = read_owner(fd)) > 0)
        snprintf(why, why_size, "%s is in use by process %ld: stop it first", path, owner);
    else
        snprintf(why, why_size, "%s is in use by another process: stop it first", path);
    close(fd);
    return -1;
}

int lock_file(int fd, const char *path, char *why, size_t why_size)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        snprintf(
            why, why_size,
            "%s is in use by another process, under another name (or its .lock was removed): stop "
            "that process first",
            path);
    else
        snprintf(why, why_size, "%s cannot be locked: %s", path, strerror(errno));
    return -1;
}

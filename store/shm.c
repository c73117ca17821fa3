#define _GNU_SOURCE
#include "store/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/advice.h"
#include "store/path.h"

/* https://sqlite.org/walformat.html: the index has parts of 32 KiB for 4096 pages each, 34 fewer in
 * the first. At offset 16 it has the number of pages, in this machine's byte order. */
enum { PART = 32 << 10, PART_PAGES = 4096, HEADER_PAGES = 34, AT_PAGES = 16 };

/* Each process that has the -shm open has this byte locked for reading ("DMS" in SQLite's
 * os_unix.c). A process that can lock it for writing is the first, and makes the file anew. */
enum { FIRST_BYTE = 128 };

/* The smallest page, and the header before it in the write-ahead log. */
enum { FRAME_MIN = 512 + 24 };

static int lock_first_byte(int fd, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = FIRST_BYTE, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock);
}

int shm_reserve(struct shm *shm, int64_t pages)
{
    int64_t size = ((pages + HEADER_PAGES - 1) / PART_PAGES + 1) * PART;
    if (shm->fd < 0 || size <= shm->reserved)
        return 0;
    if (fallocate(shm->fd, 0, 0, size) != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
        return -1;
    shm->reserved = size;
    return 0;
}

/* If this process is the first, makes the file anew: SQLite fills one that is empty. The lock for
 * reading, which stays, tells SQLite that it is not the first, so it does not cut the file to
 * nothing, and the reserved room stays. */
static int make_index(struct shm *shm, int64_t wal_size)
{
    if (lock_first_byte(shm->fd, F_WRLCK) != 0)
        return errno == EAGAIN || errno == EACCES ? 0 : -1; /* others have it open */
    if (ftruncate(shm->fd, 0) != 0 || shm_reserve(shm, wal_size / FRAME_MIN) != 0)
        return -1;
    return lock_first_byte(shm->fd, F_RDLCK);
}

int shm_open_for(struct shm *shm, const char *path, int64_t wal_size, char *why, size_t why_size)
{
    *shm = (struct shm){.fd = -1};
    char name[PATH_MAX];
    if (path_beside(name, path, "-shm", why, why_size) != 0)
        return -1;
    struct stat log;
    if (stat(path, &log) == 0)
        shm->fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, log.st_mode & 0666);
    if (shm->fd >= 0 && make_index(shm, wal_size) == 0)
        return 0;
    snprintf(why, why_size, "%s cannot be made: %s: %s", name, strerror(errno), advice_for(errno));
    shm_close(shm);
    return -1;
}

void shm_close(struct shm *shm)
{
    if (shm->fd >= 0)
        close(shm->fd);
    *shm = (struct shm){.fd = -1};
}

int64_t shm_pages(const struct shm *shm)
{
    uint32_t pages;
    return pread(shm->fd, &pages, sizeof pages, AT_PAGES) == (ssize_t)sizeof pages ? (int64_t)pages
                                                                                   : -1;
}

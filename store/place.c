#define _GNU_SOURCE
#include "store/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "store/header.h"

/* The size of a write-ahead log's header, and of the header of each page in it:
 * https://sqlite.org/walformat.html */
enum { WAL_HEADER = 32, FRAME_HEADER = 24 };

static const char gone[] = "was removed or replaced while in use";
static const char cut[] = "was cut short while in use";

static int remember_files(struct place *place, int fd)
{
    struct stat db, wal, index;
    place->page_size = header_page_size(fd);
    if (place->page_size < 0 || fstat(fd, &db) != 0 || fstat(place->shm->fd, &index) != 0)
        return -1;
    if (asprintf(&place->wal, "%s-wal", place->path) < 0 ||
        asprintf(&place->index, "%s-shm", place->path) < 0)
        return -1;
    place->wal_fd = open(place->wal, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (place->wal_fd < 0 || fstat(place->wal_fd, &wal) != 0)
        return -1;
    place->device = db.st_dev;
    place->inode = db.st_ino;
    place->wal_inode = wal.st_ino;
    place->index_inode = index.st_ino;
    place->wal_size = wal.st_size;
    place->size = db.st_size;
    place->changed = db.st_mtim;
    return 0;
}

int place_remember(struct place *place, const char *path, int fd, const struct shm *shm, char *why,
                   size_t why_size)
{
    *place = PLACE_NONE;
    place->shm = shm;
    place->path = path;
    if (remember_files(place, fd) != 0) {
        snprintf(why, why_size, "%s cannot be looked at: %s", path, strerror(errno));
        place_free(place);
        return -1;
    }
    return 0;
}

void place_free(struct place *place)
{
    free(place->wal);
    free(place->index);
    if (place->wal_fd >= 0)
        close(place->wal_fd);
    if (place->watch_fd >= 0)
        close(place->watch_fd);
    *place = PLACE_NONE;
}

void place_committed(struct place *place, int wal_pages)
{
    place->wal_pages = wal_pages;
}

void place_checkpointed(struct place *place)
{
    struct stat st;
    if (stat(place->path, &st) == 0)
        place->changed = st.st_mtim;
}

/* ---- looking ---- */

/* Fills in st_dev, st_ino and st_size; with a name of "", of fd itself. It asks for no times: where
 * those are fine-grained (Linux 6.13), a write to a file whose times were asked for changes them
 * and so the inode, which made a lone commit a quarter slower. */
static int stat_without_times(int fd, const char *name, struct stat *st)
{
    struct statx got;
    if (statx(fd, name, AT_EMPTY_PATH, STATX_INO | STATX_SIZE, &got) != 0)
        return -1;
    st->st_dev = makedev(got.stx_dev_major, got.stx_dev_minor);
    st->st_ino = got.stx_ino;
    st->st_size = (off_t)got.stx_size;
    return 0;
}

static bool is_same_file(const struct place *place, ino_t inode, const struct stat *st)
{
    return st->st_dev == place->device && st->st_ino == inode;
}

/* Whether name leads to no file or to another one; if not, *st is filled. If an error leaves that
 * open, st_size is -1. */
static bool file_is_gone(const struct place *place, const char *name, ino_t inode, struct stat *st)
{
    if (stat_without_times(AT_FDCWD, name, st) == 0)
        return !is_same_file(place, inode, st);
    *st = (struct stat){.st_size = -1};
    return errno == ENOENT || errno == ENOTDIR;
}

/* Another program may cut the write-ahead log to nothing once it has copied all of it; then the
 * shared memory says that there is nothing in it any more. */
static bool wal_is_cut(const struct place *place, int64_t size)
{
    int64_t frame = FRAME_HEADER + place->page_size;
    if (size < 0 || place->wal_pages == 0 || size >= WAL_HEADER + place->wal_pages * frame)
        return false;
    int64_t pages = shm_pages(place->shm);
    return pages > 0 && size < WAL_HEADER + pages * frame;
}

const char *place_trouble(struct place *place, const char **name)
{
    struct stat st;
    *name = place->path;
    if (file_is_gone(place, place->path, place->inode, &st))
        return gone;
    if (st.st_size >= 0 && st.st_size < place->size)
        return cut;
    if (st.st_size > place->size)
        place->size = st.st_size;
    *name = place->wal;
    if (file_is_gone(place, place->wal, place->wal_inode, &st))
        return gone;
    if (st.st_size >= 0)
        place->wal_size = st.st_size;
    if (wal_is_cut(place, st.st_size))
        return cut;
    *name = place->index;
    return file_is_gone(place, place->index, place->index_inode, &st) ? gone : NULL;
}

bool place_wal_is_cut(const struct place *place)
{
    struct stat st;
    return stat_without_times(place->wal_fd, "", &st) == 0 && wal_is_cut(place, st.st_size);
}

bool place_can_be_saved(const struct place *place)
{
    struct stat st;
    if (lstat(place->wal, &st) == 0 || errno != ENOENT || stat(place->path, &st) != 0)
        return false;
    return is_same_file(place, place->inode, &st) && st.st_size >= place->size &&
           st.st_mtim.tv_sec == place->changed.tv_sec &&
           st.st_mtim.tv_nsec == place->changed.tv_nsec;
}

/* ---- watching ---- */

/* When a file loses its last name, its attributes change; when it is cut short, it is modified.
 * Each checkpoint modifies the database, too. Each commit modifies the write-ahead log, but checks
 * that by itself. */
int place_watch(struct place *place)
{
    const uint32_t events = IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF;
    if (place->watch_fd >= 0)
        return place->watch_fd;
    place->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (place->watch_fd < 0)
        return -1;
    if (inotify_add_watch(place->watch_fd, place->path, events | IN_MODIFY) >= 0 &&
        inotify_add_watch(place->watch_fd, place->wal, events) >= 0 &&
        inotify_add_watch(place->watch_fd, place->index, events) >= 0)
        return place->watch_fd;
    close(place->watch_fd);
    return place->watch_fd = -1;
}

void place_drain(const struct place *place)
{
    char events[4096];
    while (read(place->watch_fd, events, sizeof events) > 0)
        ;
}

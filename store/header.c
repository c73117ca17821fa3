#include "store/header.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/migrate.h"
#include "store/path.h"
#include "store/schema.h"

/* Where each number is; they are big-endian. */
enum {
    HEADER_SIZE = 100,
    AT_PAGE_SIZE = 16,
    AT_CHANGES = 24,
    AT_PAGES = 28,
    AT_USER_VERSION = 60,
    AT_APPLICATION = 68,
    AT_VALID_FOR = 92
};

static uint32_t header_number(const unsigned char *header, int at)
{
    return (uint32_t)header[at] << 24 | (uint32_t)header[at + 1] << 16 |
           (uint32_t)header[at + 2] << 8 | header[at + 3];
}

static int64_t read_page_size(const unsigned char *two_bytes)
{
    int64_t size = two_bytes[0] << 8 | two_bytes[1];
    return size == 1 ? 65536 : size; /* which does not fit */
}

int64_t header_page_size(int fd)
{
    unsigned char bytes[2];
    if (pread(fd, bytes, sizeof bytes, AT_PAGE_SIZE) != (ssize_t)sizeof bytes)
        return -1;
    return read_page_size(bytes);
}

/* Only a log of this format passes. */
static int check_format(const char *path, const unsigned char *header, char *why, size_t why_size)
{
    uint32_t version = header_number(header, AT_USER_VERSION);
    if (header_number(header, AT_APPLICATION) != SCHEMA_APPLICATION)
        snprintf(why, why_size,
                 "%s is some other program's SQLite file, not an Encke log: choose another path",
                 path);
    else if (version > SCHEMA_VERSION)
        snprintf(why, why_size,
                 "%s was made by a newer Encke (format %u, this one knows up to %d): upgrade Encke",
                 path, version, SCHEMA_VERSION);
    else if (version < MIGRATE_OLDEST)
        snprintf(why, why_size,
                 "%s has format %u, which this Encke does not know: choose another path", path,
                 version);
    else
        return 0;
    return -1;
}

static void say_cut_short(const char *path, int64_t size, char *why, size_t why_size)
{
    snprintf(why, why_size,
             "%s was cut short, to %lld bytes: put back a copy, or move it away to begin a new log",
             path, (long long)size);
}

/* The header counts the file's pages. That count is good only if it was written with the last
 * change. It is not while there is a write-ahead log either: a checkpoint that was interrupted may
 * have written the header before the pages that it counts. */
static int check_length(const char *path, const unsigned char *header, int64_t size, char *why,
                        size_t why_size)
{
    int64_t pages = header_number(header, AT_PAGES);
    bool counted = header_number(header, AT_CHANGES) == header_number(header, AT_VALID_FOR);
    if (!counted || path_size(path, "-wal") > 0 ||
        size >= pages * read_page_size(header + AT_PAGE_SIZE))
        return 0;
    say_cut_short(path, size, why, why_size);
    return -1;
}

int header_check(const char *path, int fd, char *why, size_t why_size)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        snprintf(why, why_size, "%s is not a regular file: choose another path", path);
        return -1;
    }
    unsigned char header[HEADER_SIZE] = {0};
    ssize_t len = pread(fd, header, sizeof header, 0);
    if (len < 0) {
        snprintf(why, why_size, "%s cannot be read: %s", path, strerror(errno));
        return -1;
    }
    if (len == 0)
        snprintf(why, why_size, "%s is empty, not an Encke log: remove it, or choose another path",
                 path);
    else if (memcmp(header, "SQLite format 3", 16) != 0)
        snprintf(why, why_size, "%s is not an Encke log, nor any SQLite file: choose another path",
                 path);
    else if (len < HEADER_SIZE)
        say_cut_short(path, st.st_size, why, why_size);
    else if (check_format(path, header, why, why_size) == 0)
        return check_length(path, header, st.st_size, why, why_size);
    return -1;
}

#define _GNU_SOURCE
#include "store/path.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Resolves a path at which there is no file yet; its directory must exist. */
static char *resolve_new(const char *path, char *why, size_t why_size)
{
    char copy[PATH_MAX], dir[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    if (!realpath(dirname(copy), dir)) {
        snprintf(why, why_size, "%s cannot be made: %s: %s", path, copy, strerror(errno));
        return NULL;
    }
    snprintf(copy, sizeof copy, "%s", path);
    char *whole;
    if (asprintf(&whole, "%s/%s", strcmp(dir, "/") ? dir : "", basename(copy)) < 0) {
        snprintf(why, why_size, "out of memory");
        return NULL;
    }
    return whole;
}

char *path_resolve(const char *path, char *why, size_t why_size)
{
    char *whole = realpath(path, NULL);
    struct stat st;
    if (whole && (stat(whole, &st) != 0 || !S_ISDIR(st.st_mode)))
        return whole;
    if (whole) {
        snprintf(why, why_size, "%s is a folder: name a file in it", whole);
        free(whole);
        return NULL;
    }
    if (errno != ENOENT || lstat(path, &st) == 0 || path[0] == '\0' || strlen(path) >= PATH_MAX ||
        path[strlen(path) - 1] == '/') {
        snprintf(why, why_size, "%.200s is no place for a log: %s", path,
                 strerror(errno ? errno : ENOENT));
        return NULL;
    }
    return resolve_new(path, why, why_size);
}

int path_beside(char name[PATH_MAX], const char *path, const char *suffix, char *why,
                size_t why_size)
{
    if ((size_t)snprintf(name, PATH_MAX, "%s%s", path, suffix) < PATH_MAX)
        return 0;
    if (why)
        snprintf(why, why_size, "%.80s...: the path is too long", path);
    return -1;
}

int64_t path_size(const char *path, const char *suffix)
{
    char name[PATH_MAX];
    struct stat st;
    if (path_beside(name, path, suffix, NULL, 0) != 0)
        return -1;
    return lstat(name, &st) == 0 ? st.st_size : -1;
}

int path_sync_directory(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = fsync(fd);
    close(fd);
    return result;
}

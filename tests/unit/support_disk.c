#include "support_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 4096, BLOCKS = 8192 };

struct image {
    unsigned char *bytes;
    size_t size;
    bool exists;
};

struct file {
    char path[200];
    struct image named; /* what its name leads to on the disk */
    struct image fresh; /* a new file of that name, which the disk's folder does not lead to yet */
    bool is_fresh;
    bool dirty[BLOCKS];
};

static struct {
    bool on;
    enum disk_loss loss;
    struct file files[2]; /* the database, its write-ahead log */
    void (*cut)(void *arg);
    void *cut_arg;
} disk;

/* ---- images ---- */

static void grow(struct image *image, size_t size)
{
    if (size <= image->size)
        return;
    image->bytes = realloc(image->bytes, size);
    if (!image->bytes)
        abort();
    memset(image->bytes + image->size, 0, size - image->size);
    image->size = size;
}

static void drop(struct image *image)
{
    free(image->bytes);
    *image = (struct image){0};
}

static struct image copy(const struct image *from)
{
    struct image to = {.exists = from->exists};
    grow(&to, from->size);
    if (from->size)
        memcpy(to.bytes, from->bytes, from->size);
    return to;
}

/* What is read at this moment: the page cache. */
static struct image slurp(const char *path)
{
    struct image image = {0};
    FILE *file = fopen(path, "rb");
    if (!file)
        return image;
    image.exists = true;
    struct stat st;
    if (fstat(fileno(file), &st) != 0)
        abort();
    grow(&image, (size_t)st.st_size);
    if (image.size && fread(image.bytes, 1, image.size, file) != image.size)
        abort();
    fclose(file);
    return image;
}

static void spit(const char *path, const struct image *image)
{
    remove(path);
    if (!image->exists)
        return;
    FILE *file = fopen(path, "wb");
    if (!file || (image->size && fwrite(image->bytes, 1, image->size, file) != image->size) ||
        fclose(file) != 0)
        abort();
}

static void write_block(struct image *image, const struct image *cache, size_t block)
{
    size_t at = block * BLOCK, end = at + BLOCK < cache->size ? at + BLOCK : cache->size;
    if (at >= end)
        return; /* it was cut off meanwhile */
    grow(image, end);
    memcpy(image->bytes + at, cache->bytes + at, end - at);
}

/* ---- what the VFS tells ---- */

static struct file *find(const char *name)
{
    for (size_t i = 0; i < 2; i++)
        if (strcmp(disk.files[i].path, name) == 0)
            return &disk.files[i];
    return NULL;
}

/* The image of the file that the name leads to for programs. */
static struct image *current(struct file *file)
{
    return file->is_fresh ? &file->fresh : &file->named;
}

void disk_cut_here(void)
{
    if (disk.cut)
        disk.cut(disk.cut_arg);
}

void disk_wrote(const char *name, int size, int64_t at)
{
    struct file *file = find(name);
    if (!file)
        return;
    if (!file->named.exists && !file->is_fresh)
        file->is_fresh = file->fresh.exists = true;
    for (int64_t block = at / BLOCK; block * BLOCK < at + size; block++) {
        if (block >= BLOCKS)
            abort();
        file->dirty[block] = true;
    }
}

void disk_deleted(const char *name)
{
    struct file *file = find(name);
    if (!file)
        return;
    drop(&file->fresh);
    file->is_fresh = true; /* its name leads to nothing, or to what is written from now on */
    memset(file->dirty, 0, sizeof file->dirty);
}

static bool is_lost(size_t nth, size_t count)
{
    switch (disk.loss) {
    case LOSE_FIRST:
        return nth == 0;
    case LOSE_LAST:
        return nth + 1 == count;
    case LOSE_ODD:
        return nth % 2;
    default:
        return true;
    }
}

void disk_synced(const char *name, bool well)
{
    struct file *file = find(name);
    size_t nth = 0, count = 0;
    if (!file)
        return;
    struct image *image;
    struct image cache = slurp(name);
    if (file->is_fresh)
        file->fresh.exists = cache.exists;
    image = current(file);
    for (size_t block = 0; block < BLOCKS; block++)
        count += file->dirty[block];
    for (size_t block = 0; block < BLOCKS; block++) {
        if (!file->dirty[block])
            continue;
        file->dirty[block] = false;
        if (well || !is_lost(nth, count))
            write_block(image, &cache, block);
        nth++;
    }
    if (well && image->size > cache.size)
        image->size = cache.size;
    if (well && file->is_fresh) {
        drop(&file->named);
        file->named = file->fresh;
        file->fresh = (struct image){0};
        file->is_fresh = false;
    }
    drop(&cache);
}

/* ---- what the test asks ---- */

void disk_start(const char *path, enum disk_loss loss)
{
    disk_stop();
    for (size_t i = 0; i < 2; i++) {
        struct file *file = &disk.files[i];
        snprintf(file->path, sizeof file->path, "%s%s", path, i ? "-wal" : "");
        file->named = slurp(file->path);
    }
    disk.loss = loss;
    disk.on = true;
}

void disk_stop(void)
{
    for (size_t i = 0; i < 2; i++) {
        drop(&disk.files[i].named);
        drop(&disk.files[i].fresh);
    }
    memset(&disk, 0, sizeof disk);
}

bool disk_on(void)
{
    return disk.on;
}

void disk_each_cut(void (*cut)(void *arg), void *arg)
{
    disk.cut_arg = arg;
    disk.cut = cut;
}

static bool is_got(enum disk_luck luck, unsigned seed, size_t block)
{
    if (luck != GOT_SOME)
        return luck == GOT_ALL;
    return ((seed * 2654435761U + (unsigned)block * 40503U) >> 7) & 1;
}

void disk_cut(const char *to, enum disk_luck luck, unsigned seed)
{
    for (size_t i = 0; i < 2; i++) {
        struct file *file = &disk.files[i];
        bool old = file->is_fresh && !is_got(luck, seed, BLOCKS);
        struct image cache = slurp(file->path), left;
        left = copy(old ? &file->named : current(file));
        for (size_t block = 0; !old && block < BLOCKS; block++)
            if (file->dirty[block] && is_got(luck, seed, block))
                write_block(&left, &cache, block);
        if (!old && luck == GOT_ALL && left.size > cache.size)
            left.size = cache.size;
        char name[300];
        snprintf(name, sizeof name, "%s%s", to, i ? "-wal" : "");
        spit(name, &left);
        drop(&left);
        drop(&cache);
    }
}

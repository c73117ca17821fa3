#define _GNU_SOURCE
#include "support_vfs.h"
#include "support_disk.h"
#include "support_store.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct shim_file {
    sqlite3_file base;
    const char *name;
    sqlite3_file *real; /* behind this struct */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
    int ops;
    unsigned nth, seen, met, syncs;
    int rc, error;
    bool on;
    char image[200];
} fault;

static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct {
    bool stops;
    bool stopped;   /* a read is */
    unsigned steps; /* reads that may go on */
    unsigned pages;
} reading;

static sqlite3_vfs *disk;
static sqlite3_vfs shim;

static sqlite3_file *real(sqlite3_file *file)
{
    return ((struct shim_file *)file)->real;
}

/* SQLITE_OK, or what the operation is to fail with. */
static int meet(int op)
{
    int rc = SQLITE_OK;
    pthread_mutex_lock(&mutex);
    if (op == SHIM_SYNC)
        fault.syncs++;
    if (fault.ops & op) {
        fault.seen++;
        if (fault.seen == fault.nth || (fault.on && fault.seen > fault.nth)) {
            fault.met++;
            rc = fault.rc;
            errno = fault.error ? fault.error : errno;
        }
    }
    pthread_mutex_unlock(&mutex);
    return rc;
}

static bool is_reader(void)
{
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    return strcmp(name, "encke-reader") == 0;
}

/* The reader's thread stops here, if it is to. */
static void stop_reader(void)
{
    if (!is_reader())
        return;
    pthread_mutex_lock(&mutex);
    while (reading.stops && reading.steps == 0) {
        reading.stopped = true;
        pthread_cond_broadcast(&changed);
        pthread_cond_wait(&changed, &mutex);
    }
    reading.stopped = false;
    if (reading.steps > 0)
        reading.steps--;
    pthread_mutex_unlock(&mutex);
}

static void copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    char bytes[1 << 16];
    size_t size;
    while (in && out && (size = fread(bytes, 1, sizeof bytes, in)) > 0)
        if (fwrite(bytes, 1, size, out) != size)
            abort();
    if (in)
        fclose(in);
    if (!out || fclose(out) != 0)
        abort();
}

static void keep_image(const struct shim_file *file)
{
    const char *name = file->name ? strrchr(file->name, '/') : NULL;
    if (!fault.image[0] || !name)
        return;
    char to[400];
    snprintf(to, sizeof to, "%s%s", fault.image, name);
    copy_file(file->name, to);
}

/* ---- files ---- */

/* Ops that change what is on the disk are told to the model of one (support_disk.h). */
static bool modelled(sqlite3_file *file)
{
    return disk_on() && ((struct shim_file *)file)->name;
}

static int shim_close(sqlite3_file *file)
{
    return real(file)->pMethods->xClose(real(file));
}

static int shim_read(sqlite3_file *file, void *bytes, int size, sqlite3_int64 at)
{
    int rc = meet(SHIM_READ);
    stop_reader();
    return rc != SQLITE_OK ? rc : real(file)->pMethods->xRead(real(file), bytes, size, at);
}

static int shim_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 at)
{
    int rc = meet(SHIM_WRITE);
    if (rc == SHIM_CRASH) {
        real(file)->pMethods->xWrite(real(file), bytes, size / 2, at);
        _exit(0);
    }
    if (rc == SQLITE_OK && modelled(file))
        disk_cut_here();
    if (rc == SQLITE_OK)
        rc = real(file)->pMethods->xWrite(real(file), bytes, size, at);
    if (rc == SQLITE_OK && modelled(file))
        disk_wrote(((struct shim_file *)file)->name, size, at);
    return rc;
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    if (modelled(file))
        disk_cut_here();
    return real(file)->pMethods->xTruncate(real(file), size);
}

static int shim_sync(sqlite3_file *file, int flags)
{
    int rc = meet(SHIM_SYNC);
    if (rc == SHIM_CRASH)
        _exit(0);
    if (modelled(file)) {
        if (rc == SQLITE_OK)
            disk_cut_here();
        if (rc == SQLITE_OK || rc == SQLITE_IOERR_FSYNC)
            disk_synced(((struct shim_file *)file)->name, rc == SQLITE_OK);
        return rc;
    }
    if (rc == SQLITE_OK)
        rc = real(file)->pMethods->xSync(real(file), flags);
    if (rc == SQLITE_OK)
        keep_image((struct shim_file *)file);
    return rc;
}

static int shim_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return real(file)->pMethods->xFileSize(real(file), size);
}

static int shim_lock(sqlite3_file *file, int level)
{
    return real(file)->pMethods->xLock(real(file), level);
}

static int shim_unlock(sqlite3_file *file, int level)
{
    return real(file)->pMethods->xUnlock(real(file), level);
}

static int shim_check(sqlite3_file *file, int *result)
{
    return real(file)->pMethods->xCheckReservedLock(real(file), result);
}

static int shim_control(sqlite3_file *file, int op, void *arg)
{
    return real(file)->pMethods->xFileControl(real(file), op, arg);
}

static int shim_sector(sqlite3_file *file)
{
    return real(file)->pMethods->xSectorSize(real(file));
}

static int shim_traits(sqlite3_file *file)
{
    return real(file)->pMethods->xDeviceCharacteristics(real(file));
}

static int shim_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    int rc = meet(SHIM_MAP);
    return rc != SQLITE_OK ? rc
                           : real(file)->pMethods->xShmMap(real(file), page, size, extend, out);
}

/* Each transaction that reads takes one of the five shared locks that follow the first three
 * (sqlite.org/walformat.html, 2.3). */
static int shim_shm_lock(sqlite3_file *file, int at, int count, int flags)
{
    if (flags == (SQLITE_SHM_LOCK | SQLITE_SHM_SHARED) && at >= 3 && is_reader()) {
        pthread_mutex_lock(&mutex);
        reading.pages++;
        pthread_mutex_unlock(&mutex);
    }
    return real(file)->pMethods->xShmLock(real(file), at, count, flags);
}

static void shim_barrier(sqlite3_file *file)
{
    real(file)->pMethods->xShmBarrier(real(file));
}

static int shim_unmap(sqlite3_file *file, int delete)
{
    return real(file)->pMethods->xShmUnmap(real(file), delete);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_check,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector,
    .xDeviceCharacteristics = shim_traits,
    .xShmMap = shim_map,
    .xShmLock = shim_shm_lock,
    .xShmBarrier = shim_barrier,
    .xShmUnmap = shim_unmap,
};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    struct shim_file *opened = (struct shim_file *)file;
    int rc = meet(SHIM_OPEN);
    (void)vfs;
    file->pMethods = NULL;
    if (rc != SQLITE_OK)
        return rc;
    opened->name = name; /* SQLite keeps it as long as the file is open */
    opened->real = (sqlite3_file *)(opened + 1);
    rc = disk->xOpen(disk, name, opened->real, flags, out);
    file->pMethods = opened->real->pMethods ? &methods : NULL;
    return rc;
}

static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync_directory)
{
    (void)vfs;
    if (disk_on())
        disk_cut_here();
    int rc = disk->xDelete(disk, name, sync_directory);
    if (rc == SQLITE_OK && disk_on())
        disk_deleted(name);
    return rc;
}

void shim_install(void)
{
    if (!disk) {
        disk = sqlite3_vfs_find(NULL);
        shim = *disk;
        shim.zName = "shim";
        shim.szOsFile = (int)sizeof(struct shim_file) + disk->szOsFile;
        shim.xOpen = shim_open;
        shim.xDelete = shim_delete;
    }
    sqlite3_vfs_register(&shim, 1); /* each time: sqlite3_shutdown forgets it */
    shim_go();
    pthread_mutex_lock(&mutex); /* of the log before this one, a thread may still read */
    memset(&fault, 0, sizeof fault);
    reading.pages = 0;
    pthread_mutex_unlock(&mutex);
}

int shim_setup(void **state)
{
    shim_install();
    return store_setup(state);
}

int shim_teardown(void **state)
{
    shim_install(); /* disarms */
    return store_teardown(state);
}

void shim_arm(int ops, unsigned nth, int rc, bool on)
{
    pthread_mutex_lock(&mutex);
    fault.ops = ops;
    fault.nth = nth;
    fault.rc = rc;
    fault.on = on;
    fault.seen = fault.met = fault.syncs = 0;
    pthread_mutex_unlock(&mutex);
}

void shim_errno(int error)
{
    pthread_mutex_lock(&mutex);
    fault.error = error;
    pthread_mutex_unlock(&mutex);
}

void shim_disarm(void)
{
    shim_arm(0, 0, SQLITE_OK, false);
}

unsigned shim_met(void)
{
    pthread_mutex_lock(&mutex);
    unsigned met = fault.met;
    pthread_mutex_unlock(&mutex);
    return met;
}

static void set_stops(bool stops, unsigned steps)
{
    pthread_mutex_lock(&mutex);
    reading.stops = stops;
    reading.steps = steps;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

void shim_stop(void)
{
    set_stops(true, 0);
}

void shim_go(void)
{
    set_stops(false, 0);
}

void shim_step(void)
{
    pthread_mutex_lock(&mutex);
    bool stopped = reading.stopped && reading.steps == 0;
    pthread_mutex_unlock(&mutex);
    if (stopped)
        set_stops(true, 1);
}

void shim_wait(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    int missed = 0;
    pthread_mutex_lock(&mutex);
    while ((!reading.stopped || reading.steps > 0) && missed == 0)
        missed = pthread_cond_timedwait(&changed, &mutex, &until);
    pthread_mutex_unlock(&mutex);
    if (missed)
        fail_msg("the reader's thread read nothing for %d ms", PATIENCE_MS);
}

unsigned shim_pages(void)
{
    pthread_mutex_lock(&mutex);
    unsigned pages = reading.pages;
    pthread_mutex_unlock(&mutex);
    return pages;
}

unsigned shim_syncs(void)
{
    pthread_mutex_lock(&mutex);
    unsigned syncs = fault.syncs;
    pthread_mutex_unlock(&mutex);
    return syncs;
}

void shim_image(const char *dir)
{
    snprintf(fault.image, sizeof fault.image, "%s", dir ? dir : "");
}

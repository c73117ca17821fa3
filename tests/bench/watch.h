/* watch.h - what other processes of this machine have used: CPU, switches, memory.
 *
 * For the server under load, seen from outside, so that it needs no instrument of its own. The CPU
 * comes from the process's own clock, in nanoseconds and for all its threads: /proc/PID/stat counts
 * in ticks of 10 ms, about as long as a whole fan-out.
 *
 * Of a process that has ended nothing is known: what it and its like have used is NAN, and so is
 * all that is reckoned with it.
 */
#ifndef ENCKE_BENCH_WATCH_H
#define ENCKE_BENCH_WATCH_H

#include <dirent.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WATCH_PIDS = 1024, WATCHES = 8 };

/* A name for the figures, and the processes that are summed under it. */
struct watch {
    char name[24];
    int n;
    pid_t pid[WATCH_PIDS];
    clockid_t clock[WATCH_PIDS];
};

/* Adds a process. False if it is not there, or there is no room. */
static inline bool watch_add(struct watch *w, pid_t pid)
{
    if (w->n == WATCH_PIDS || pid <= 0 || clock_getcpuclockid(pid, &w->clock[w->n]) != 0)
        return false;
    w->pid[w->n++] = pid;
    return true;
}

/* Reads "NAME=PID[,PID...]". False if it is not of that form or a process is not there. */
static inline bool watch_parse(struct watch *w, const char *spec)
{
    const char *equals = strchr(spec, '=');
    size_t len = equals ? (size_t)(equals - spec) : 0;

    *w = (struct watch){0};
    if (len == 0 || len >= sizeof w->name)
        return false;
    memcpy(w->name, spec, len);
    for (const char *at = equals; *at;) {
        char *end;
        long pid = strtol(at + 1, &end, 10);

        if ((*end && *end != ',') || !watch_add(w, (pid_t)pid))
            return false;
        at = end;
    }
    return true;
}

/* Nanoseconds of CPU used so far. */
static inline double watch_cpu_ns(const struct watch *w)
{
    struct timespec t;
    double sum = 0;

    for (int i = 0; i < w->n; i++)
        sum += clock_gettime(w->clock[i], &t) == 0 ? (double)t.tv_sec * 1e9 + (double)t.tv_nsec
                                                   : (double)NAN;
    return sum;
}

/* The number after `field` (with its colon) in a /proc status file; NAN if it is not there. */
static inline double watch_field(const char *path, const char *field)
{
    char line[256];
    double value = NAN;
    FILE *f = fopen(path, "re");

    if (!f)
        return NAN;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0)
            value = (double)strtoull(line + strlen(field), NULL, 10);
    fclose(f);
    return value;
}

/* A field summed over the processes, such as "VmRSS:" or "RssAnon:" (both in KiB). */
static inline double watch_memory_kib(const struct watch *w, const char *field)
{
    char path[64];
    double sum = 0;

    for (int i = 0; i < w->n; i++) {
        snprintf(path, sizeof path, "/proc/%d/status", (int)w->pid[i]);
        sum += watch_field(path, field);
    }
    return sum;
}

/* How often the threads have gone to sleep of their own will: a wake-up each. */
static inline double watch_sleeps(const struct watch *w)
{
    char path[320];
    double sum = 0;

    for (int i = 0; i < w->n; i++) {
        struct dirent *entry;
        DIR *tasks;

        snprintf(path, sizeof path, "/proc/%d/task", (int)w->pid[i]);
        tasks = opendir(path);
        sum = tasks ? sum : (double)NAN;
        while (tasks && (entry = readdir(tasks))) {
            snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)w->pid[i], entry->d_name);
            if (entry->d_name[0] != '.')
                sum += watch_field(path, "voluntary_ctxt_switches:");
        }
        if (tasks)
            closedir(tasks);
    }
    return sum;
}

#endif

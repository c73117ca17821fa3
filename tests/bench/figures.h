/* figures.h - the clock, samples with their percentiles, and the printing of figures.
 *
 * The bench's programs are one source file each, so what they share is in headers, as static inline
 * functions. One thread. Running out of memory ends the program: a bench with half its samples is
 * worth nothing.
 */
#ifndef ENCKE_BENCH_FIGURES_H
#define ENCKE_BENCH_FIGURES_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Nanoseconds of the monotonic clock. */
static inline uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* A growing array of durations in nanoseconds. Start with {0}. */
struct samples {
    uint64_t *ns;
    size_t n, room;
    bool sorted;
};

static inline void samples_add(struct samples *s, uint64_t ns)
{
    if (s->n == s->room) {
        s->room = s->room ? 2 * s->room : 16384;
        s->ns = reallocarray(s->ns, s->room, sizeof *s->ns);
        if (!s->ns) {
            fputs("bench: out of memory for samples\n", stderr);
            exit(1);
        }
    }
    s->ns[s->n++] = ns;
    s->sorted = false;
}

static inline int samples_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The sample up to which `share` (0..1) of all lie, in milliseconds; the nearest rank. NAN if
 * there are none. Sorts the samples. */
static inline double samples_ms(struct samples *s, double share)
{
    size_t rank;

    if (s->n == 0)
        return NAN;
    if (!s->sorted)
        qsort(s->ns, s->n, sizeof *s->ns, samples_compare);
    s->sorted = true;
    rank = (size_t)(share * (double)s->n);
    if (rank && (double)rank >= share * (double)s->n)
        rank--;
    return (double)s->ns[rank] / 1e6;
}

static inline void samples_clear(struct samples *s)
{
    s->n = 0;
}

static inline void samples_free(struct samples *s)
{
    free(s->ns);
    *s = (struct samples){0};
}

enum { FIGURES_NAMES = 128, FIGURES_ROUNDS = 1000 };

/* What was measured: for each name, a value a round. */
struct figures {
    bool csv; /* print each figure at once as a line `round,name,value` */
    int n;
    struct figure {
        char name[80];
        int rounds;
        double value[FIGURES_ROUNDS];
    } of[FIGURES_NAMES];
};

/* What is to be divided among n: NAN if there are none, so that the quotient is no figure. */
static inline double figures_among(size_t n)
{
    return n ? (double)n : (double)NAN;
}

/* Adds one figure of one round (from 1); but NAN is one that was not measured, and is not added,
 * lest it be taken for a very good one. More names or rounds than there is room for end the
 * program: they are fixed by its own code and options. */
static inline void figures_add(struct figures *f, int round, const char *name, double value)
{
    int i = 0;

    if (isnan(value))
        return;
    if (f->csv) {
        printf("%d,%s,%.6g\n", round, name, value);
        return;
    }
    while (i < f->n && strcmp(f->of[i].name, name) != 0)
        i++;
    if (i == FIGURES_NAMES || f->of[i].rounds == FIGURES_ROUNDS) {
        fputs("bench: too many figures\n", stderr);
        exit(1);
    }
    if (i == f->n) {
        f->n++;
        snprintf(f->of[i].name, sizeof f->of[i].name, "%s", name);
    }
    f->of[i].value[f->of[i].rounds++] = value;
}

static inline int figures_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Prints, for a person, the median of each figure and its spread. Nothing is left to print for
 * CSV. Sorts the values. */
static inline void figures_print(struct figures *f)
{
    if (f->csv)
        return;
    printf("%-32s %12s %12s %12s\n", "figure", "median", "least", "most");
    for (int i = 0; i < f->n; i++) {
        struct figure *it = &f->of[i];
        double median;

        qsort(it->value, (size_t)it->rounds, sizeof *it->value, figures_compare);
        median = (it->value[(it->rounds - 1) / 2] + it->value[it->rounds / 2]) / 2;
        printf("%-32s %12.6g %12.6g %12.6g\n", it->name, median, it->value[0],
               it->value[it->rounds - 1]);
    }
}

#endif

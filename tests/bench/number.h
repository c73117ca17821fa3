/* number.h - the numbers of the bench's command lines. */
#ifndef ENCKE_BENCH_NUMBER_H
#define ENCKE_BENCH_NUMBER_H

#include <stdbool.h>
#include <stdlib.h>

/* Reads a decimal number into *value. False if the text is anything else, or not within those. */
static inline bool number_read(const char *text, int least, int most, int *value)
{
    char *end;
    long read = strtol(text, &end, 10);

    *value = (int)read;
    return end != text && !*end && read >= least && read <= most;
}

#endif

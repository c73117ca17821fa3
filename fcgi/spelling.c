#include "fcgi/spelling.h"

#include <ctype.h>
#include <stdbool.h>

enum { WRITTEN_MAX = 64 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Computes the usual table row by row, and keeps only the latest row. */
size_t spelling_distance(const char *name, const char *written, size_t len)
{
    size_t costs[WRITTEN_MAX + 1];
    len = least(len, WRITTEN_MAX);
    for (size_t j = 0; j <= len; j++)
        costs[j] = j;
    for (size_t i = 1; *name; i++, name++) {
        size_t diagonal = costs[0];
        costs[0] = i;
        for (size_t j = 1; j <= len; j++) {
            size_t changed = diagonal + !same_letter(*name, written[j - 1]);
            diagonal = costs[j];
            costs[j] = least(changed, 1 + least(costs[j], costs[j - 1]));
        }
    }
    return costs[len];
}

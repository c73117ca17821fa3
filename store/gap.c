#include "store/gap.h"

#include <stdlib.h>
#include <string.h>

struct gap *gap_new(const uint64_t *floors, size_t count)
{
    struct gap *gap = malloc(sizeof *gap + count * sizeof *floors);
    if (!gap)
        return NULL;
    gap->refs = 1;
    gap->count = (uint32_t)count;
    memcpy(gap->floors, floors, count * sizeof *floors);
    return gap;
}

struct gap *gap_hold(struct gap *gap)
{
    if (gap)
        gap->refs++;
    return gap;
}

void gap_drop(struct gap *gap)
{
    if (gap && --gap->refs == 0)
        free(gap);
}

bool gap_is_known(const struct gap *gap, const struct gap *known, uint64_t seq)
{
    if (!known || known->count != gap->count)
        return false;
    for (uint32_t i = 0; i < gap->count; i++)
        if (gap->floors[i] > seq && gap->floors[i] > known->floors[i])
            return false;
    return true;
}

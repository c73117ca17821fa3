#include "store/append.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct append *append_new(struct message *const *messages, size_t count, const char *position)
{
    assert(count > 0 && count <= UINT32_MAX);
    assert(!position || strlen(position) <= POSITION_MAX);
    struct append *append = malloc(sizeof *append + count * sizeof *append->entries);
    if (!append)
        return NULL;
    *append = (struct append){.count = (uint32_t)count};
    for (size_t i = 0; i < count; i++)
        append->entries[i] = (struct append_entry){.message = messages[i]};
    append->position = position ? strdup(position) : NULL;
    if (!position || append->position)
        return append;
    free(append);
    return NULL;
}

void append_free_list(struct append_list *list)
{
    struct append *append;
    while ((append = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, next);
        for (uint32_t i = 0; i < append->count; i++)
            message_drop(append->entries[i].message);
        free(append->position);
        free(append);
    }
}

#include "store/stretch.h"

#include <stdlib.h>

#include "store/sql.h"

/* Room for so many places is kept, when a burst has made more of it. */
enum { KEPT_PLACES = 4096 };

static int load_place(void *context, sqlite3_stmt *row)
{
    return stretch_add(context, sqlite3_column_int64(row, 0),
                       (uint64_t)sqlite3_column_int64(row, 1));
}

int stretch_init(struct stretch *stretch, sqlite3 *db)
{
    *stretch = (struct stretch){0};
    int rc = index_writer_init(&stretch->index, db);
    if (rc != SQLITE_OK)
        return rc;
    return sql_each(db,
                    "SELECT channel, seq FROM message WHERE seq > (SELECT settled FROM log) "
                    "ORDER BY seq",
                    load_place, stretch);
}

void stretch_free(struct stretch *stretch)
{
    free(stretch->places);
    index_writer_free(&stretch->index);
}

int stretch_add(struct stretch *stretch, sqlite3_int64 channel, uint64_t seq)
{
    if (stretch->count == stretch->capacity) {
        size_t capacity = stretch->capacity ? stretch->capacity * 2 : 256;
        struct stretch_place *grown = realloc(stretch->places, capacity * sizeof *grown);
        if (!grown)
            return SQLITE_NOMEM;
        stretch->places = grown;
        stretch->capacity = capacity;
    }
    stretch->places[stretch->count++] = (struct stretch_place){channel, (sqlite3_int64)seq};
    return SQLITE_OK;
}

static int compare_places(const void *left, const void *right)
{
    const struct stretch_place *a = left, *b = right;
    if (a->channel != b->channel)
        return a->channel < b->channel ? -1 : 1;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

int stretch_index(struct stretch *stretch)
{
    int rc = SQLITE_OK;
    if (stretch->count > 1)
        qsort(stretch->places, stretch->count, sizeof *stretch->places, compare_places);
    for (size_t i = 0; i < stretch->count && rc == SQLITE_OK; i++)
        rc = index_put(&stretch->index, stretch->places[i].channel,
                       (uint64_t)stretch->places[i].seq);
    return rc == SQLITE_OK ? index_finish(&stretch->index) : rc;
}

void stretch_clear(struct stretch *stretch)
{
    stretch->count = 0;
    if (stretch->capacity <= KEPT_PLACES)
        return;
    free(stretch->places);
    stretch->places = NULL;
    stretch->capacity = 0;
}

/* They may have been sorted. */
void stretch_undo(struct stretch *stretch, uint64_t head)
{
    size_t kept = 0;
    for (size_t i = 0; i < stretch->count; i++)
        if (stretch->places[i].seq <= (sqlite3_int64)head)
            stretch->places[kept++] = stretch->places[i];
    stretch->count = kept;
    stretch->index.packed = (struct packed){.len = 0}; /* of an index that was not finished */
}

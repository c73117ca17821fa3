#include "fcgi/readers/batches.h"

#include "fcgi/io/diag.h"
#include "fcgi/readers/readers.h"

/* A page is about what a socket takes at once (net.core.wmem_default is 212,992 with the kernel's
 * overhead), so that little is read in vain. */
static const struct page_limit page_limit = {.messages = 256, .bytes = BATCH_BYTES};

/* Tells the operator of the first failure of several. */
static void note_read_status(struct readers *readers, enum log_status status)
{
    bool failing = status != LOG_OK;
    if (failing && !readers->streams_failing)
        diag(DIAG_WARN, "streams are cut off, as the log cannot be read: %s",
             log_status_text(status));
    readers->streams_failing = failing;
}

/* Takes a gap out of the page that the stream has been told of before. */
static void drop_known_gap(struct page *page, const struct gap *told, struct cursor cursor)
{
    if (!page->gap || cursor.kind != CURSOR_AT || !gap_is_known(page->gap, told, cursor.seq))
        return;
    page->reset = false;
    gap_drop(page->gap);
    page->gap = NULL;
}

/* Makes a batch of a page for the group, if it could be read. told: the gap that its reader knows
 * of, or NULL. */
static struct batch *make_batch(const struct group *group, struct cursor cursor,
                                const struct gap *told, struct page *page, enum log_status *status)
{
    struct readers *readers = group->readers;
    struct batch *batch = NULL;
    if (*status == LOG_OK) {
        drop_known_gap(page, told, cursor);
        batch = batch_new(&readers->rendered, &group->shape, page);
        if (!batch)
            *status = LOG_NO_MEMORY;
    }
    if (*status != LOG_LATER)
        note_read_status(readers, *status);
    return batch;
}

/* Makes a batch of what memory has of those channels. Returns as batches_next. */
static struct batch *read_batch(const struct group *group, const char *const *channels,
                                size_t count, struct cursor cursor, const struct gap *told,
                                enum log_status *status)
{
    struct page page;
    *status = log_read(group->readers->log, channels, count, cursor, page_limit, &page);
    struct batch *batch = make_batch(group, cursor, told, &page, status);
    page_free(&page);
    return batch;
}

struct batch *batches_next(const struct group *group, const struct progress *progress,
                           enum log_status *status)
{
    const char *channels[WANTED_CHANNELS_MAX];
    size_t count = group_channels(group, channels);
    return read_batch(group, channels, count, progress->cursor, progress->told, status);
}

enum log_status batches_read(const struct group *group, const struct progress *progress,
                             read_done *done, void *owner, struct read **read)
{
    const char *channels[WANTED_CHANNELS_MAX];
    size_t count = group_channels(group, channels);
    enum log_status status = log_read_later(group->readers->log, channels, count, progress->cursor,
                                            page_limit, done, owner, read);
    if (status != LOG_OK)
        note_read_status(group->readers, status);
    return status;
}

struct batch *batches_of_page(const struct group *group, const struct progress *progress,
                              struct page *page, enum log_status status)
{
    return make_batch(group, progress->cursor, progress->told, page, &status);
}

struct batch *batches_news(const struct group *group, uint64_t seq, enum log_status *status)
{
    const char *channels[WANTED_CHANNELS_MAX];
    size_t count = group_news_channels(group, channels);
    struct readers *readers = group->readers;
    uint64_t made = readers->rendered.made;
    struct batch *batch =
        read_batch(group, channels, count, (struct cursor){CURSOR_AT, seq}, NULL, status);
    readers->round.made += readers->rendered.made - made;
    return batch;
}

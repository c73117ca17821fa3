#include "fcgi/readers/batches.h"

#include <string.h>

#include "fcgi/io/diag.h"

/* A page is about what a socket takes at once (net.core.wmem_default is 212,992 with the kernel's
 * overhead), so that little is rendered in vain. */
static const struct page_limit page_limit = {.messages = 256, .bytes = BATCH_BYTES};

void batches_init(struct batches *batches, struct log *log, struct round *round,
                  struct buf *scratch)
{
    *batches = (struct batches){.log = log, .round = round, .scratch = scratch};
}

/* Tells the operator of the first failure of several. */
static void note_read_status(struct batches *batches, enum log_status status)
{
    bool failing = status != LOG_OK;
    if (failing && !batches->failing)
        diag(DIAG_WARN, "streams are cut off, as the log cannot be read: %s",
             log_status_text(status));
    batches->failing = failing;
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

static struct batch *render_next_page(struct batches *batches, const struct group *group,
                                      const struct progress *progress, enum log_status *status)
{
    const char *channels[WANTED_CHANNELS_MAX];
    size_t count = group_channels(group, channels);
    struct page page;
    struct batch *batch = NULL;
    *status = log_read(batches->log, channels, count, progress->cursor, page_limit, &page);
    if (*status == LOG_OK) {
        drop_known_gap(&page, progress->told, progress->cursor);
        batch = batch_new(batches->scratch, &group->shape, log_epoch(batches->log), &page);
        page_free(&page);
        if (!batch)
            *status = LOG_NO_MEMORY;
    }
    note_read_status(batches, *status);
    return batch;
}

/* Whether the kept batch is what the stream needs next. A full page is the same whatever has come
 * since. */
static bool is_that_batch(const struct kept_batch *kept, const struct group *group,
                          const struct progress *progress, uint64_t head)
{
    return kept->batch && kept->serial == group->serial && kept->told == progress->told &&
           kept->cursor.kind == progress->cursor.kind && kept->cursor.seq == progress->cursor.seq &&
           (kept->head == head || kept->batch->more);
}

struct batch *batches_get(struct batches *batches, const struct group *group,
                          const struct progress *progress, enum log_status *status)
{
    struct cursor cursor = progress->cursor;
    struct kept_batch *kept = &batches->kept[(group->serial + cursor.seq) % BATCHES_KEPT];
    uint64_t head = log_head(batches->log);
    *status = LOG_OK;
    if (is_that_batch(kept, group, progress, head))
        return batch_hold(kept->batch);
    struct batch *batch = render_next_page(batches, group, progress, status);
    if (batch && batch->count > 0 && batch->len <= BATCHES_KEPT_BYTES) {
        batch_drop(kept->batch);
        gap_drop(kept->told);
        *kept = (struct kept_batch){.serial = group->serial,
                                    .head = head,
                                    .told = gap_hold(progress->told),
                                    .cursor = cursor,
                                    .batch = batch_hold(batch)};
    }
    return batch;
}

struct batch *batches_news(struct batches *batches, const struct group *group, uint64_t seq)
{
    const char *channels[WANTED_CHANNELS_MAX];
    size_t count = group_news_channels(group, channels);
    struct batch *batch = NULL;
    struct page page;
    enum log_status status =
        log_read(batches->log, channels, count, (struct cursor){CURSOR_AT, seq}, page_limit, &page);
    if (status == LOG_OK) {
        batch = round_batch(batches->round, batches->scratch, &group->shape,
                            log_epoch(batches->log), &page);
        page_free(&page);
        if (!batch)
            status = LOG_NO_MEMORY;
    }
    note_read_status(batches, status);
    return batch;
}

void batches_free(struct batches *batches)
{
    for (size_t i = 0; i < BATCHES_KEPT; i++) {
        batch_drop(batches->kept[i].batch);
        gap_drop(batches->kept[i].told);
    }
    memset(batches->kept, 0, sizeof batches->kept);
}

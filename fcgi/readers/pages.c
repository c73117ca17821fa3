#include "fcgi/readers/pages.h"

#include <string.h>

#include "fcgi/io/diag.h"

/* Of one page: about what a socket takes at once (net.core.wmem_default is 212,992 with the
 * kernel's overhead), so that little is rendered in vain. */
static const struct page_limit page_limit = {.messages = 256, .bytes = BATCH_BYTES};

void pages_init(struct pages *pages, struct log *log, struct round *round, struct buf *scratch)
{
    *pages = (struct pages){.log = log, .round = round, .scratch = scratch};
}

/* The first failure of several, and the end of them. */
static void note_read(struct pages *pages, enum log_status status)
{
    bool failing = status != LOG_OK;
    if (failing && !pages->failing)
        diag(DIAG_WARN, "streams are cut off, as the log cannot be read: %s",
             log_status_text(status));
    pages->failing = failing;
}

/* A stream is not told again of a gap that it knows of. */
static void drop_known_gap(struct page *page, const struct gap *told, struct cursor cursor)
{
    if (!page->gap || cursor.kind != CURSOR_AT || !gap_is_known(page->gap, told, cursor.seq))
        return;
    page->reset = false;
    gap_drop(page->gap);
    page->gap = NULL;
}

static struct batch *read_page(struct pages *pages, const struct group *group,
                               const struct progress *progress, enum log_status *status)
{
    const char *channels[WANTED_CHANNELS_MAX];
    size_t count = group_channels(group, channels);
    struct page page;
    struct batch *batch = NULL;
    *status = log_read(pages->log, channels, count, progress->cursor, page_limit, &page);
    if (*status == LOG_OK) {
        drop_known_gap(&page, progress->told, progress->cursor);
        batch = batch_new(pages->scratch, &group->shape, log_epoch(pages->log), &page);
        page_free(&page);
        if (!batch)
            *status = LOG_NO_MEMORY;
    }
    note_read(pages, *status);
    return batch;
}

/* A full page is the same whatever has come since. */
static bool is_that_page(const struct kept_page *kept, const struct group *group,
                         const struct progress *progress, uint64_t head)
{
    return kept->batch && kept->serial == group->serial && kept->told == progress->told &&
           kept->cursor.kind == progress->cursor.kind && kept->cursor.seq == progress->cursor.seq &&
           (kept->head == head || kept->batch->more);
}

struct batch *pages_get(struct pages *pages, const struct group *group,
                        const struct progress *progress, enum log_status *status)
{
    struct cursor cursor = progress->cursor;
    struct kept_page *kept = &pages->kept[(group->serial + cursor.seq) % PAGES_KEPT];
    uint64_t head = log_head(pages->log);
    *status = LOG_OK;
    if (is_that_page(kept, group, progress, head))
        return batch_hold(kept->batch);
    struct batch *batch = read_page(pages, group, progress, status);
    if (batch && batch->count > 0 && batch->len <= PAGES_KEPT_BYTES) {
        batch_drop(kept->batch);
        gap_drop(kept->told);
        *kept = (struct kept_page){.serial = group->serial,
                                   .head = head,
                                   .told = gap_hold(progress->told),
                                   .cursor = cursor,
                                   .batch = batch_hold(batch)};
    }
    return batch;
}

struct batch *pages_news(struct pages *pages, const struct group *group, uint64_t seq)
{
    const char *channels[WANTED_CHANNELS_MAX];
    size_t count = group_news_channels(group, channels);
    struct batch *batch = NULL;
    struct page page;
    enum log_status status =
        log_read(pages->log, channels, count, (struct cursor){CURSOR_AT, seq}, page_limit, &page);
    if (status == LOG_OK) {
        batch =
            round_batch(pages->round, pages->scratch, &group->shape, log_epoch(pages->log), &page);
        page_free(&page);
        if (!batch)
            status = LOG_NO_MEMORY;
    }
    note_read(pages, status);
    return batch;
}

void pages_free(struct pages *pages)
{
    for (size_t i = 0; i < PAGES_KEPT; i++) {
        batch_drop(pages->kept[i].batch);
        gap_drop(pages->kept[i].told);
    }
    memset(pages->kept, 0, sizeof pages->kept);
}

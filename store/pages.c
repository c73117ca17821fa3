#include "store/pages.h"

#include <stdlib.h>

#include "store/plan.h"
#include "store/reader.h"

/* ---- life ---- */

int pages_open(struct pages *pages, const char *path, struct pause *pause, size_t memory_bytes,
               const struct reads_limits *limits, char *why, size_t why_size)
{
    struct reader *reader;
    *pages = (struct pages){0};
    tail_init(&pages->tail, memory_bytes);
    if (reader_open(&reader, path, why, why_size) != 0)
        return -1;
    if (reader_load(reader, &pages->tail, why, why_size) == 0)
        return reads_start(&pages->reads, reader, &pages->tail, pause, limits, why, why_size);
    reader_close(reader);
    return -1;
}

void pages_close(struct pages *pages)
{
    reads_stop(pages->reads);
    tail_free(&pages->tail);
    free(pages->floors);
    *pages = (struct pages){0};
    tail_init(&pages->tail, 0);
}

void pages_restart(struct pages *pages, uint64_t floor)
{
    pages->life++;
    tail_restart(&pages->tail, floor);
    reads_drop_kept(pages->reads);
}

void pages_trim(struct pages *pages)
{
    tail_trim(&pages->tail, reads_pinned(pages->reads));
}

/* ---- from memory ---- */

/* Gives room for the floors of count channels; it grows with the largest count so far. */
static int reserve_floors(struct pages *pages, size_t count, struct floors *floors)
{
    uint64_t *grown = pages->floors;
    if (count > pages->floors_size) {
        grown = realloc(pages->floors, count * sizeof *grown);
        if (!grown)
            return -1;
        pages->floors = grown;
        pages->floors_size = count;
    }
    *floors = (struct floors){.each = grown};
    return 0;
}

/* Whether memory alone can answer. */
static bool is_in_memory(const struct pages *pages, const struct plan *plan)
{
    return plan->check_gap ? plan->after >= pages->tail.start
                           : pages->tail.count == pages->messages;
}

enum log_status pages_read(struct pages *pages, const char *const *channels, size_t count,
                           struct cursor cursor, struct page_limit limit, struct page *page)
{
    *page = (struct page){.next = pages->head};
    if (cursor.kind == CURSOR_NOW)
        return LOG_OK;
    struct plan plan = plan_of(cursor, pages->head);
    if (!is_in_memory(pages, &plan))
        return LOG_LATER;
    struct floors floors;
    if (reserve_floors(pages, count, &floors) == 0 &&
        plan_fill_from_memory(&plan, &pages->tail, pages->head, channels, count, &floors, limit,
                              page) == 0)
        return LOG_OK;
    page_free(page);
    return LOG_NO_MEMORY;
}

/* ---- from the disk ---- */

static enum log_status ask_disk(struct pages *pages, const struct question *question,
                                const struct read *wanted, struct read **out)
{
    struct read *read = malloc(sizeof *read);
    if (!read)
        return LOG_NO_MEMORY;
    *read = *wanted;
    enum log_status status = reads_ask(pages->reads, question, read);
    if (status == LOG_OK)
        *out = read;
    else
        free(read);
    return status;
}

enum log_status pages_read_later(struct pages *pages, const char *const *channels, size_t count,
                                 struct cursor cursor, struct page_limit limit, read_done *done,
                                 void *owner, struct read **out)
{
    struct plan plan = plan_of(cursor, pages->head);
    const struct question question = {.channels = channels,
                                      .count = count,
                                      .life = pages->life,
                                      .seq = plan.after,
                                      .limit = limit};
    const struct read wanted = {.plan = plan, .done = done, .owner = owner};
    return ask_disk(pages, &question, &wanted, out);
}

enum log_status pages_read_newest(struct pages *pages, const char *channel, uint64_t before,
                                  read_done *done, void *owner, struct read **out)
{
    uint64_t upto = before > pages->head ? pages->head : before > 0 ? before - 1 : 0;
    const struct question question = {.channels = &channel,
                                      .count = 1,
                                      .life = pages->life,
                                      .newest = true,
                                      .seq = upto,
                                      .limit = {1, 1}};
    const struct read wanted = {.done = done, .owner = owner};
    return ask_disk(pages, &question, &wanted, out);
}

/* Makes the page of an owner from what was read for it. */
static int fill_page(struct pages *pages, const struct read *read, struct page *page)
{
    const struct disk_read *disk = read->disk;
    const struct question *question = &disk->question;
    struct page_fill fill = {.page = page, .limit = question->limit};
    struct floors floors;
    if (question->newest)
        return page_add_all(&fill, &disk->page.page);
    if (reserve_floors(pages, question->count, &floors) != 0)
        return -1;
    return plan_fill_from_disk(&read->plan, &pages->tail, pages->head, &disk->page,
                               question->channels, question->count, &floors, question->limit, page);
}

/* What is still to be read for a page: since the log has begun anew, or since what was read says
 * too little. Returns false if that is nothing. */
static bool plan_next_read(const struct pages *pages, struct read *read, struct question *question)
{
    const struct disk_read *disk = read->disk;
    *question = disk->question;
    question->life = pages->life;
    if (question->newest || disk->status != LOG_OK)
        return false;
    if (disk->question.life != pages->life) {
        read->plan = plan_of((struct cursor){.kind = CURSOR_UNKNOWN}, pages->head);
        question->seq = read->plan.after;
        return true;
    }
    question->seq = disk->page.upto;
    return plan_needs_more(&disk->page, &pages->tail);
}

/* Lets a read go on that has to. Returns whether it does; if not, *status says why not, or that it
 * need not. */
static bool goes_on(struct pages *pages, struct read *read, enum log_status *status)
{
    struct question question;
    *status = read->disk->status;
    if (!plan_next_read(pages, read, &question))
        return false;
    *status = reads_ask_again(pages->reads, read, &question);
    return *status == LOG_OK;
}

struct read *pages_next(struct pages *pages, enum log_status *status, struct page *page)
{
    struct read *read;
    *page = (struct page){0};
    do
        read = reads_next(pages->reads);
    while (read && goes_on(pages, read, status));
    if (!read)
        return NULL;
    if (*status == LOG_OK && fill_page(pages, read, page) != 0) {
        page_free(page);
        *status = LOG_NO_MEMORY;
    }
    reads_forget(pages->reads, read);
    return read;
}

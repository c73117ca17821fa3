#include "store/plan.h"

struct plan plan_of(struct cursor cursor, uint64_t head)
{
    if (cursor.kind == CURSOR_AT && cursor.seq <= head)
        return (struct plan){.after = cursor.seq, .check_gap = true};
    return (struct plan){.reset = cursor.kind != CURSOR_START};
}

bool plan_needs_more(const struct disk_page *disk, const struct tail *tail)
{
    return disk->page.count == 0 && !disk->page.more && tail->start > disk->upto;
}

/* Tells the reader which of the messages that it asked for are gone. */
static int note_gap(const struct plan *plan, const struct floors *floors, struct page *page)
{
    if (floors->highest <= plan->after)
        return 0;
    page->reset = page->reset || plan->check_gap;
    page->gap = gap_new(floors->each, floors->count);
    return page->gap ? 0 : -1;
}

/* Goes on with what memory has after `from`; if it does not reach back so far any more, the reader
 * has to ask again. */
static int fill_rest(const struct plan *plan, const struct tail *tail, uint64_t head, uint64_t from,
                     const char *const *channels, size_t count, const struct floors *floors,
                     struct page_fill *fill)
{
    struct page *page = fill->page;
    page->reset = plan->reset;
    if (note_gap(plan, floors, page) != 0)
        return -1;
    if (!page->more && tail->start > from)
        page->more = true;
    else if (!page->more && tail_read(tail, channels, count, from, fill) != 0)
        return -1;
    page->next = page->more ? page->messages[page->count - 1]->seq : head;
    return 0;
}

int plan_fill_from_memory(const struct plan *plan, const struct tail *tail, uint64_t head,
                          const char *const *channels, size_t count, struct floors *floors,
                          struct page_limit limit, struct page *page)
{
    struct page_fill fill = {.page = page, .limit = limit};
    for (size_t i = 0; i < count; i++)
        floors_add(floors, tail_floor(tail, channels[i]));
    uint64_t from = plan->after > tail->start ? plan->after : tail->start;
    return fill_rest(plan, tail, head, from, channels, count, floors, &fill);
}

/* Since the disk was read, retention may have deleted more. Of what memory has after upto, the
 * floor there tells (tail.h); if memory does not go on from upto, the next read will. */
static uint64_t later_floor(uint64_t floor, const struct tail *tail, const char *channel,
                            uint64_t upto)
{
    uint64_t now = tail->start <= upto ? tail_floor(tail, channel) : 0;
    return now > upto && now > floor ? now : floor;
}

int plan_fill_from_disk(const struct plan *plan, const struct tail *tail, uint64_t head,
                        const struct disk_page *disk, const char *const *channels, size_t count,
                        struct floors *floors, struct page_limit limit, struct page *page)
{
    struct page_fill fill = {.page = page, .limit = limit};
    if (page_add_all(&fill, &disk->page) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        floors_add(floors, later_floor(disk->floors.each[i], tail, channels[i], disk->upto));
    return fill_rest(plan, tail, head, disk->upto, channels, count, floors, &fill);
}

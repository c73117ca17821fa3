#include "store/page.h"

#include <stdlib.h>

int page_reserve(struct page_fill *fill, size_t count)
{
    size_t room = fill->limit.messages - fill->page->count;
    size_t want = fill->page->count + (count < room ? count : room);
    if (want <= fill->capacity)
        return 0;
    struct message **grown = realloc(fill->page->messages, want * sizeof *grown);
    if (!grown)
        return -1;
    fill->page->messages = grown;
    fill->capacity = want;
    return 0;
}

int page_add(struct page_fill *fill, struct message *message)
{
    if (fill->page->count == fill->capacity &&
        page_reserve(fill, fill->capacity ? fill->capacity : 8) != 0)
        return -1;
    fill->page->messages[fill->page->count++] = message;
    fill->bytes += message->data_len;
    return 0;
}

int page_add_all(struct page_fill *fill, const struct page *from)
{
    if (page_reserve(fill, from->count) != 0)
        return -1;
    for (size_t i = 0; i < from->count; i++) {
        fill->page->messages[fill->page->count++] = message_hold(from->messages[i]);
        fill->bytes += from->messages[i]->data_len;
    }
    fill->page->more = from->more;
    return 0;
}

void page_free(struct page *page)
{
    for (size_t i = 0; i < page->count; i++)
        message_drop(page->messages[i]);
    free(page->messages);
    gap_drop(page->gap);
    *page = (struct page){0};
}

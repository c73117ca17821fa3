#include "fcgi/readers/round.h"

#include <stdlib.h>
#include <string.h>

#include "fcgi/readers/render.h"
#include "store/table.h"

/* An answer of polls (frame) or a batch of streams; the other is NULL. */
struct rendering {
    UT_hash_handle hh;
    struct frame *frame;
    struct batch *batch;
    char key[];
};

/* All that decides the bytes, but for the messages. */
struct key {
    uint64_t next, count;
    const struct gap *told; /* that streams learn of */
    enum format format;
    uint16_t request_id;
    bool more, reset;
};

static bool write_round_key(struct buf *out, const struct shape *shape, const struct page *page)
{
    struct key key;
    memset(&key, 0, sizeof key); /* its padding too */
    key.next = page->next;
    key.told = format_streams(shape->format) ? page->gap : NULL;
    key.count = page->count;
    key.format = shape->format;
    key.request_id = shape->request_id;
    key.more = page->more;
    key.reset = page->reset;
    buf_reset(out);
    buf_add(out, &key, sizeof key);
    for (size_t i = 0; i < page->count; i++)
        buf_add(out, &page->messages[i]->seq, sizeof page->messages[i]->seq);
    if (page->reset)
        buf_puts(out, shape->callback);
    return buf_ok(out);
}

static struct rendering *find_rendering(struct round *round, const struct shape *shape,
                                        const struct page *page)
{
    struct rendering *rendering = NULL;
    if (write_round_key(&round->key, shape, page))
        HASH_FIND(hh, round->renderings, round->key.bytes, round->key.len, rendering);
    return rendering;
}

static void drop_rendering(struct round *round, struct rendering *rendering)
{
    HASH_DEL(round->renderings, rendering);
    frame_drop(rendering->frame);
    batch_drop(rendering->batch);
    free(rendering);
}

static void drop_renderings(struct round *round)
{
    struct rendering *rendering, *next;
    HASH_ITER (hh, round->renderings, rendering, next)
        drop_rendering(round, rendering);
    round->kept = 0;
}

/* Keeps a frame or a batch for the next reader that needs the same. Without memory for it, it will
 * be rendered again. */
static void keep_rendering(struct round *round, struct frame *frame, struct batch *batch,
                           size_t bytes)
{
    round->rendered += bytes;
    if (round->kept + bytes > ROUND_KEPT_MAX)
        drop_renderings(round);
    struct rendering *rendering =
        buf_ok(&round->key) ? malloc(sizeof *rendering + round->key.len) : NULL;
    if (!rendering)
        return;
    *rendering = (struct rendering){.frame = NULL};
    memcpy(rendering->key, round->key.bytes, round->key.len);
    HASH_ADD_KEYPTR(hh, round->renderings, rendering->key, round->key.len, rendering);
    if (!rendering->hh.tbl) {
        free(rendering);
        return;
    }
    rendering->frame = frame ? frame_hold(frame) : NULL;
    rendering->batch = batch ? batch_hold(batch) : NULL;
    round->kept += bytes;
}

struct frame *round_frame(struct round *round, struct buf *scratch, enum format format,
                          const char *epoch, const struct page *page, size_t most)
{
    const struct shape shape = {.format = format, .callback = ""};
    struct rendering *rendering = find_rendering(round, &shape, page);
    if (rendering)
        return frame_hold(rendering->frame);
    struct frame *frame = render_page(scratch, format, epoch, page, most);
    if (frame)
        keep_rendering(round, frame, NULL, frame->len);
    return frame;
}

struct batch *round_batch(struct round *round, struct buf *scratch, const struct shape *shape,
                          const char *epoch, const struct page *page)
{
    struct rendering *rendering = find_rendering(round, shape, page);
    if (rendering)
        return batch_hold(rendering->batch);
    struct batch *batch = batch_new(scratch, shape, epoch, page);
    if (batch)
        keep_rendering(round, NULL, batch, batch->len);
    return batch;
}

void round_end(struct round *round)
{
    drop_renderings(round);
    buf_free(&round->key);
    round->rendered = 0;
}

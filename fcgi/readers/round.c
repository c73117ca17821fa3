#include "fcgi/readers/round.h"

#include <stdlib.h>
#include <string.h>

#include "fcgi/readers/render.h"
#include "store/table.h"

struct round_answer {
    UT_hash_handle hh;
    struct frame *frame;
    char key[];
};

/* All that decides the bytes, but for the messages. */
struct key {
    uint64_t next, count;
    enum format format;
    bool more, reset;
};

static bool write_round_key(struct buf *out, enum format format, const struct page *page)
{
    struct key key;
    memset(&key, 0, sizeof key); /* its padding too */
    key.next = page->next;
    key.count = page->count;
    key.format = format;
    key.more = page->more;
    key.reset = page->reset;
    buf_reset(out);
    buf_add(out, &key, sizeof key);
    for (size_t i = 0; i < page->count; i++)
        buf_add(out, &page->messages[i]->seq, sizeof page->messages[i]->seq);
    return buf_ok(out);
}

static void drop_answers(struct round *round)
{
    struct round_answer *answer, *next;
    HASH_ITER (hh, round->answers, answer, next) {
        HASH_DEL(round->answers, answer);
        frame_drop(answer->frame);
        free(answer);
    }
    round->kept = 0;
}

/* Keeps the answer for the next group that needs the same. Without memory for it, it will be made
 * again. */
static void keep_answer(struct round *round, struct frame *frame)
{
    round->made += frame->len;
    if (round->kept + frame->len > ROUND_KEPT_MAX)
        drop_answers(round);
    struct round_answer *answer =
        buf_ok(&round->key) ? malloc(sizeof *answer + round->key.len) : NULL;
    if (!answer)
        return;
    *answer = (struct round_answer){.frame = NULL};
    memcpy(answer->key, round->key.bytes, round->key.len);
    HASH_ADD_KEYPTR(hh, round->answers, answer->key, round->key.len, answer);
    if (!answer->hh.tbl) {
        free(answer);
        return;
    }
    answer->frame = frame_hold(frame);
    round->kept += frame->len;
}

struct frame *round_frame(struct round *round, struct rendered *rendered, enum format format,
                          const struct page *page, size_t most)
{
    struct round_answer *answer = NULL;
    if (write_round_key(&round->key, format, page))
        HASH_FIND(hh, round->answers, round->key.bytes, round->key.len, answer);
    if (answer)
        return frame_hold(answer->frame);
    struct frame *frame = render_page(rendered, format, page, most);
    if (frame)
        keep_answer(round, frame);
    return frame;
}

void round_end(struct round *round)
{
    drop_answers(round);
    buf_free(&round->key);
    round->made = 0;
}

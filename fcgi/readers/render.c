#include "fcgi/readers/render.h"

#include <stdio.h>
#include <string.h>

#include "fcgi/readers/json.h"

/* ---- pages ---- */

/* An answer that is made of a page; it may have only the first of its messages. */
struct answer {
    struct buf *out;
    enum format format;
    const char *epoch;
    const struct page *page;
    size_t count; /* messages given */
};

enum {
    /* bytes left free in front of the messages: the answer's beginning tells where it ends */
    BEGIN_ROOM = sizeof "{'id':'','messages':[" + CURSOR_SIZE
};

/* The seq of the cursor to go on with. An answer without any of the page's messages has run out of
 * memory, and will not be sent. */
static uint64_t answer_next(const struct answer *answer)
{
    const struct page *page = answer->page;
    bool cut = answer->count > 0 && answer->count < page->count;
    return cut ? page->messages[answer->count - 1]->seq : page->next;
}

/* Writes messages until they have `most` bytes. */
static void put_answer_messages(struct answer *answer, struct rendered *rendered, size_t most)
{
    struct buf *out = answer->out;
    const struct shape shape = {.format = answer->format, .callback = ""};
    size_t from = out->len;
    while (answer->count < answer->page->count && out->len - from < most && buf_ok(out)) {
        const struct frame *frame =
            rendered_message(rendered, &shape, answer->page->messages[answer->count]);
        if (answer->format == FORMAT_JSON && answer->count > 0)
            buf_add(out, ",", 1);
        if (frame)
            buf_add(out, frame->bytes, frame->len);
        out->failed |= !frame;
        answer->count++;
    }
}

static void put_json_end(const struct answer *answer)
{
    const struct page *page = answer->page;
    bool more = page->more || answer->count < page->count;
    buf_puts(answer->out, more ? "],\"more\":true" : "],\"more\":false");
    buf_puts(answer->out, page->reset ? ",\"reset\":true}\n" : "}\n");
}

static void put_html_end(const struct answer *answer)
{
    buf_puts(answer->out, "\",\"id\":\"");
    json_put_cursor(answer->out, answer->epoch, answer_next(answer));
    buf_puts(answer->out, "\"}\n");
}

static const char *word_text(bool news)
{
    return news ? "{\"ret\":\"new\"}\n" : "{\"ret\":\"punt\"}\n";
}

struct frame *render_word(bool news)
{
    return frame_new(200, TYPE_JSON, NULL, word_text(news), strlen(word_text(news)));
}

/* Starts an answer in the buffer. */
static void start_answer(struct buf *out)
{
    buf_reset(out);
    if (buf_room(out, BEGIN_ROOM))
        out->len = BEGIN_ROOM;
}

/* Frames what was written, with begin before it. NULL when out of memory. */
static struct frame *answer_frame(const struct answer *answer, const char *type, const char *header,
                                  const char *begin)
{
    if (!buf_ok(answer->out))
        return NULL;
    size_t len = strlen(begin), at = BEGIN_ROOM - len;
    memcpy(answer->out->bytes + at, begin, len);
    struct frame *frame =
        frame_new(200, type, header, answer->out->bytes + at, answer->out->len - at);
    if (frame)
        frame->messages = (uint16_t)answer->count;
    return frame;
}

static struct frame *answer_frame_json(const struct answer *answer)
{
    char id[CURSOR_SIZE], begin[BEGIN_ROOM];
    char *end = stpcpy(begin, "{\"id\":\"");
    end = stpcpy(end, cursor_print(id, answer->epoch, answer_next(answer)));
    stpcpy(end, "\",\"messages\":[");
    return answer_frame(answer, TYPE_JSON, NULL, begin);
}

/* Plain text has no place for the cursor and the gap. */
static struct frame *answer_frame_says(const struct answer *answer)
{
    char id[CURSOR_SIZE], header[CURSOR_SIZE + 64];
    snprintf(header, sizeof header, "Last-Event-ID: %s\r\n%s",
             cursor_print(id, answer->epoch, answer_next(answer)),
             answer->page->reset ? "Encke-Reset: true\r\n" : "");
    return answer_frame(answer, TYPE_TEXT, header, "");
}

struct frame *render_page(struct rendered *rendered, struct buf *scratch, enum format format,
                          const struct page *page, size_t most)
{
    struct answer answer = {scratch, format, rendered->epoch, page, 0};
    if (format == FORMAT_WORD)
        return render_word(page->count > 0 || page->reset);
    start_answer(scratch);
    put_answer_messages(&answer, rendered, most);
    if (format == FORMAT_SAYS)
        return answer_frame_says(&answer);
    if (format == FORMAT_HTML) {
        put_html_end(&answer);
        return answer_frame(&answer, TYPE_JSON, NULL, "{\"html\":\"");
    }
    put_json_end(&answer);
    return answer_frame_json(&answer);
}

struct frame *render_nothing(struct rendered *rendered, struct buf *scratch, enum format format,
                             uint64_t head)
{
    struct page nothing = {.next = head};
    return render_page(rendered, scratch, format, &nothing, 1);
}

/* ---- what was stored ---- */

static void put_stored(struct buf *out, const char *epoch, const struct append_entry *entry)
{
    buf_puts(out, "{\"id\":\"");
    json_put_cursor(out, epoch, entry->message->seq);
    buf_puts(out, entry->duplicate ? "\",\"duplicate\":true}" : "\"}");
}

struct frame *render_stored(struct buf *scratch, const char *epoch, const struct append *append,
                            bool array)
{
    buf_reset(scratch);
    for (uint32_t i = 0; i < append->count; i++) {
        if (array)
            buf_puts(scratch, i == 0 ? "[" : ",");
        put_stored(scratch, epoch, &append->entries[i]);
    }
    buf_puts(scratch, array ? "]\n" : "\n");
    if (!buf_ok(scratch))
        return NULL;
    return frame_new(200, TYPE_JSON, NULL, scratch->bytes, scratch->len);
}

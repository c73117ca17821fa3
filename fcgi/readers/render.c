#include "fcgi/readers/render.h"

#include <string.h>

#include "fcgi/readers/json.h"

/* ---- one word ---- */

static const char *word_text(bool news)
{
    return news ? "{\"ret\":\"new\"}\n" : "{\"ret\":\"punt\"}\n";
}

struct frame *render_word(bool news)
{
    return frame_new(200, TYPE_JSON, NULL, word_text(news), strlen(word_text(news)));
}

/* ---- pages ---- */

/* An answer that is made of a page; it may have only the first of its messages. */
struct answer {
    enum format format;
    const char *epoch;
    const struct page *page;
    size_t count;                      /* messages given */
    size_t runs;                       /* in which their texts lie */
    struct frame *frames[LIMIT_MAX];   /* of the runs: a reference each */
    struct text pieces[LIMIT_MAX + 2]; /* of the body: its beginning, the runs, its end */
    char begin[sizeof "{'id':'','messages':[" + CURSOR_SIZE];
    char end[sizeof "],'more':false,'reset':true}\n" + CURSOR_SIZE];
};

static void start_answer(struct answer *answer, enum format format, const char *epoch,
                         const struct page *page)
{
    answer->format = format;
    answer->epoch = epoch;
    answer->page = page;
    answer->count = 0;
    answer->runs = 0;
    *answer->begin = '\0';
    *answer->end = '\0';
}

static void drop_runs(struct answer *answer)
{
    for (size_t i = 0; i < answer->runs; i++)
        frame_drop(answer->frames[i]);
}

/* Adds messages until they have `most` bytes. Returns false when out of memory. */
static bool add_runs(struct answer *answer, struct rendered *rendered, size_t most)
{
    const struct page *page = answer->page;
    const struct shape shape = {.format = answer->format, .callback = ""};
    struct rendered_run run;
    for (size_t len = 0; answer->count < page->count && answer->runs < LIMIT_MAX && len < most;
         len += run.len) {
        if (!rendered_run(rendered, &shape, page->messages + answer->count,
                          page->count - answer->count, most - len, &run))
            return false;
        answer->frames[answer->runs++] = run.frame;
        answer->pieces[answer->runs] = (struct text){(char *)run.frame->bytes + run.at, run.len};
        answer->count += run.count;
    }
    if (answer->format == FORMAT_JSON && answer->runs > 0)
        answer->pieces[answer->runs].len--; /* the comma after the last one */
    return true;
}

/* Writes the cursor to go on with. */
static char *print_next(const struct answer *answer, char text[CURSOR_SIZE])
{
    const struct page *page = answer->page;
    bool cut = answer->count < page->count;
    return cursor_print(text, answer->epoch,
                        cut ? page->messages[answer->count - 1]->seq : page->next);
}

/* Frames what stands between begin and end. */
static struct frame *answer_frame(struct answer *answer, const char *type, const char *header)
{
    answer->pieces[0] = text_of(answer->begin);
    answer->pieces[answer->runs + 1] = text_of(answer->end);
    struct frame *frame = frame_gather(200, type, header, answer->pieces, answer->runs + 2);
    if (frame)
        frame->messages = (uint16_t)answer->count;
    return frame;
}

static struct frame *answer_frame_json(struct answer *answer)
{
    const struct page *page = answer->page;
    bool more = page->more || answer->count < page->count;
    print_next(answer, stpcpy(answer->begin, "{\"id\":\""));
    strcat(answer->begin, "\",\"messages\":[");
    strcpy(answer->end, more ? "],\"more\":true" : "],\"more\":false");
    strcat(answer->end, page->reset ? ",\"reset\":true}\n" : "}\n");
    return answer_frame(answer, TYPE_JSON, NULL);
}

static struct frame *answer_frame_html(struct answer *answer)
{
    strcpy(answer->begin, "{\"html\":\"");
    print_next(answer, stpcpy(answer->end, "\",\"id\":\""));
    strcat(answer->end, "\"}\n");
    return answer_frame(answer, TYPE_JSON, NULL);
}

/* Plain text has no place for the cursor and the gap. */
static struct frame *answer_frame_says(struct answer *answer)
{
    char header[sizeof "Last-Event-ID: \r\nEncke-Reset: true\r\n" + CURSOR_SIZE];
    print_next(answer, stpcpy(header, "Last-Event-ID: "));
    strcat(header, answer->page->reset ? "\r\nEncke-Reset: true\r\n" : "\r\n");
    return answer_frame(answer, TYPE_TEXT, header);
}

static struct frame *end_answer(struct answer *answer)
{
    if (answer->format == FORMAT_SAYS)
        return answer_frame_says(answer);
    if (answer->format == FORMAT_HTML)
        return answer_frame_html(answer);
    return answer_frame_json(answer);
}

struct frame *render_page(struct rendered *rendered, enum format format, const struct page *page,
                          size_t most)
{
    if (format == FORMAT_WORD)
        return render_word(page->count > 0 || page->reset);
    struct answer answer;
    start_answer(&answer, format, rendered->epoch, page);
    struct frame *frame = add_runs(&answer, rendered, most) ? end_answer(&answer) : NULL;
    drop_runs(&answer);
    return frame;
}

struct frame *render_nothing(struct rendered *rendered, enum format format, uint64_t head)
{
    struct page nothing = {.next = head};
    return render_page(rendered, format, &nothing, 1);
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

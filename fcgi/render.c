#include "fcgi/render.h"

#include <stdio.h>
#include <string.h>

#include "fcgi/escape.h"
#include "fcgi/strip.h"

void render_cursor(struct buf *out, const char *epoch, uint64_t seq)
{
    char *room = buf_room(out, CURSOR_SIZE);
    if (room)
        out->len += strlen(cursor_print(room, epoch, seq));
}

void render_message(struct buf *out, const char *epoch, const struct message *message)
{
    buf_puts(out, "{\"id\":\"");
    render_cursor(out, epoch, message->seq);
    buf_puts(out, "\",\"channel\":\"");
    buf_puts(out, message_channel(message));
    buf_puts(out, "\",\"time\":");
    buf_number(out, message->time_ms);
    buf_puts(out, ",\"data\":");
    escape_json(out, message_data(message), message->data_len);
    buf_puts(out, "}");
}

static void write_json_begin(struct buf *out, const char *epoch, const struct page *page)
{
    buf_puts(out, "{\"id\":\"");
    render_cursor(out, epoch, page->next);
    buf_puts(out, "\",\"messages\":[");
}

static void write_json_end(struct buf *out, const struct page *page)
{
    buf_puts(out, page->more ? "],\"more\":true" : "],\"more\":false");
    buf_puts(out, page->reset ? ",\"reset\":true}\n" : "}\n");
}

static void write_json(struct buf *out, const char *epoch, const struct page *page)
{
    write_json_begin(out, epoch, page);
    for (size_t i = 0; i < page->count; i++) {
        if (i > 0)
            buf_puts(out, ",");
        render_message(out, epoch, page->messages[i]);
    }
    write_json_end(out, page);
}

static void write_html(struct buf *out, const char *epoch, const struct page *page)
{
    struct buf html = {0};
    for (size_t i = 0; i < page->count; i++) {
        buf_puts(&html, "<div>");
        escape_html(&html, message_data(page->messages[i]), page->messages[i]->data_len);
        buf_puts(&html, "</div>");
    }
    buf_puts(out, "{\"html\":");
    escape_json(out, html.bytes ? html.bytes : "", html.len);
    buf_puts(out, ",\"id\":\"");
    render_cursor(out, epoch, page->next);
    buf_puts(out, "\"}\n");
    out->failed |= html.failed;
    buf_free(&html);
}

static const char *word(bool news)
{
    return news ? "{\"ret\":\"new\"}\n" : "{\"ret\":\"punt\"}\n";
}

static void write_word(struct buf *out, const struct page *page)
{
    buf_puts(out, word(page->count > 0 || page->reset));
}

struct frame *render_word(bool news)
{
    return frame_new(200, TYPE_JSON, NULL, word(news), strlen(word(news)));
}

static void write_says(struct buf *out, const struct page *page)
{
    for (size_t i = 0; i < page->count; i++) {
        buf_puts(out, "Server says: ");
        escape_line(out, message_data(page->messages[i]), page->messages[i]->data_len);
        buf_puts(out, "\n");
    }
}

/* Plain text has no place for the cursor and the gap. */
static struct frame *frame_says(const struct buf *body, const char *epoch, const struct page *page)
{
    char id[CURSOR_SIZE], header[CURSOR_SIZE + 64];
    snprintf(header, sizeof header, "Last-Event-ID: %s\r\n%s", cursor_print(id, epoch, page->next),
             page->reset ? "Encke-Reset: true\r\n" : "");
    return frame_new(200, TYPE_TEXT, header, body->bytes, body->len);
}

/* The answer whose body was written; NULL if there was no memory for it. */
static struct frame *frame_page(const struct buf *body, enum format format, const char *epoch,
                                const struct page *page)
{
    if (!buf_ok(body))
        return NULL;
    struct frame *frame = format == FORMAT_SAYS
                              ? frame_says(body, epoch, page)
                              : frame_new(200, TYPE_JSON, NULL, body->bytes, body->len);
    if (frame)
        frame->messages = format == FORMAT_WORD ? 0 : (uint16_t)page->count;
    return frame;
}

struct frame *render_page(struct buf *scratch, enum format format, const char *epoch,
                          const struct page *page)
{
    buf_reset(scratch);
    if (format == FORMAT_WORD)
        write_word(scratch, page);
    else if (format == FORMAT_HTML)
        write_html(scratch, epoch, page);
    else if (format == FORMAT_SAYS)
        write_says(scratch, page);
    else
        write_json(scratch, epoch, page);
    return frame_page(scratch, format, epoch, page);
}

struct frame *render_behind(struct strips *strips, struct buf *scratch, const char *epoch,
                            const char *const *channels, size_t count, const struct page *page)
{
    buf_reset(scratch);
    write_json_begin(scratch, epoch, page);
    strip_page(strips, scratch, epoch, channels, count, page);
    write_json_end(scratch, page);
    return frame_page(scratch, FORMAT_JSON, epoch, page);
}

struct frame *render_nothing(struct buf *scratch, enum format format, const char *epoch,
                             uint64_t head)
{
    struct page nothing = {.next = head};
    return render_page(scratch, format, epoch, &nothing);
}

struct frame *render_id(const char *epoch, uint64_t seq)
{
    static const char before[] = "{\"id\":\"", after[] = "\"}\n";
    char body[sizeof before + CURSOR_SIZE + sizeof after];
    cursor_print(stpcpy(body, before), epoch, seq);
    strcat(body, after);
    return frame_new(200, TYPE_JSON, NULL, body, strlen(body));
}

int refusal_of(enum log_status status, const char **header)
{
    bool lasts = status == LOG_FULL || status == LOG_FAILED;
    *header = lasts ? NULL : "Retry-After: 1\r\n";
    return status == LOG_FULL ? 507 : status == LOG_FAILED ? 500 : 503;
}

struct frame *render_refusal(enum log_status status)
{
    const char *header;
    int code = refusal_of(status, &header);
    return frame_error(code, header, log_status_text(status));
}

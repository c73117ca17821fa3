#include "fcgi/render.h"

#include <jansson.h>
#include <string.h>

/* Appends text as a JSON string (RFC 8259, 7), quotes included. It was checked to be UTF-8 when it
 * came in. */
static void add_json_string(struct buf *out, const char *text, size_t len)
{
    json_t *string = json_stringn_nocheck(text, len);
    size_t room_len = len + len / 8 + 16; /* enough unless there is much to escape */
    char *room = string ? buf_room(out, room_len) : NULL;
    size_t need = room ? json_dumpb(string, room, room_len, JSON_ENCODE_ANY) : 0;
    if (need > room_len && (room = buf_room(out, need)) != NULL)
        need = json_dumpb(string, room, need, JSON_ENCODE_ANY);
    json_decref(string);
    if (need > 0 && room)
        out->len += need;
    else
        out->failed = true;
}

static void add_html_text(struct buf *out, const char *text, size_t len)
{
    const char *end = text + len;
    while (text < end) {
        const char *stop = text;
        while (stop < end && !strchr("&<>\"'", *stop))
            stop++;
        buf_add(out, text, (size_t)(stop - text));
        if (stop == end)
            return;
        buf_puts(out, *stop == '&'   ? "&amp;"
                      : *stop == '<' ? "&lt;"
                      : *stop == '>' ? "&gt;"
                      : *stop == '"' ? "&quot;"
                                     : "&#39;");
        text = stop + 1;
    }
}

static void add_json_message(struct buf *out, const char *epoch, const struct message *message)
{
    char id[CURSOR_SIZE];
    buf_printf(out, "{\"id\":\"%s\",\"channel\":\"%s\",\"time\":%lld,\"data\":",
               cursor_print(id, epoch, message->seq), message_channel(message),
               (long long)message->time_ms);
    add_json_string(out, message_data(message), message->data_len);
    buf_puts(out, "}");
}

static void write_json(struct buf *out, const char *epoch, const struct page *page)
{
    char id[CURSOR_SIZE];
    buf_printf(out, "{\"id\":\"%s\",\"messages\":[", cursor_print(id, epoch, page->next));
    for (size_t i = 0; i < page->count; i++) {
        if (i > 0)
            buf_puts(out, ",");
        add_json_message(out, epoch, page->messages[i]);
    }
    buf_printf(out, "],\"more\":%s%s}\n", page->more ? "true" : "false",
               page->reset ? ",\"reset\":true" : "");
}

static void write_html(struct buf *out, const char *epoch, const struct page *page)
{
    char id[CURSOR_SIZE];
    struct buf html = {0};
    for (size_t i = 0; i < page->count; i++) {
        buf_puts(&html, "<div>");
        add_html_text(&html, message_data(page->messages[i]), page->messages[i]->data_len);
        buf_puts(&html, "</div>");
    }
    buf_puts(out, "{\"html\":");
    add_json_string(out, html.bytes ? html.bytes : "", html.len);
    buf_printf(out, ",\"id\":\"%s\"}\n", cursor_print(id, epoch, page->next));
    out->failed |= html.failed;
    buf_free(&html);
}

struct frame *render_page(struct buf *scratch, enum format format, const char *epoch,
                          const struct page *page)
{
    buf_reset(scratch);
    if (format == FORMAT_WORD)
        buf_printf(scratch, "{\"ret\":\"%s\"}\n", page->count > 0 || page->reset ? "new" : "punt");
    else if (format == FORMAT_HTML)
        write_html(scratch, epoch, page);
    else
        write_json(scratch, epoch, page);
    if (!buf_ok(scratch))
        return NULL;
    struct frame *frame = frame_new(200, TYPE_JSON, NULL, scratch->bytes, scratch->len);
    if (frame)
        frame->messages = format == FORMAT_WORD ? 0 : (uint16_t)page->count;
    return frame;
}

struct frame *render_nothing(struct buf *scratch, enum format format, const char *epoch,
                             uint64_t head)
{
    struct page nothing = {.next = head};
    return render_page(scratch, format, epoch, &nothing);
}

struct frame *render_id(const char *epoch, uint64_t seq)
{
    char id[CURSOR_SIZE], body[CURSOR_SIZE + 16];
    int len = snprintf(body, sizeof body, "{\"id\":\"%s\"}\n", cursor_print(id, epoch, seq));
    return frame_new(200, TYPE_JSON, NULL, body, (size_t)len);
}

struct frame *render_refusal(enum log_status status)
{
    bool lasts = status == LOG_FULL || status == LOG_FAILED;
    return frame_error(status == LOG_FULL     ? 507
                       : status == LOG_FAILED ? 500
                                              : 503,
                       lasts ? NULL : "Retry-After: 1\r\n", log_status_text(status));
}

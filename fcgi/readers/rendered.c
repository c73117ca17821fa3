#include "fcgi/readers/rendered.h"

#include <string.h>

#include "fcgi/readers/json.h"
#include "fcgi/readers/transport.h"
#include "fcgi/wire/escape.h"

void rendered_init(struct rendered *rendered, const char *epoch)
{
    memset(rendered, 0, sizeof *rendered);
    rendered->epoch = epoch;
}

/* The messages of a format lie side by side, and those of another format begin elsewhere. */
static struct rendered_place *place_of(struct rendered *rendered, enum format format, uint64_t seq)
{
    return &rendered->places[(seq + (uint64_t)format * (RENDERED_MAX / FORMATS)) % RENDERED_MAX];
}

/* ---- rendering ---- */

static void put_html_message(struct buf *out, struct buf *html, const struct message *message)
{
    buf_reset(html);
    buf_puts(html, "<div>");
    escape_html(html, message_data(message), message->data_len);
    buf_puts(html, "</div>");
    escape_json_text(out, html->bytes ? html->bytes : "", html->len);
    out->failed |= html->failed;
}

static void put_says_message(struct buf *out, const struct message *message)
{
    buf_puts(out, "Server says: ");
    escape_line(out, message_data(message), message->data_len);
    buf_puts(out, "\n");
}

static struct frame *render_message(struct rendered *rendered, const struct shape *shape,
                                    const struct message *message)
{
    struct buf *out = &rendered->scratch;
    buf_reset(out);
    if (format_streams(shape->format)) {
        transport_of(shape->format)->put_message(out, shape, rendered->epoch, message);
        return transport_frame(shape, out);
    }
    if (shape->format == FORMAT_HTML)
        put_html_message(out, &rendered->html, message);
    else if (shape->format == FORMAT_SAYS)
        put_says_message(out, message);
    else
        json_put_message(out, rendered->epoch, message);
    return buf_ok(out) ? frame_raw(out->bytes, out->len) : NULL;
}

/* ---- keeping ---- */

static size_t kept_bytes(const struct frame *frame)
{
    return sizeof *frame + frame->len;
}

static void empty_place(struct rendered *rendered, struct rendered_place *place)
{
    if (!place->frame)
        return;
    rendered->bytes -= kept_bytes(place->frame);
    frame_drop(place->frame);
    place->frame = NULL;
}

/* Keeps the frame, and drops others until it is not too much. Takes over the reference. */
static void keep_frame(struct rendered *rendered, struct rendered_place *place, struct frame *frame,
                       enum format format)
{
    size_t bytes = kept_bytes(frame);
    empty_place(rendered, place);
    while (rendered->bytes > 0 && rendered->bytes + bytes > RENDERED_BYTES_MAX) {
        empty_place(rendered, &rendered->places[rendered->next_drop]);
        rendered->next_drop = (rendered->next_drop + 1) % RENDERED_MAX;
    }
    *place = (struct rendered_place){frame, format};
    rendered->bytes += bytes;
}

struct frame *rendered_message(struct rendered *rendered, const struct shape *shape,
                               const struct message *message)
{
    struct rendered_place *place = place_of(rendered, shape->format, message->seq);
    struct frame *frame = place->frame;
    if (frame && frame->seq == message->seq && place->format == shape->format &&
        frame->request_id == shape->request_id)
        return frame;
    frame = render_message(rendered, shape, message);
    if (!frame)
        return NULL;
    frame->seq = message->seq;
    frame->messages = 1;
    rendered->made += frame->len;
    keep_frame(rendered, place, frame, shape->format);
    return frame;
}

void rendered_free(struct rendered *rendered)
{
    for (size_t i = 0; i < RENDERED_MAX; i++)
        empty_place(rendered, &rendered->places[i]);
    buf_free(&rendered->scratch);
    buf_free(&rendered->html);
}

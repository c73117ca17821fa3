#include "fcgi/readers/rendered.h"

#include <string.h>

#include "fcgi/readers/json.h"
#include "fcgi/readers/transport.h"
#include "fcgi/wire/escape.h"

enum {
    BLOCK_ROOM = RENDERED_BLOCK - sizeof(struct frame), /* for texts */
    BLOCKS_MAX = RENDERED_BYTES_MAX / RENDERED_BLOCK
};

/* Numbers begin with 1, so that a place of all zero bytes has a block that is not kept. */
void rendered_init(struct rendered *rendered, const char *epoch)
{
    memset(rendered, 0, sizeof *rendered);
    rendered->epoch = epoch;
    rendered->first = rendered->next = 1;
}

/* ---- rendering ---- */

static void put_html_message(struct buf *out, struct buf *html, const struct message *message)
{
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

/* Writes the text of the message into scratch. */
static void render_message(struct rendered *rendered, const struct shape *shape,
                           const struct message *message)
{
    struct buf *out = &rendered->scratch, *content = &rendered->content;
    buf_reset(out);
    buf_reset(content);
    if (format_streams(shape->format)) {
        transport_of(shape->format)->put_message(content, shape, rendered->epoch, message);
        transport_put_framed(out, shape, content);
    } else if (shape->format == FORMAT_HTML) {
        put_html_message(out, content, message);
    } else if (shape->format == FORMAT_SAYS) {
        put_says_message(out, message);
    } else {
        json_put_message(out, rendered->epoch, message);
        buf_puts(out, ",");
    }
}

/* ---- blocks ---- */

static struct rendered_block *block_of(struct rendered *rendered, uint64_t number)
{
    return &rendered->blocks[number % BLOCKS_MAX];
}

/* Whether the block with that number is kept, and has texts of that shape. */
static bool is_block_of(struct rendered *rendered, uint64_t number, const struct shape *shape)
{
    const struct rendered_block *block = block_of(rendered, number);
    return number >= rendered->first && block->format == shape->format &&
           block->frame->request_id == shape->request_id;
}

static size_t kept_bytes(const struct frame *frame)
{
    return sizeof *frame + frame->len;
}

static void drop_oldest_block(struct rendered *rendered)
{
    struct frame *frame = block_of(rendered, rendered->first++)->frame;
    rendered->bytes -= kept_bytes(frame);
    frame_drop(frame);
}

/* Opens a block for texts of that shape, of which the first has len bytes, and drops others until
 * it is not too much. Returns false when out of memory. */
static bool open_block(struct rendered *rendered, const struct shape *shape, size_t len)
{
    struct frame *frame = frame_blank(shape->request_id, len > BLOCK_ROOM ? len : BLOCK_ROOM);
    if (!frame)
        return false;
    while (rendered->bytes > 0 && rendered->bytes + kept_bytes(frame) > RENDERED_BYTES_MAX)
        drop_oldest_block(rendered);
    rendered->open[shape->format] = rendered->next++;
    *block_of(rendered, rendered->open[shape->format]) =
        (struct rendered_block){.frame = frame, .format = shape->format};
    rendered->bytes += kept_bytes(frame);
    return true;
}

/* Whether a text of that shape and length fits into the open block of its format. */
static bool fits_open_block(struct rendered *rendered, const struct shape *shape, size_t len)
{
    uint64_t number = rendered->open[shape->format];
    const struct rendered_block *block = block_of(rendered, number);
    return is_block_of(rendered, number, shape) && len <= block->frame->len - block->used;
}

/* Copies the text in scratch into a block, and notes in place where it is. Returns false when out
 * of memory. */
static bool keep_text(struct rendered *rendered, const struct shape *shape,
                      struct rendered_place *place)
{
    const struct buf *text = &rendered->scratch;
    if (!fits_open_block(rendered, shape, text->len) && !open_block(rendered, shape, text->len))
        return false;
    uint64_t number = rendered->open[shape->format];
    struct rendered_block *block = block_of(rendered, number);
    place->block = number;
    place->at = block->used;
    place->len = (uint32_t)text->len;
    memcpy(block->frame->bytes + block->used, text->bytes, text->len);
    block->used += place->len;
    rendered->made += text->len;
    return true;
}

/* ---- places ---- */

/* The messages of a format have neighbouring places, and those of another format begin elsewhere.
 */
static struct rendered_place *place_of(struct rendered *rendered, enum format format, uint64_t seq)
{
    return &rendered->places[(seq + (uint64_t)format * (RENDERED_MAX / FORMATS)) % RENDERED_MAX];
}

/* Gives the place to the message. Returns false when out of memory. */
static bool fill_place(struct rendered *rendered, const struct shape *shape,
                       const struct message *message, struct rendered_place *place)
{
    render_message(rendered, shape, message);
    if (!buf_ok(&rendered->scratch) || !keep_text(rendered, shape, place))
        return false;
    place->seq = message->seq;
    return true;
}

/* Where the text of the message is, which is rendered if need be. Valid until the next call; NULL
 * when out of memory. */
static const struct rendered_place *find_text(struct rendered *rendered, const struct shape *shape,
                                              const struct message *message)
{
    struct rendered_place *place = place_of(rendered, shape->format, message->seq);
    bool filled = place->seq == message->seq && is_block_of(rendered, place->block, shape);
    return filled || fill_place(rendered, shape, message, place) ? place : NULL;
}

/* Whether the text of the message begins there. */
static bool is_text_at(const struct rendered_place *place, const struct message *message,
                       uint64_t block, uint32_t at)
{
    return place->seq == message->seq && place->block == block && place->at == at;
}

bool rendered_run(struct rendered *rendered, const struct shape *shape,
                  struct message *const *messages, size_t count, size_t most,
                  struct rendered_run *run)
{
    const struct rendered_place *place = find_text(rendered, shape, messages[0]);
    if (!place)
        return false;
    uint64_t block = place->block;
    uint32_t end = place->at + place->len;
    /* the reference, since the block may be dropped when the next message is rendered */
    *run = (struct rendered_run){frame_hold(block_of(rendered, block)->frame), place->at,
                                 place->len, 1};
    for (; run->count < count && run->len < most; run->count++) {
        const struct message *message = messages[run->count];
        place = place_of(rendered, shape->format, message->seq);
        if (!is_text_at(place, message, block, end))
            place = find_text(rendered, shape, message);
        if (!place || !is_text_at(place, message, block, end))
            break;
        end += place->len;
        run->len += place->len;
    }
    return true;
}

void rendered_free(struct rendered *rendered)
{
    while (rendered->first < rendered->next)
        drop_oldest_block(rendered);
    buf_free(&rendered->scratch);
    buf_free(&rendered->content);
}

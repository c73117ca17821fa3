#include "fcgi/readers/json.h"

#include <string.h>

#include "fcgi/wire/escape.h"
#include "store/cursor.h"

void json_put_cursor(struct buf *out, const char *epoch, uint64_t seq)
{
    char *room = buf_room(out, CURSOR_SIZE);
    if (room)
        out->len += strlen(cursor_print(room, epoch, seq));
}

void json_put_message(struct buf *out, const char *epoch, const struct message *message)
{
    buf_puts(out, "{\"id\":\"");
    json_put_cursor(out, epoch, message->seq);
    buf_puts(out, "\",\"channel\":\"");
    buf_puts(out, message_channel(message));
    buf_puts(out, "\",\"time\":");
    buf_number(out, message->time_ms);
    buf_puts(out, ",\"data\":");
    escape_json(out, message_data(message), message->data_len);
    buf_puts(out, "}");
}

#include "fcgi/io/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/decimal.h"

enum {
    KEEP = 256 * 1024, /* bytes of memory that a reset buffer keeps at most */
    ORDINARY = 128     /* bytes that are enough for most formatted texts */
};

void buf_reset(struct buf *buf)
{
    if (buf->cap > KEEP)
        buf_free(buf);
    buf->len = 0;
    buf->failed = false;
}

void buf_free(struct buf *buf)
{
    free(buf->bytes);
    *buf = (struct buf){0};
}

char *buf_room(struct buf *buf, size_t len)
{
    if (buf->cap - buf->len >= len)
        return buf->bytes + buf->len;
    size_t cap = buf->cap ? buf->cap : 1024;
    while (cap - buf->len < len)
        cap *= 2;
    char *bytes = realloc(buf->bytes, cap);
    if (!bytes) {
        buf->failed = true;
        return NULL;
    }
    buf->bytes = bytes;
    buf->cap = cap;
    return bytes + buf->len;
}

void buf_add(struct buf *buf, const void *bytes, size_t len)
{
    char *room = len ? buf_room(buf, len) : NULL;
    if (!room)
        return;
    memcpy(room, bytes, len);
    buf->len += len;
}

void buf_puts(struct buf *buf, const char *text)
{
    buf_add(buf, text, strlen(text));
}

void buf_number(struct buf *buf, int64_t n)
{
    if (n < 0)
        buf_puts(buf, "-");
    char *room = buf_room(buf, DECIMAL_SIZE);
    if (room)
        buf->len += decimal_print(room, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    /* only a text that does not fit at once is formatted twice */
    char *room = buf_room(buf, ORDINARY);
    int len = room ? vsnprintf(room, buf->cap - buf->len, format, args) : -1;
    if (len >= 0 && (size_t)len >= buf->cap - buf->len) {
        room = buf_room(buf, (size_t)len + 1);
        len = room ? vsnprintf(room, (size_t)len + 1, format, again) : -1;
    }
    if (len >= 0)
        buf->len += (size_t)len;
    else
        buf->failed = true;
    va_end(again);
    va_end(args);
}

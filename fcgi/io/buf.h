/* buf.h - a buffer that grows, in which answers are written before they are framed.
 *
 * Appending does not report a failure. If there is no memory, the buffer remembers it, and the
 * caller asks once at the end, with buf_ok. A buffer is used again (buf_reset) and not freed, so
 * that a busy daemon does not allocate for each answer.
 *
 * Not to be shared between threads.
 */
#ifndef ENCKE_FCGI_BUF_H
#define ENCKE_FCGI_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All bytes zero is an empty buffer. */
struct buf {
    char *bytes;
    size_t len;
    size_t cap;
    bool failed; /* there was no memory for an append: bytes has only a part */
};

/* Empties the buffer. Its memory is kept, unless it is more than 256 KiB. */
void buf_reset(struct buf *buf);

/* Frees the memory. It is an empty buffer then. */
void buf_free(struct buf *buf);

/* Append bytes, a string without its NUL, a decimal number, formatted text. */
void buf_add(struct buf *buf, const void *bytes, size_t len);
void buf_puts(struct buf *buf, const char *text);
void buf_number(struct buf *buf, int64_t n);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Makes room for len more bytes at bytes + len, and returns that place; NULL when out of memory. */
char *buf_room(struct buf *buf, size_t len);

/* Whether everything is there that was appended since the reset. */
static inline bool buf_ok(const struct buf *buf)
{
    return !buf->failed;
}

#endif

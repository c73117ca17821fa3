/* buf.h - bytes that grow: where answers are written before they are framed.
 *
 * Appending never fails on the spot: out of memory is remembered, and asked for once at the end
 * with buf_ok. A buffer is kept and reset, not freed, so that a busy daemon stops allocating.
 * Not shared between threads.
 */
#ifndef ENCKE_FCGI_BUF_H
#define ENCKE_FCGI_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *bytes;
    size_t len;
    size_t cap;
    bool failed; /* an append found no memory; bytes holds only a part */
};

/* Forgets the content, keeps the memory unless it is large. All zero bytes is an empty buf. */
void buf_reset(struct buf *buf);
void buf_free(struct buf *buf);

void buf_add(struct buf *buf, const void *bytes, size_t len);
void buf_puts(struct buf *buf, const char *text);
void buf_number(struct buf *buf, int64_t n);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Room for len more bytes at bytes + len, or NULL when out of memory. */
char *buf_room(struct buf *buf, size_t len);

/* Whether everything appended since the reset is there. */
static inline bool buf_ok(const struct buf *buf)
{
    return !buf->failed;
}

#endif

#include "fcgi/readers/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "fcgi/readers/transport.h"

enum { IOV_AT_ONCE = 1024 }; /* the kernel's UIO_MAXIOV */

static void add_part(struct batch *batch, struct batch_part part, uint32_t at, uint32_t len)
{
    batch->parts[batch->count] = part;
    batch->iov[batch->count] = (struct iovec){part.frame->bytes + at, len};
    batch->len += len;
    batch->messages += part.messages;
    batch->count++;
}

/* Renders message i of the page as nobody else gets it: with the reset before it, or with the call
 * of this shape. If the page has no messages, its reset and the cursor. Returns false when out of
 * memory. */
static bool add_own_part(struct batch *batch, struct rendered *rendered, const struct shape *shape,
                         const struct page *page, size_t i)
{
    const struct transport *transport = transport_of(shape->format);
    struct buf *out = &rendered->scratch;
    buf_reset(out);
    if (i == 0)
        transport->put_reset(out, shape);
    if (i < page->count && transport->put_call)
        transport->put_call(out, shape);
    if (i < page->count)
        transport->put_message(out, shape, rendered->epoch, page->messages[i]);
    else
        transport->put_cursor(out, shape, rendered->epoch, page->next);
    struct frame *frame = transport_frame(shape, out);
    if (!frame)
        return false;
    rendered->made += frame->len;
    uint64_t seq = i < page->count ? page->messages[i]->seq : page->next;
    add_part(batch, (struct batch_part){frame, seq, i < page->count}, 0, frame->len);
    return true;
}

/* Adds the part that begins with message i of the page, or with the reset. Returns false when out
 * of memory. */
static bool add_next_part(struct batch *batch, struct rendered *rendered, const struct shape *shape,
                          const struct page *page, size_t i)
{
    bool called = transport_of(shape->format)->put_call != NULL;
    if (page->reset && (i == 0 || called))
        return add_own_part(batch, rendered, shape, page, i);
    struct rendered_run run;
    if (!rendered_run(rendered, shape, page->messages + i, called ? 1 : page->count - i,
                      BATCH_BYTES - batch->len, &run))
        return false;
    uint64_t seq = page->messages[i + run.count - 1]->seq;
    add_part(batch, (struct batch_part){run.frame, seq, (uint32_t)run.count}, run.at, run.len);
    return true;
}

/* Adds parts until the batch has BATCH_BYTES or all of the page. Returns false when out of memory.
 */
static bool fill_batch(struct batch *batch, struct rendered *rendered, const struct shape *shape,
                       const struct page *page)
{
    size_t most = page->count > 0 ? page->count : page->reset;
    if (most == 0)
        return true;
    batch->parts = malloc(most * sizeof *batch->parts);
    batch->iov = malloc(most * sizeof *batch->iov);
    if (!batch->parts || !batch->iov)
        return false;
    do {
        if (!add_next_part(batch, rendered, shape, page, batch->messages))
            return false;
    } while (batch->messages < page->count && batch->len < BATCH_BYTES);
    return true;
}

struct batch *batch_new(struct rendered *rendered, const struct shape *shape,
                        const struct page *page)
{
    struct batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        return NULL;
    *batch = (struct batch){.next = page->next,
                            .told = gap_hold(page->gap),
                            .more = page->more,
                            .bare = transport_of(shape->format)->put_call && !page->reset};
    if (!fill_batch(batch, rendered, shape, page)) {
        batch_free(batch);
        return NULL;
    }
    if (batch->messages < page->count) {
        batch->next = batch->parts[batch->count - 1].seq;
        batch->more = true;
    }
    return batch;
}

void batch_free(struct batch *batch)
{
    if (!batch)
        return;
    for (uint32_t i = 0; i < batch->count; i++)
        frame_drop(batch->parts[i].frame);
    free(batch->parts);
    free(batch->iov);
    gap_drop(batch->told);
    free(batch);
}

/* Fills iov with the parts from the first on, and the call before each. Returns how many it has. */
static size_t interleave_calls(const struct batch *batch, uint32_t first, struct frame *call,
                               struct iovec iov[IOV_AT_ONCE])
{
    size_t count = 0;
    for (uint32_t i = first; i < batch->count && count < IOV_AT_ONCE; i++) {
        iov[count++] = (struct iovec){call->bytes, call->len};
        iov[count++] = batch->iov[i];
    }
    return count;
}

/* Sends the parts from the first on. Returns how many bytes the socket took, 0 if it is full, -1
 * if the peer is gone. */
static ssize_t send_parts(const struct batch *batch, uint32_t first, struct frame *call, int fd)
{
    struct iovec called[IOV_AT_ONCE];
    size_t count = batch->count - first;
    struct msghdr message = {.msg_iov = batch->iov + first,
                             .msg_iovlen = count < IOV_AT_ONCE ? count : IOV_AT_ONCE};
    if (call) {
        message.msg_iov = called;
        message.msg_iovlen = interleave_calls(batch, first, call, called);
    }
    ssize_t took;
    do
        took = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (took < 0 && errno == EINTR);
    if (took >= 0)
        return took;
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
}

/* The stream has been given the part, whole or its beginning. */
static void note_part_given(const struct batch_part *part, struct progress *progress,
                            uint64_t *messages)
{
    progress->cursor = (struct cursor){CURSOR_AT, part->seq};
    *messages += part->messages;
}

/* The stream has been given bytes of the first part: it knows of the batch's gap. */
static void note_told(const struct batch *batch, struct progress *progress)
{
    if (!batch->told || batch->told == progress->told)
        return;
    gap_drop(progress->told);
    progress->told = gap_hold(batch->told);
}

/* What is left of part i, of which (with its call) so many bytes are sent. */
static struct rest rest_of_part(const struct batch *batch, uint32_t i, struct frame *call,
                                size_t sent)
{
    struct frame *frame = batch->parts[i].frame;
    const uint8_t *bytes = batch->iov[i].iov_base;
    return (struct rest){.call = call ? frame_hold(call) : NULL,
                         .frame = frame_hold(frame),
                         .at = (uint32_t)(bytes - frame->bytes),
                         .len = (uint32_t)batch->iov[i].iov_len,
                         .sent = (uint32_t)sent};
}

int batch_send(const struct batch *batch, struct frame *call, int fd, struct progress *progress,
               uint64_t *messages)
{
    size_t call_len = call ? call->len : 0;
    uint32_t next = 0;
    while (next < batch->count) {
        ssize_t took = send_parts(batch, next, call, fd);
        if (took < 0)
            return -1;
        size_t left = (size_t)took;
        for (; next < batch->count && left >= call_len + batch->iov[next].iov_len; next++) {
            left -= call_len + batch->iov[next].iov_len;
            note_part_given(&batch->parts[next], progress, messages);
        }
        if (left > 0) {
            progress->rest = rest_of_part(batch, next, call, left);
            note_part_given(&batch->parts[next], progress, messages);
        }
        if (took > 0)
            note_told(batch, progress);
        if (left > 0 || took == 0)
            return 0;
    }
    progress->cursor = (struct cursor){CURSOR_AT, batch->next};
    return 1;
}

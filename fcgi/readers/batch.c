#include "fcgi/readers/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "fcgi/readers/transport.h"

enum { IOV_AT_ONCE = 1024 }; /* the kernel's UIO_MAXIOV */

/* Renders message i of the page as nobody else gets it: with the reset before it, or with the call
 * of this shape. If the page has no messages, its reset and the cursor. */
static struct frame *render_own_frame(struct rendered *rendered, const struct shape *shape,
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
        return NULL;
    rendered->made += frame->len;
    frame->seq = i < page->count ? page->messages[i]->seq : page->next;
    frame->messages = i < page->count;
    return frame;
}

/* The frame of message i, or of the reset. Returns one reference, or NULL when out of memory. */
static struct frame *batch_frame(struct rendered *rendered, const struct shape *shape,
                                 const struct page *page, size_t i)
{
    if (page->reset && (i == 0 || transport_of(shape->format)->put_call))
        return render_own_frame(rendered, shape, page, i);
    struct frame *frame = rendered_message(rendered, shape, page->messages[i]);
    return frame ? frame_hold(frame) : NULL;
}

static bool add_batch_frame(struct batch *batch, struct frame *frame)
{
    if (!frame)
        return false;
    batch->frames[batch->count] = frame;
    batch->iov[batch->count] = (struct iovec){frame->bytes, frame->len};
    batch->len += frame->len;
    batch->count++;
    return true;
}

struct batch *batch_new(struct rendered *rendered, const struct shape *shape,
                        const struct page *page)
{
    size_t count = page->count > 0 ? page->count : page->reset;
    struct batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        return NULL;
    *batch = (struct batch){.next = page->next,
                            .told = gap_hold(page->gap),
                            .more = page->more,
                            .bare = transport_of(shape->format)->put_call && !page->reset};
    batch->frames = count ? calloc(count, sizeof *batch->frames) : NULL;
    batch->iov = count ? calloc(count, sizeof *batch->iov) : NULL;
    bool complete = count == 0 || (batch->frames && batch->iov);
    for (size_t i = 0; complete && i < count && batch->len < BATCH_BYTES; i++)
        complete = add_batch_frame(batch, batch_frame(rendered, shape, page, i));
    if (complete && batch->count < page->count) {
        batch->next = batch->frames[batch->count - 1]->seq;
        batch->more = true;
    }
    if (complete)
        return batch;
    batch_free(batch);
    return NULL;
}

void batch_free(struct batch *batch)
{
    if (!batch)
        return;
    for (uint32_t i = 0; i < batch->count; i++)
        frame_drop(batch->frames[i]);
    free(batch->frames);
    free(batch->iov);
    gap_drop(batch->told);
    free(batch);
}

/* Fills iov with the frames from the first on, and the call before each. Returns how many parts
 * these are. */
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

/* Sends the frames from the first on. Returns how many bytes the socket took, 0 if it is full, -1
 * if the peer is gone. */
static ssize_t send_batch_frames(const struct batch *batch, uint32_t first, struct frame *call,
                                 int fd)
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

/* The stream has been given the frame, whole or its beginning. */
static void note_frame_given(const struct frame *frame, struct progress *progress,
                             uint64_t *messages)
{
    progress->cursor = (struct cursor){CURSOR_AT, frame->seq};
    *messages += frame->messages;
}

/* The stream has been given bytes of the first frame: it knows of the batch's gap. */
static void note_told(const struct batch *batch, struct progress *progress)
{
    if (!batch->told || batch->told == progress->told)
        return;
    gap_drop(progress->told);
    progress->told = gap_hold(batch->told);
}

int batch_send(const struct batch *batch, struct frame *call, int fd, struct progress *progress,
               uint64_t *messages)
{
    size_t call_len = call ? call->len : 0;
    uint32_t next = 0;
    while (next < batch->count) {
        ssize_t took = send_batch_frames(batch, next, call, fd);
        if (took < 0)
            return -1;
        size_t left = (size_t)took;
        for (; next < batch->count && left >= call_len + batch->frames[next]->len; next++) {
            left -= call_len + batch->frames[next]->len;
            note_frame_given(batch->frames[next], progress, messages);
        }
        if (left > 0) {
            progress->rest = (struct rest){.call = call ? frame_hold(call) : NULL,
                                           .frame = frame_hold(batch->frames[next]),
                                           .sent = (uint32_t)left};
            note_frame_given(progress->rest.frame, progress, messages);
        }
        if (took > 0)
            note_told(batch, progress);
        if (left > 0 || took == 0)
            return 0;
    }
    progress->cursor = (struct cursor){CURSOR_AT, batch->next};
    return 1;
}

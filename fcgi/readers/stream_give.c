#include "fcgi/readers/stream_give.h"

#include "fcgi/readers/batches.h"

/* ---- live and behind ---- */

/* Takes the stream to a list where it gets no news. */
static void stop_being_live(struct conn *conn, struct conn_list *list, enum watch watch)
{
    struct stream *stream = conn->in;
    if (stream->live)
        readers_of(stream)->streams_behind++;
    stream->live = false;
    conn_move(conn, list);
    conn_watch(conn, watch);
}

void stream_fall_behind(struct conn *conn)
{
    const struct stream *stream = conn->in;
    stop_being_live(conn, &readers_of(stream)->behind, WATCH_LATER);
}

static void become_live(struct conn *conn)
{
    struct stream *stream = conn->in;
    if (!stream->live)
        readers_of(stream)->streams_behind--;
    stream->live = true;
    gap_drop(stream->progress.told); /* it is past all floors */
    stream->progress.told = NULL;
    conn_move(conn, &stream->group->conns);
    stream_rewatch(conn);
}

void stream_rewatch(struct conn *conn)
{
    const struct stream *stream = conn->in;
    conn_watch(conn, stream->partner->ops->watch(stream->partner));
}

void stream_cancel_read(struct stream *stream)
{
    if (stream->read)
        log_read_cancel(readers_of(stream)->log, stream->read);
    stream->read = NULL;
}

void stream_set_aside(struct conn *conn)
{
    stream_cancel_read(conn->in);
    stop_being_live(conn, &conn->conns->busy, WATCH_CLOSE);
}

void stream_finish(struct conn *conn)
{
    const struct stream *stream = conn->in;
    stream->partner->ops->finish(conn);
}

void stream_abandon(struct conn *conn)
{
    const struct stream *stream = conn->in;
    stream->partner->ops->gone(conn);
}

/* ---- giving ---- */

bool stream_give_batch(struct conn *conn, const struct batch *batch)
{
    struct conns *conns = conn->conns;
    struct stream *stream = conn->in;
    struct progress *progress = &stream->progress;
    struct frame *call = batch->bare ? group_call(stream->group, &conns->scratch) : NULL;
    if (batch->bare && !call) {
        conn_end(conn);
        return false;
    }
    int sent = batch_send(batch, call, conn->fd, progress, &conns->deliveries);
    if (sent == 0 && stream_is_cut(stream))
        unsent_note(&conns->unsent, &progress->rest, conn);
    if (sent < 0)
        stream_abandon(conn);
    else if (sent == 0)
        stream_fall_behind(conn);
    return sent > 0;
}

/* Sends the rest of what was cut through. Returns as stream_give_batch. */
static bool give_rest(struct conn *conn)
{
    struct unsent *unsent = &conn->conns->unsent;
    struct stream *stream = conn->in;
    struct rest *rest = &stream->progress.rest;
    int sent = rest_send(rest, conn->fd);
    if (sent < 0) {
        stream_abandon(conn);
    } else if (sent == 0) {
        unsent_note(unsent, rest, conn);
        stream_fall_behind(conn);
    } else {
        unsent_drop(unsent, rest);
    }
    return sent > 0;
}

bool stream_give_frame(struct conn *conn, struct frame *frame, struct cursor cursor)
{
    if (!frame) {
        conn_end(conn);
        return false;
    }
    struct stream *stream = conn->in;
    stream->progress.cursor = cursor;
    stream->progress.rest = rest_of(frame);
    return give_rest(conn);
}

/* Nobody else can have moved the head since the batch was made of a page (invariant 3). */
void stream_give_next(struct conn *conn, const struct batch *batch)
{
    const struct stream *stream = conn->in;
    if (!stream_give_batch(conn, batch))
        return;
    if (batch->more)
        stream_fall_behind(conn); /* others first */
    else if (stream->once)
        stream_finish(conn);
    else
        become_live(conn);
}

/* ---- from the disk ---- */

/* A client that began without a cursor is told one, although there is no message for it. Returns as
 * stream_give_batch. */
static bool tell_first_cursor(struct conn *conn, const struct batch *batch)
{
    const struct stream *stream = conn->in;
    const struct shape *shape = &stream->group->shape;
    struct buf *out = &conn->conns->scratch;
    if (batch->count > 0 || stream->progress.cursor.kind == CURSOR_AT)
        return true;
    buf_reset(out);
    transport_of(shape->format)
        ->put_cursor(out, shape, log_epoch(readers_of(stream)->log), batch->next);
    return stream_give_frame(conn, transport_frame(shape, out),
                             (struct cursor){CURSOR_AT, batch->next});
}

/* The page is there. If meanwhile something was said that the socket did not take whole, that goes
 * first, and then the stream asks again. */
static void on_stream_page(void *owner, enum log_status status, struct page *page)
{
    struct conn *conn = owner;
    struct stream *stream = conn->in;
    stream->read = NULL;
    if (stream_is_cut(stream))
        return;
    struct batch *batch = batches_of_page(stream->group, &stream->progress, page, status);
    if (!batch)
        conn_end(conn);
    else if (tell_first_cursor(conn, batch))
        stream_give_next(conn, batch);
    batch_free(batch);
}

void stream_give_later(struct conn *conn)
{
    struct stream *stream = conn->in;
    if (!stream->read && batches_read(stream->group, &stream->progress, on_stream_page, conn,
                                      &stream->read) != LOG_OK)
        conn_end(conn);
    else
        stop_being_live(conn, &readers_of(stream)->behind, WATCH_CLOSE);
}

static void catch_up(struct conn *conn)
{
    const struct stream *stream = conn->in;
    enum log_status status;
    struct batch *batch = batches_next(stream->group, &stream->progress, &status);
    if (batch)
        stream_give_next(conn, batch);
    else if (status == LOG_LATER)
        stream_give_later(conn);
    else
        conn_end(conn);
    batch_free(batch);
}

void stream_give_more(struct conn *conn)
{
    const struct stream *stream = conn->in;
    if (stream_is_cut(stream) && !give_rest(conn))
        return;
    if (conn->conns->draining)
        stream_finish(conn);
    else if (stream->partner->ops->resume(conn))
        catch_up(conn);
}

#include "fcgi/hold.h"

#include "fcgi/render.h"
#include "fcgi/server.h"

void hold_park(struct conn *conn, const struct wanted *wanted)
{
    struct server *server = conn->server;
    if (!server_admit(conn))
        return;
    struct group *group = group_join(&server->groups, &server->scratch, wanted);
    if (!group) {
        conn_answer(conn, render_refusal(LOG_NO_MEMORY));
        return;
    }
    server->held++;
    conn_park(conn, group, timer_jittered(wanted->wait_ms));
}

void hold_left(struct server *server, struct group *group)
{
    server->held--;
    group_leave(&server->groups, group);
    server_left(server);
}

static struct frame *nothing_new(struct server *server, const struct group *group)
{
    return render_nothing(&server->scratch, group->shape.format, log_epoch(server->log),
                          log_head(server->log));
}

void hold_expired(struct conn *conn)
{
    conn_answer(conn, nothing_new(conn->server, conn->u.group));
}

/* Answers everybody in the group, which may be gone afterwards. */
static void answer_all(struct group *group, struct frame *frame)
{
    for (unsigned left = group->readers; left > 0; left--)
        conn_answer(LIST_FIRST(&group->conns), frame ? frame_hold(frame) : NULL);
}

void hold_release(struct server *server, struct group *group)
{
    struct frame *frame = nothing_new(server, group);
    answer_all(group, frame);
    frame_drop(frame);
}

static struct frame *render_news(struct server *server, const struct group *group, uint64_t before)
{
    const char *channels[WANTED_CHANNELS_MAX];
    struct page page;
    enum log_status status = log_read(server->log, channels, group_news_channels(group, channels),
                                      (struct cursor){CURSOR_AT, before},
                                      (struct page_limit){group->shape.limit, ANSWER_BYTES}, &page);
    if (status != LOG_OK)
        return render_refusal(status);
    struct frame *frame =
        render_page(&server->scratch, group->shape.format, log_epoch(server->log), &page);
    page_free(&page);
    return frame;
}

void hold_wake(struct server *server, struct group *group, struct rendering *rendering,
               uint64_t before)
{
    if (!rendering->frame)
        rendering->frame = render_news(server, group, before);
    answer_all(group, rendering->frame);
}

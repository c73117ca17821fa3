#include "fcgi/conn/unsent.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "fcgi/io/diag.h"
#include "fcgi/io/timer.h"

int rest_send(struct rest *rest, int fd)
{
    uint32_t call_len = rest->call ? rest->call->len : 0;
    while (rest->sent < call_len + rest->len) {
        bool called = rest->sent >= call_len;
        uint32_t sent = called ? rest->sent - call_len : 0;
        struct iovec parts[2] = {[1] = {rest->frame->bytes + rest->at + sent, rest->len - sent}};
        if (!called)
            parts[0] = (struct iovec){rest->call->bytes + rest->sent, call_len - rest->sent};
        struct msghdr message = {.msg_iov = parts + called, .msg_iovlen = 2 - called};
        ssize_t took = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (took < 0 && errno == EINTR)
            continue;
        if (took < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
        rest->sent += (uint32_t)took;
    }
    return 1;
}

void unsent_init(struct unsent *unsent, size_t bytes_max)
{
    *unsent = (struct unsent){.bytes_max = bytes_max};
    TAILQ_INIT(&unsent->rests);
}

void unsent_note(struct unsent *unsent, struct rest *rest, struct conn *conn)
{
    if (rest->conn) {
        TAILQ_REMOVE(&unsent->rests, rest, link);
    } else {
        rest->conn = conn;
        unsent->latest = rest;
        unsent->count++;
        if (rest->frame->lacking++ == 0)
            unsent->bytes += rest->frame->len;
    }
    TAILQ_INSERT_TAIL(&unsent->rests, rest, link);
    rest->moved_ms = timer_now_ms();
}

void unsent_drop(struct unsent *unsent, struct rest *rest)
{
    if (rest->conn) {
        TAILQ_REMOVE(&unsent->rests, rest, link);
        if (unsent->latest == rest)
            unsent->latest = NULL;
        unsent->count--;
        if (--rest->frame->lacking == 0)
            unsent->bytes -= rest->frame->len;
    }
    frame_drop(rest->call);
    frame_drop(rest->frame);
    *rest = (struct rest){0};
}

/* Whether its share of its frame's bytes is at least the average: at least one has so much. */
static bool is_worth_it(const struct rest *rest, size_t average)
{
    return rest->frame->len >= average * rest->frame->lacking;
}

/* Those that are passed over go to the end of the list, so as not to be passed over each time. */
struct conn *unsent_worst(struct unsent *unsent)
{
    struct rest *oldest = TAILQ_FIRST(&unsent->rests), *latest = unsent->latest;
    if (unsent->count < 2 || !unsent_is_too_much(unsent))
        return NULL;
    size_t average = unsent->bytes / unsent->count;
    for (; !is_worth_it(oldest, average); oldest = TAILQ_FIRST(&unsent->rests)) {
        TAILQ_REMOVE(&unsent->rests, oldest, link);
        TAILQ_INSERT_TAIL(&unsent->rests, oldest, link);
    }
    bool moving = timer_now_ms() < oldest->moved_ms + UNSENT_MOMENT_MS;
    return moving && latest && is_worth_it(latest, average) ? latest->conn : oldest->conn;
}

void unsent_note_cut_off(struct unsent *unsent)
{
    unsent->cut_off++;
    if (!unsent->told)
        diag(DIAG_WARN,
             "%zu bytes are not taken by their readers, the limit (--unsent): cutting off those "
             "who take nothing",
             unsent->bytes);
    unsent->told = true;
}

void unsent_note_better(struct unsent *unsent)
{
    if (!unsent_is_much(unsent))
        unsent->told = false;
}

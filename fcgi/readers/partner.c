#include "fcgi/readers/partner.h"

#include "fcgi/conn/answer.h"

static enum watch silent_watch(const struct partner *partner)
{
    (void)partner;
    return WATCH_INPUT; /* nothing may come: it would end the connection */
}

static bool silent_resume(struct conn *conn)
{
    (void)conn;
    return true;
}

static bool silent_is_dead(struct partner *partner)
{
    (void)partner;
    return false;
}

static void silent_finish(struct conn *conn)
{
    conn_answer(conn, frame_end(conn->request_id));
}

static void silent_free(struct partner *partner)
{
    (void)partner; /* it is the one below */
}

static const struct partner_ops silent_ops = {.watch = silent_watch,
                                              .readable = conn_end,
                                              .resume = silent_resume,
                                              .is_dead = silent_is_dead,
                                              .finish = silent_finish,
                                              .gone = conn_end,
                                              .free = silent_free};
struct partner silent_partner = {&silent_ops};

#include "fcgi/readers/readers.h"

void readers_init(struct readers *readers, struct log *log, struct conns *conns,
                  struct admission *admission)
{
    readers->log = log;
    readers->conns = conns;
    readers->admission = admission;
    LIST_INIT(&readers->behind);
    rendered_init(&readers->rendered, log_epoch(log));
    groups_init(&readers->groups, readers, admission, &conns->scratch);
}

void readers_news(struct readers *readers, const struct log_news *news)
{
    groups_news(&readers->groups, news);
    round_end(&readers->round);
}

/* What was rendered had the old epoch. */
void readers_restart(struct readers *readers)
{
    readers_tidy(readers);
    groups_restart(&readers->groups);
}

bool readers_news_can_wait(const struct readers *readers)
{
    enum { NEWS_BYTES = 8 << 20 };
    return unsent_is_too_much(&readers->conns->unsent) || readers->round.made >= NEWS_BYTES;
}

void readers_tidy(struct readers *readers)
{
    rendered_free(&readers->rendered);
}

void readers_free(struct readers *readers)
{
    conns_end_list(&readers->behind);
    groups_end_all(&readers->groups);
    groups_sweep(&readers->groups, 0);
    readers_tidy(readers);
}

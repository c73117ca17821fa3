#include "store/stamps.h"

#include <stdlib.h>
#include <string.h>

static void drop_oldest_spans(struct stamps *stamps, size_t gone)
{
    stamps->count -= gone;
    memmove(stamps->spans, stamps->spans + gone, stamps->count * sizeof *stamps->spans);
}

static int64_t clamp_stamp(int64_t time_ms)
{
    if (time_ms < 0)
        return 0;
    return time_ms < INT64_MAX / 2 ? time_ms : INT64_MAX / 2;
}

void stamps_note(struct stamps *stamps, uint64_t seq, int64_t time_ms, int64_t steady_ms)
{
    int64_t offset_ms = clamp_stamp(time_ms) - steady_ms;
    if (stamps->count &&
        llabs(offset_ms - stamps->spans[stamps->count - 1].offset_ms) <= STAMPS_SLACK_MS)
        return;
    if (stamps->count == STAMPS_MOST)
        drop_oldest_spans(stamps, 1);
    stamps->spans[stamps->count++] = (struct stamps_span){seq, offset_ms};
}

void stamps_forget(struct stamps *stamps, uint64_t seq)
{
    size_t gone = 0;
    while (gone + 1 < stamps->count && stamps->spans[gone + 1].first <= seq)
        gone++;
    drop_oldest_spans(stamps, gone);
}

int64_t stamps_time(const struct stamps *stamps, uint64_t seq, int64_t time_ms,
                    const struct moment *now)
{
    const struct stamps_span *span = NULL;
    for (size_t i = 0; i < stamps->count && stamps->spans[i].first <= seq; i++)
        span = &stamps->spans[i];
    if (!span)
        return clamp_stamp(time_ms);
    int64_t steady_ms = clamp_stamp(time_ms) - span->offset_ms;
    return clamp_stamp(now->wall_ms - (now->steady_ms - steady_ms));
}

#include "store/stamps.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t stamps_steady_ms(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

struct moment stamps_now(void)
{
    return (struct moment){read_clock(CLOCK_REALTIME), stamps_steady_ms()};
}

static void drop_oldest(struct stamps *stamps, size_t gone)
{
    stamps->count -= gone;
    memmove(stamps->spans, stamps->spans + gone, stamps->count * sizeof *stamps->spans);
}

static int64_t in_range(int64_t time_ms)
{
    if (time_ms < 0)
        return 0;
    return time_ms < INT64_MAX / 2 ? time_ms : INT64_MAX / 2;
}

void stamps_note(struct stamps *stamps, uint64_t seq, int64_t time_ms, int64_t steady_ms)
{
    int64_t offset_ms = in_range(time_ms) - steady_ms;
    if (stamps->count &&
        llabs(offset_ms - stamps->spans[stamps->count - 1].offset_ms) <= STAMPS_SLACK_MS)
        return;
    if (stamps->count == STAMPS_MOST)
        drop_oldest(stamps, 1);
    stamps->spans[stamps->count++] = (struct stamps_span){seq, offset_ms};
}

void stamps_forget(struct stamps *stamps, uint64_t seq)
{
    size_t gone = 0;
    while (gone + 1 < stamps->count && stamps->spans[gone + 1].first <= seq)
        gone++;
    drop_oldest(stamps, gone);
}

int64_t stamps_time(const struct stamps *stamps, uint64_t seq, int64_t time_ms,
                    const struct moment *now)
{
    const struct stamps_span *span = NULL;
    for (size_t i = 0; i < stamps->count && stamps->spans[i].first <= seq; i++)
        span = &stamps->spans[i];
    if (!span)
        return in_range(time_ms);
    int64_t steady_ms = in_range(time_ms) - span->offset_ms;
    return in_range(now->wall_ms - (now->steady_ms - steady_ms));
}

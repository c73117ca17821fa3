#include "fcgi/io/causes.h"

#include <stddef.h>

/* The cause of that format, or else a free place; NULL if there is neither. */
static struct cause *find_cause(struct causes *causes, const char *format)
{
    for (struct cause *cause = causes->causes; cause < causes->causes + CAUSES_MAX; cause++)
        if (cause->format == format || !cause->format)
            return cause;
    return NULL;
}

bool causes_admit(struct causes *causes, const char *format, int level, uint64_t now_ms)
{
    struct cause *cause = find_cause(causes, format);
    if (!cause)
        return true;
    cause->format = format;
    cause->level = level;
    if (cause->lines == 0 || now_ms - cause->since_ms >= CAUSE_MINUTE_MS) {
        cause->since_ms = now_ms;
        cause->lines = 0;
    }
    if (cause->lines == CAUSE_LINES) {
        cause->left_out++;
        return false;
    }
    cause->lines++;
    return true;
}

bool causes_take(struct causes *causes, uint64_t now_ms, struct cause *cause)
{
    for (int i = 0; i < CAUSES_MAX && causes->causes[i].format; i++) {
        struct cause *this = &causes->causes[i];
        if (this->left_out == 0 || now_ms - this->since_ms < CAUSE_MINUTE_MS)
            continue;
        *cause = *this;
        this->left_out = 0;
        return true;
    }
    return false;
}

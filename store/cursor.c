#include "store/cursor.h"

#include <string.h>

/* Reads a seq from the only text that it has: no sign, no leading zero, at most INT64_MAX, which is
 * the largest number of a row in SQLite. Returns 0, or -1 if it is anything else. */
static int parse_seq(const char *text, size_t len, uint64_t *seq)
{
    uint64_t value;
    if ((len > 1 && text[0] == '0') || !decimal_parse(text, len, &value) || value > INT64_MAX)
        return -1;
    *seq = value;
    return 0;
}

struct cursor cursor_parse(const char *text, size_t len, const char *epoch)
{
    struct cursor cursor = {.kind = CURSOR_UNKNOWN};
    if (!text || len == 0)
        cursor.kind = CURSOR_START;
    else if (len == 3 && memcmp(text, "now", 3) == 0)
        cursor.kind = CURSOR_NOW;
    else if (len > EPOCH_LEN + 1 && memcmp(text, epoch, EPOCH_LEN) == 0 && text[EPOCH_LEN] == '-' &&
             parse_seq(text + EPOCH_LEN + 1, len - EPOCH_LEN - 1, &cursor.seq) == 0)
        cursor.kind = CURSOR_AT;
    return cursor;
}

char *cursor_print(char text[CURSOR_SIZE], const char *epoch, uint64_t seq)
{
    memcpy(text, epoch, EPOCH_LEN);
    text[EPOCH_LEN] = '-';
    decimal_print(text + EPOCH_LEN + 1, seq);
    return text;
}

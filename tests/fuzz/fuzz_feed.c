/* Any answer of an upstream that feeds a channel: whether it is news, and the cursor in it. */
#include <stdlib.h>
#include <string.h>

#include "fcgi/wire/escape.h"
#include "fcgi/relay/feed.h"
#include "tests/fuzz/fuzz.h"

/* Whether feed_understand finds cursor again in the smallest answer that has it. */
static bool found_again(const char *cursor, bool as_text)
{
    struct buf body = {0};
    char *again = NULL;
    buf_puts(&body, "{\"id\":");
    if (as_text)
        escape_json(&body, cursor, strlen(cursor));
    else
        buf_puts(&body, cursor);
    buf_puts(&body, "}");
    CLAIM(feed_understand(body.bytes, body.len, "id", &again), "an answer that is no news");
    bool same = again && strcmp(again, cursor) == 0;
    free(again);
    buf_free(&body);
    return same;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char *exact = calloc(len > 0 ? len : 1, 1), *cursor = NULL;
    if (len > 0)
        memcpy(exact, bytes, len);
    bool news = feed_understand(exact, len, "id", &cursor);
    CLAIM(len > 0 || !news, "nothing is news");
    if (cursor) {
        CLAIM(strlen(cursor) <= FEED_CURSOR_MAX, "a cursor of %zu bytes", strlen(cursor));
        CLAIM(found_again(cursor, true) || found_again(cursor, false), "cursor %s is lost", cursor);
    }
    free(cursor);
    free(exact);
    return 0;
}

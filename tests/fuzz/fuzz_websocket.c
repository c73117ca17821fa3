/* Any bytes behind a WebSocket's handshake: split in any way they are the same texts, answers and
 * end. */
#include <stdlib.h>
#include <string.h>

#include "fcgi/wire/websocket.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_MESSAGE = 2000, RATE = 50 };

/* All that came out: texts, each behind its length, and the daemon's own frames. */
struct outcome {
    struct buf texts, out;
    unsigned code;
};

static void take_texts(struct websocket *websocket, struct outcome *outcome)
{
    for (struct text text; (text = websocket_first(websocket)).bytes; websocket_drop(websocket)) {
        CLAIM(text.len <= MAX_MESSAGE, "a text of %zu bytes", text.len);
        CLAIM(text_is_utf8(text), "a text that is not UTF-8");
        CLAIM(text.bytes[text.len] == '\0', "no NUL behind a text");
        buf_add(&outcome->texts, &text.len, sizeof text.len);
        buf_add(&outcome->texts, text.bytes, text.len);
    }
}

/* Its time stands still: how often a client may send is a matter of its own. */
static struct outcome feed(const uint8_t *bytes, size_t len, size_t first, size_t step)
{
    struct outcome outcome = {0};
    struct websocket *websocket = websocket_new(MAX_MESSAGE, RATE);
    CLAIM(websocket, "no memory");
    for (size_t at = 0, portion; at < len && outcome.code == 0; at += portion) {
        portion = at == 0 ? first : step;
        if (portion == 0 || portion > len - at)
            portion = len - at;
        char *exact = fuzz_copy(bytes + at, portion);
        websocket_feed(websocket, (uint8_t *)exact, portion, 1000, &outcome.out);
        free(exact);
        take_texts(websocket, &outcome);
        outcome.code = websocket_closing(websocket);
    }
    CLAIM(outcome.code == 0 || (outcome.code >= 1000 && outcome.code <= 4999), "code %u",
          outcome.code);
    websocket_free(websocket);
    return outcome;
}

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->bytes, b->bytes, a->len) == 0);
}

static void outcome_free(struct outcome *outcome)
{
    buf_free(&outcome->texts);
    buf_free(&outcome->out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct choices choices = {bytes, len};
    size_t first = choose_byte(&choices), step = choose_byte(&choices);
    struct outcome whole = feed(choices.at, choices.left, 0, 0);
    struct outcome parts = feed(choices.at, choices.left, first, step);
    struct outcome single = feed(choices.at, choices.left, 1, 1);
    CLAIM(parts.code == whole.code && single.code == whole.code,
          "whole it ends with %u, in parts with %u, byte by byte with %u", whole.code, parts.code,
          single.code);
    CLAIM(same(&parts.texts, &whole.texts) && same(&single.texts, &whole.texts),
          "other texts in parts");
    outcome_free(&whole);
    outcome_free(&parts);
    outcome_free(&single);
    return 0;
}

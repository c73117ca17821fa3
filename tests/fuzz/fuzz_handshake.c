/* Any bytes where a WebSocket's handshake is expected: in any portions the verdict is the same. */
#include <stdlib.h>
#include <string.h>

#include "fcgi/wire/handshake.h"
#include "tests/fuzz/fuzz.h"

struct outcome {
    enum handshake_verdict verdict;
    int status;
    size_t consumed;
    char accept[HANDSHAKE_ACCEPT_SIZE];
    char why[200];
};

static void note(struct outcome *outcome, const struct handshake *handshake)
{
    *outcome = (struct outcome){.verdict = outcome->verdict};
    if (outcome->verdict == HANDSHAKE_DONE) {
        outcome->consumed = handshake->consumed;
        memcpy(outcome->accept, handshake->accept, sizeof outcome->accept);
    } else if (outcome->verdict == HANDSHAKE_REFUSED) {
        outcome->status = handshake->status;
        strncpy(outcome->why, handshake->why, sizeof outcome->why - 1);
    }
}

static void check(const struct outcome *outcome, const struct handshake *handshake, size_t len)
{
    struct buf answer = {0};
    if (outcome->verdict == HANDSHAKE_DONE) {
        CLAIM(handshake->consumed > 0 && handshake->consumed <= len, "%zu bytes of %zu",
              handshake->consumed, len);
        CLAIM(strlen(handshake->accept) == HANDSHAKE_ACCEPT_SIZE - 1, "accept: %s",
              handshake->accept);
        handshake_put_accept(&answer, handshake);
    } else if (outcome->verdict == HANDSHAKE_REFUSED) {
        CLAIM(handshake->status >= 400 && handshake->status < 500, "status %d", handshake->status);
        handshake_put_error(&answer, handshake->status, handshake->headers, handshake->why,
                            handshake->head);
    } else {
        return;
    }
    buf_add(&answer, "", 1);
    CLAIM(strncmp(answer.bytes, "HTTP/1.1 ", 9) == 0, "it answers %.40s", answer.bytes);
    const char *end = strstr(answer.bytes, "\r\n\r\n");
    CLAIM(end, "no end of the answer's head");
    for (const char *at = answer.bytes; at < end; at++) /* no header of the client's making */
        CLAIM((*at >= ' ' && *at <= '~') || *at == '\r' || *at == '\n', "byte %d in the head", *at);
    buf_free(&answer);
}

static struct outcome scan(struct handshaker *handshaker, const uint8_t *bytes, size_t len,
                           size_t step)
{
    struct outcome outcome = {.verdict = HANDSHAKE_MORE};
    for (size_t seen = 0, now; seen < len && outcome.verdict == HANDSHAKE_MORE; seen = now) {
        struct handshake handshake;
        now = step < len - seen ? seen + step : len;
        uint8_t *exact = (uint8_t *)fuzz_copy(bytes, now);
        outcome.verdict = handshake_scan(handshaker, exact, seen, now, &handshake);
        check(&outcome, &handshake, now);
        note(&outcome, &handshake);
        free(exact);
    }
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct handshaker *handshaker;
    if (!handshaker)
        handshaker = handshaker_new("https://example.org,http://other.example:8080", NULL);
    if (len == 0)
        return 0;
    size_t step = 1 + bytes[0] % 64;
    bytes++, len--;
    if (len > 2 * HANDSHAKE_MAX)
        return 0;
    struct outcome whole = scan(handshaker, bytes, len, len);
    struct outcome parts = scan(handshaker, bytes, len, step);
    /* bytes that are no HTTP are refused at once if they come at once, else when the head ends */
    bool sooner = whole.verdict == HANDSHAKE_REFUSED && parts.verdict == HANDSHAKE_MORE;
    CLAIM(sooner || (parts.verdict == whole.verdict && parts.consumed == whole.consumed &&
                     memcmp(parts.accept, whole.accept, sizeof whole.accept) == 0),
          "in portions of %zu: %d %d %s, whole: %d %d %s", step, parts.verdict, parts.status,
          parts.why, whole.verdict, whole.status, whole.why);
    return 0;
}

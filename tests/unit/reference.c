#include "tests/unit/reference.h"

#include <fastcgi.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/io/buf.h"
#include "fcgi/wire/param.h"

/* What a stream says. */
struct reading {
    const char *wrong; /* why it is no request for us; else NULL */
    size_t len;        /* of the request */
    uint16_t id;
    bool keep;
    struct buf content; /* of all PARAMS records */
    struct buf body;
    struct buf ends;    /* where in content each of these records ends: a size_t */
    struct buf strings; /* for each pair that is to pass its size, then NAME=VALUE and a NUL */
};

static void put(struct buf *out, const void *bytes, size_t len)
{
    buf_add(out, bytes, len);
    if (!buf_ok(out))
        abort();
}

static bool pair_length(const uint8_t **at, const uint8_t *end, size_t *length)
{
    const uint8_t *b = *at;
    size_t size = b < end && *b >= 0x80 ? 4 : 1;
    if ((size_t)(end - b) < size)
        return false;
    *length = size == 1
                  ? b[0]
                  : (size_t)(b[0] & 0x7f) << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
    *at += size;
    return true;
}

static bool is_in_one_record(const struct reading *reading, size_t from, size_t to)
{
    for (size_t at = 0, end; at < reading->ends.len; at += sizeof end) {
        memcpy(&end, reading->ends.bytes + at, sizeof end);
        if (from < end && end < to)
            return false;
    }
    return true;
}

static void put_string(struct buf *strings, const uint8_t *pair, size_t name, size_t value)
{
    size_t size = name + 1 + value + 1;
    put(strings, &size, sizeof size);
    put(strings, pair, name);
    put(strings, "=", 1);
    put(strings, pair + name, value);
    put(strings, "", 1);
}

/* Section 3.4. A pair that nobody asks for is to pass only if it is in several records. */
static void read_pairs(struct reading *reading)
{
    const uint8_t *start = (const uint8_t *)reading->content.bytes, *at = start;
    const uint8_t *end = reading->content.len > 0 ? at + reading->content.len : at;
    while (at < end) {
        size_t name, value, from = (size_t)(at - start);
        if (!pair_length(&at, end, &name) || !pair_length(&at, end, &value) ||
            (size_t)(end - at) < name || (size_t)(end - at) - name < value) {
            reading->wrong = "a pair is cut";
            return;
        }
        bool one_record = is_in_one_record(reading, from, (size_t)(at - start) + name + value);
        if (!one_record || param_named(at, name) != PARAMS)
            put_string(&reading->strings, at, name, value);
        at += name + value;
    }
}

/* Takes one record (3.3) in; returns the type that is expected next, or 0 after the last. */
static int read_record(struct reading *reading, int expected, const FCGI_Header *header,
                       const uint8_t *content, size_t len)
{
    uint16_t id = (uint16_t)(header->requestIdB1 << 8 | header->requestIdB0);
    if (header->type != expected || id == 0 || (reading->id != 0 && id != reading->id)) {
        reading->wrong = "an unexpected record";
    } else if (expected == FCGI_BEGIN_REQUEST) {
        if (len != 8 || content[0] != 0 || content[1] != FCGI_RESPONDER)
            reading->wrong = "not for a responder";
        reading->id = id;
        reading->keep = len > 2 && content[2] & FCGI_KEEP_CONN;
        return FCGI_PARAMS;
    } else {
        put(expected == FCGI_PARAMS ? &reading->content : &reading->body, content, len);
        if (expected == FCGI_PARAMS)
            put(&reading->ends, &reading->content.len, sizeof reading->content.len);
    }
    if (len > 0)
        return expected;
    return expected == FCGI_PARAMS ? FCGI_STDIN : 0;
}

static void read_stream(struct reading *reading, const uint8_t *bytes, size_t len)
{
    int expected = FCGI_BEGIN_REQUEST;
    while (expected != 0 && !reading->wrong) {
        FCGI_Header header;
        if (len - reading->len < sizeof header) {
            reading->wrong = "cut";
            return;
        }
        memcpy(&header, bytes + reading->len, sizeof header);
        size_t content = (size_t)(header.contentLengthB1 << 8 | header.contentLengthB0);
        reading->len += sizeof header;
        if (header.version != FCGI_VERSION_1 ||
            len - reading->len < content + header.paddingLength) {
            reading->wrong = "cut, or another version";
            return;
        }
        expected = read_record(reading, expected, &header, bytes + reading->len, content);
        reading->len += content + header.paddingLength;
    }
    read_pairs(reading);
    if (!reading->wrong && reading->content.len > GATE_PARAMS_MAX)
        reading->wrong = "too many parameters";
}

/* As a connection does it: what has come stands in a buffer that grows. Here it has no byte to
 * spare, so that a step beyond it is noticed. */
static enum gate_verdict scan(struct gate *gate, const uint8_t *bytes, size_t len, unsigned seed,
                              struct buf *kept)
{
    static const size_t portions[] = {SIZE_MAX, 4096, 300, 9};
    enum gate_verdict verdict = GATE_MORE;
    size_t most = portions[seed % (len < 4000 ? 4 : 2)];
    gate_start(gate, REFERENCE_BODY_MAX);
    for (size_t at = 0, portion; at < len && verdict == GATE_MORE; at += portion) {
        portion = most < len - at ? 1 + (size_t)rand_r(&seed) % most : len - at;
        if (!(kept->bytes = realloc(kept->bytes, kept->len + portion)))
            abort();
        memcpy(kept->bytes + kept->len, bytes + at, portion);
        kept->len += portion;
        verdict = gate_scan(gate, (uint8_t *)kept->bytes, &kept->len);
    }
    return verdict;
}

static const char *compare_params(const struct buf *strings, char **params)
{
    size_t size;
    for (size_t done = 0; done < strings->len; done += size) {
        const char *at = strings->bytes + done;
        memcpy(&size, at, sizeof size);
        at += sizeof size;
        done += sizeof size;
        if (!*params)
            return "libfcgi has fewer parameters";
        if (memcmp(*params++, at, size) != 0)
            return "libfcgi has another parameter";
    }
    return *params ? "libfcgi has more parameters" : NULL;
}

static const char *compare(const struct reading *reading, const struct gate *gate,
                           const struct request *request)
{
    if (gate->id != reading->id || gate->keep != reading->keep)
        return "the gate has another id or flag";
    if (gate->body_len != reading->body.len ||
        gate->too_large != (reading->body.len > REFERENCE_BODY_MAX))
        return "the gate has another length of the body";
    if (!request)
        return "libfcgi refuses what the gate let through";
    size_t body = gate->too_large ? 0 : reading->body.len;
    if (request->body_kind <= BODY_JSON &&
        (request->body.len != body ||
         (body > 0 && memcmp(request->body.bytes, reading->body.bytes, body) != 0)))
        return "libfcgi has another body";
    return compare_params(&reading->strings, request->params);
}

const char *agree(struct decoder *decoder, const uint8_t *bytes, size_t len, unsigned seed,
                  bool *whole)
{
    struct reading reading = {0};
    struct gate gate;
    struct buf kept = {0};
    const char *differs = NULL;
    read_stream(&reading, bytes, len);
    enum gate_verdict verdict = scan(&gate, bytes, len, seed, &kept);
    *whole = verdict == GATE_WHOLE;
    if (*whole && reading.wrong) {
        differs = "the gate lets through what is no request";
    } else if (*whole) {
        const struct request *request = request_decode(decoder, &gate, (const uint8_t *)kept.bytes);
        differs = compare(&reading, &gate, request);
        if (request)
            request_release(decoder);
    } else if (!reading.wrong) {
        differs = "the gate does not let a request through";
    }
    buf_free(&kept);
    buf_free(&reading.content);
    buf_free(&reading.body);
    buf_free(&reading.ends);
    buf_free(&reading.strings);
    return differs;
}

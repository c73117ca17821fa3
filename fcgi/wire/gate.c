#include "fcgi/wire/gate.h"

#include <fastcgi.h>
#include <string.h>

#include "fcgi/wire/param.h"

static enum gate_verdict refuse_records(struct gate *gate, const char *why)
{
    gate->why = why;
    return GATE_REFUSED;
}

void gate_start(struct gate *gate, size_t body_max)
{
    *gate = (struct gate){.stage = GATE_BEGIN, .body_max = body_max};
}

/* Reads the length at lengths[at]: one byte, or four, the first of which has its high bit set
 * (3.4). Returns how many bytes that took, or 0 if they are not all there yet. */
static unsigned read_length(const struct gate *gate, unsigned at, uint32_t *length)
{
    const uint8_t *b = gate->lengths + at;
    unsigned have = gate->length_len - at;
    if (have == 0)
        return 0;
    if (b[0] < 0x80) {
        *length = b[0];
        return 1;
    }
    if (have < 4)
        return 0;
    *length = (uint32_t)(b[0] & 0x7f) << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    return 4;
}

/* Reads the lengths with which a pair begins; they may continue in the next record. Returns how
 * many bytes of content[0, len) that took. Once both are known, length_len is 0 again. */
static size_t read_lengths(struct gate *gate, const uint8_t *content, size_t len, uint32_t *name)
{
    unsigned had = gate->length_len, value_size = 0;
    size_t more = sizeof gate->lengths - had < len ? sizeof gate->lengths - had : len;
    uint32_t value;
    memcpy(gate->lengths + had, content, more);
    gate->length_len = (uint8_t)(had + more);
    unsigned name_size = read_length(gate, 0, name);
    if (name_size > 0)
        value_size = read_length(gate, name_size, &value);
    if (value_size == 0)
        return more;
    gate->pair_skip = *name + value; /* each has 31 bits */
    gate->length_len = 0;
    gate->pairs++;
    return name_size + value_size - had;
}

/* Takes a pair of content[0, len), or as much of one as this record has. Returns how long that is.
 * *unused: it is a whole pair, and nobody asks for it. */
static size_t take_pair(struct gate *gate, const uint8_t *content, size_t len, bool *unused)
{
    size_t at = 0;
    uint32_t name = 0;
    bool whole = gate->pair_skip == 0 && gate->length_len == 0;
    if (gate->pair_skip == 0)
        at = read_lengths(gate, content, len, &name);
    size_t pass = len - at < gate->pair_skip ? len - at : gate->pair_skip;
    gate->pair_skip -= (uint32_t)pass;
    whole = whole && gate->pair_skip == 0 && gate->length_len == 0;
    *unused = whole && param_named(content + at, name) == PARAMS;
    return at + pass;
}

/* Moves the pairs that are used to the start of one record's content, and sets *len to what they
 * take; so libfcgi need not copy a browser's cookies. A pair that continues in the next record
 * stays, whatever it is. Returns false if a pair is too long. */
static bool keep_used_pairs(struct gate *gate, uint8_t *content, size_t *len)
{
    size_t kept = 0, taken;
    for (size_t at = 0; at < *len; at += taken) {
        bool unused;
        taken = take_pair(gate, content + at, *len - at, &unused);
        if (gate->pair_skip > GATE_PARAMS_MAX)
            return false;
        if (unused) {
            gate->pairs--;
            continue;
        }
        memmove(content + kept, content + at, taken);
        kept += taken;
    }
    *len = kept;
    return true;
}

/* Writes one record after those already written, without padding and reserved bytes. There is
 * always room: the record that came is not before that place, and is not shorter. The content may
 * overlap the place. */
static void write_record(struct gate *gate, uint8_t *bytes, uint8_t type, const void *content,
                         size_t len)
{
    FCGI_Header header = {.version = FCGI_VERSION_1,
                          .type = type,
                          .requestIdB1 = (uint8_t)(gate->id >> 8),
                          .requestIdB0 = (uint8_t)gate->id,
                          .contentLengthB1 = (uint8_t)(len >> 8),
                          .contentLengthB0 = (uint8_t)len};
    uint8_t *at = bytes + gate->scanned;
    memcpy(at, &header, sizeof header);
    if (at + sizeof header != content)
        memmove(at + sizeof header, content, len);
    gate->scanned += sizeof header + len;
}

static enum gate_verdict take_begin_record(struct gate *gate, uint8_t *bytes,
                                           const FCGI_Header *header, const uint8_t *content,
                                           size_t len)
{
    if (header->type != FCGI_BEGIN_REQUEST)
        return refuse_records(gate, "the first record is not BEGIN_REQUEST");
    gate->id = (uint16_t)(header->requestIdB1 << 8 | header->requestIdB0);
    if (gate->id == FCGI_NULL_REQUEST_ID)
        return refuse_records(gate, "the request's id is 0");
    FCGI_BeginRequestBody begin;
    if (len != sizeof begin)
        return refuse_records(gate, "BEGIN_REQUEST has a wrong length");
    memcpy(&begin, content, sizeof begin);
    if (begin.roleB1 != 0 || begin.roleB0 != FCGI_RESPONDER)
        return refuse_records(gate, "the role is not responder");
    gate->keep = begin.flags & FCGI_KEEP_CONN;
    begin =
        (FCGI_BeginRequestBody){.roleB0 = FCGI_RESPONDER, .flags = gate->keep ? FCGI_KEEP_CONN : 0};
    write_record(gate, bytes, FCGI_BEGIN_REQUEST, &begin, sizeof begin);
    gate->stage = GATE_PARAMS;
    return GATE_MORE;
}

static enum gate_verdict take_params_record(struct gate *gate, uint8_t *bytes, uint8_t *content,
                                            size_t len)
{
    if (len == 0 && (gate->pair_skip > 0 || gate->length_len > 0))
        return refuse_records(gate, "the parameters end in the middle of a pair");
    gate->params_len += len;
    if (gate->params_len > GATE_PARAMS_MAX)
        return refuse_records(gate, "the parameters are too long");
    size_t kept = len;
    if (!keep_used_pairs(gate, content, &kept))
        return refuse_records(gate, "a parameter is too long");
    if (kept > 0 || len == 0) /* an empty record is the end */
        write_record(gate, bytes, FCGI_PARAMS, content, kept);
    if (len == 0) {
        gate->stage = GATE_STDIN;
        gate->stdin_start = gate->scanned;
    }
    return GATE_MORE;
}

static enum gate_verdict take_stdin_record(struct gate *gate, uint8_t *bytes,
                                           const uint8_t *content, size_t len)
{
    gate->body_len += len;
    gate->too_large = gate->body_len > gate->body_max;
    if (gate->too_large)
        gate->scanned = gate->stdin_start;
    if (len == 0 || !gate->too_large)
        write_record(gate, bytes, FCGI_STDIN, content, len);
    if (len > 0)
        return GATE_MORE;
    gate->stage = GATE_END;
    return GATE_WHOLE;
}

static enum gate_verdict take_record(struct gate *gate, uint8_t *bytes, const FCGI_Header *header,
                                     uint8_t *content, size_t len)
{
    if (gate->stage == GATE_BEGIN)
        return take_begin_record(gate, bytes, header, content, len);
    if ((header->requestIdB1 << 8 | header->requestIdB0) != gate->id)
        return refuse_records(gate, "records of two requests are mixed");
    if (header->type == FCGI_PARAMS && gate->stage == GATE_PARAMS)
        return take_params_record(gate, bytes, content, len);
    if (header->type == FCGI_STDIN && gate->stage == GATE_STDIN)
        return take_stdin_record(gate, bytes, content, len);
    return refuse_records(gate, "an unexpected record");
}

enum gate_verdict gate_scan(struct gate *gate, uint8_t *bytes, size_t *len)
{
    enum gate_verdict verdict = GATE_MORE;
    /* reads at `at`, writes at gate->scanned, which is never after it */
    size_t at = gate->scanned;
    while (verdict == GATE_MORE && *len - at >= FCGI_HEADER_LEN) {
        FCGI_Header header;
        memcpy(&header, bytes + at, sizeof header);
        if (header.version != FCGI_VERSION_1)
            return refuse_records(gate, "the protocol's version is not 1");
        size_t content_len = (size_t)(header.contentLengthB1 << 8 | header.contentLengthB0);
        size_t whole = FCGI_HEADER_LEN + content_len + header.paddingLength;
        if (*len - at < whole) {
            /* a wrong first record is refused before it is whole */
            if (gate->stage == GATE_BEGIN && header.type != FCGI_BEGIN_REQUEST)
                return refuse_records(gate, "the first record is not BEGIN_REQUEST");
            break;
        }
        verdict = take_record(gate, bytes, &header, bytes + at + FCGI_HEADER_LEN, content_len);
        at += whole;
    }
    if (gate->scanned < at) {
        memmove(bytes + gate->scanned, bytes + at, *len - at);
        *len -= at - gate->scanned;
    }
    return verdict;
}

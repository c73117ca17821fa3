#include "fcgi/wire/gate.h"

#include <fastcgi.h>
#include <string.h>

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

/* Reads the lengths of the name-value pairs in one record's content; a pair may continue in the
 * next record. Returns false if a name or a value is too long. */
static bool check_pairs(struct gate *gate, const uint8_t *content, size_t len)
{
    while (len > 0) {
        if (gate->pair_skip > 0) {
            size_t pass = len < gate->pair_skip ? len : gate->pair_skip;
            content += pass;
            len -= pass;
            gate->pair_skip -= (uint32_t)pass;
            continue;
        }
        gate->lengths[gate->length_len++] = *content++;
        len--;
        uint32_t name, value;
        unsigned name_size = read_length(gate, 0, &name);
        if (name_size == 0 || read_length(gate, name_size, &value) == 0)
            continue;
        if (name > GATE_PARAMS_MAX || value > GATE_PARAMS_MAX)
            return false;
        gate->pair_skip = name + value;
        gate->length_len = 0;
        gate->pairs++;
    }
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

static enum gate_verdict take_params_record(struct gate *gate, uint8_t *bytes,
                                            const uint8_t *content, size_t len)
{
    if (len == 0 && (gate->pair_skip > 0 || gate->length_len > 0))
        return refuse_records(gate, "the parameters end in the middle of a pair");
    gate->params_len += len;
    if (gate->params_len > GATE_PARAMS_MAX)
        return refuse_records(gate, "the parameters are too long");
    if (!check_pairs(gate, content, len))
        return refuse_records(gate, "a parameter is too long");
    write_record(gate, bytes, FCGI_PARAMS, content, len);
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
                                     const uint8_t *content, size_t len)
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

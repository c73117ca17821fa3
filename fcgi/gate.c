#include "fcgi/gate.h"

#include <fastcgi.h>
#include <string.h>

static enum gate_verdict refuse(struct gate *gate, const char *why)
{
    gate->why = why;
    return GATE_REFUSED;
}

void gate_start(struct gate *gate, size_t body_max)
{
    *gate = (struct gate){.stage = GATE_BEGIN, .body_max = body_max};
}

/* The length at lengths[at]: one byte, or four with the high bit of the first set (3.4). Returns
 * how many bytes it takes, or 0 if they are not all collected yet. */
static unsigned pair_length(const struct gate *gate, unsigned at, uint32_t *length)
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

/* Follows the name-value pairs through one record's content; a pair may span records. */
static bool pairs_sane(struct gate *gate, const uint8_t *content, size_t len)
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
        unsigned name_size = pair_length(gate, 0, &name);
        if (name_size == 0 || pair_length(gate, name_size, &value) == 0)
            continue;
        if (name > GATE_PARAMS_MAX || value > GATE_PARAMS_MAX)
            return false;
        gate->pair_skip = name + value;
        gate->length_len = 0;
    }
    return true;
}

static enum gate_verdict begin_record(struct gate *gate, const FCGI_Header *header,
                                      const uint8_t *content, size_t len)
{
    if (header->type != FCGI_BEGIN_REQUEST)
        return refuse(gate, "the first record is not BEGIN_REQUEST");
    gate->id = (uint16_t)(header->requestIdB1 << 8 | header->requestIdB0);
    if (gate->id == FCGI_NULL_REQUEST_ID)
        return refuse(gate, "the request's id is 0");
    if (len != sizeof(FCGI_BeginRequestBody))
        return refuse(gate, "BEGIN_REQUEST has a wrong length");
    FCGI_BeginRequestBody begin;
    memcpy(&begin, content, sizeof begin);
    if (begin.roleB1 != 0 || begin.roleB0 != FCGI_RESPONDER)
        return refuse(gate, "the role is not responder");
    gate->keep = begin.flags & FCGI_KEEP_CONN;
    gate->stage = GATE_PARAMS;
    return GATE_MORE;
}

static enum gate_verdict params_record(struct gate *gate, const uint8_t *content, size_t len)
{
    if (len == 0) {
        if (gate->pair_skip > 0 || gate->length_len > 0)
            return refuse(gate, "the parameters end in the middle of a pair");
        gate->stage = GATE_STDIN;
        return GATE_MORE;
    }
    gate->params_len += len;
    if (gate->params_len > GATE_PARAMS_MAX)
        return refuse(gate, "the parameters are too long");
    if (!pairs_sane(gate, content, len))
        return refuse(gate, "a parameter is too long");
    return GATE_MORE;
}

static enum gate_verdict stdin_record(struct gate *gate, size_t len)
{
    if (len == 0) {
        gate->stage = GATE_END;
        return GATE_WHOLE;
    }
    gate->body_len += len;
    if (gate->body_len > gate->body_max)
        gate->too_large = true;
    return GATE_MORE;
}

static enum gate_verdict record(struct gate *gate, const FCGI_Header *header,
                                const uint8_t *content, size_t len)
{
    if (gate->stage == GATE_BEGIN)
        return begin_record(gate, header, content, len);
    if ((header->requestIdB1 << 8 | header->requestIdB0) != gate->id)
        return refuse(gate, "records of two requests are mixed");
    if (header->type == FCGI_PARAMS && gate->stage == GATE_PARAMS)
        return params_record(gate, content, len);
    if (header->type == FCGI_STDIN && gate->stage == GATE_STDIN)
        return stdin_record(gate, len);
    return refuse(gate, "an unexpected record");
}

enum gate_verdict gate_scan(struct gate *gate, const uint8_t *bytes, size_t len)
{
    enum gate_verdict verdict = GATE_MORE;
    while (verdict == GATE_MORE && len - gate->scanned >= FCGI_HEADER_LEN) {
        const uint8_t *at = bytes + gate->scanned;
        FCGI_Header header;
        memcpy(&header, at, sizeof header);
        if (header.version != FCGI_VERSION_1)
            return refuse(gate, "the protocol's version is not 1");
        size_t content_len = (size_t)(header.contentLengthB1 << 8 | header.contentLengthB0);
        size_t whole = FCGI_HEADER_LEN + content_len + header.paddingLength;
        if (len - gate->scanned < whole) {
            /* a first record of another type is not worth waiting for */
            if (gate->stage == GATE_BEGIN && header.type != FCGI_BEGIN_REQUEST)
                return refuse(gate, "the first record is not BEGIN_REQUEST");
            break;
        }
        enum gate_stage stage = gate->stage;
        verdict = record(gate, &header, at + FCGI_HEADER_LEN, content_len);
        gate->scanned += whole;
        if (stage == GATE_PARAMS && gate->stage == GATE_STDIN)
            gate->stdin_start = gate->scanned;
    }
    return verdict;
}

size_t gate_trim(struct gate *gate, uint8_t *bytes, size_t len)
{
    if (!gate->too_large || gate->stage != GATE_STDIN)
        return len;
    size_t dropped = gate->scanned - gate->stdin_start;
    memmove(bytes + gate->stdin_start, bytes + gate->scanned, len - gate->scanned);
    gate->scanned = gate->stdin_start;
    return len - dropped;
}

#include "tests/unit/fcgi_bytes.h"

#include <fastcgi.h>
#include <stdio.h>
#include <string.h>

void put_record(struct buf *out, int type, uint16_t id, const void *content, size_t len,
                uint8_t padding)
{
    static const char zeros[255];
    FCGI_Header header = {.version = FCGI_VERSION_1,
                          .type = (unsigned char)type,
                          .requestIdB1 = (unsigned char)(id >> 8),
                          .requestIdB0 = (unsigned char)id,
                          .contentLengthB1 = (unsigned char)(len >> 8),
                          .contentLengthB0 = (unsigned char)len,
                          .paddingLength = padding};
    buf_add(out, &header, sizeof header);
    buf_add(out, content, len);
    buf_add(out, zeros, padding);
}

void put_begin(struct buf *out, uint16_t id, uint8_t flags)
{
    FCGI_BeginRequestBody begin = {.roleB0 = FCGI_RESPONDER, .flags = flags};
    put_record(out, FCGI_BEGIN_REQUEST, id, &begin, sizeof begin, 0);
}

static void put_length(struct buf *out, size_t len)
{
    unsigned char four[] = {(unsigned char)(0x80 | len >> 24), (unsigned char)(len >> 16),
                            (unsigned char)(len >> 8), (unsigned char)len};
    if (len < 0x80)
        buf_add(out, &four[3], 1);
    else
        buf_add(out, four, 4);
}

void put_pair(struct buf *out, const char *name, const char *value)
{
    put_length(out, strlen(name));
    put_length(out, strlen(value));
    buf_puts(out, name);
    buf_puts(out, value);
}

void put_request(struct buf *out, uint16_t id, const char *method, const char *uri,
                 const char *content_type, const char *body)
{
    struct buf params = {0};
    char length[24];
    snprintf(length, sizeof length, "%zu", body ? strlen(body) : 0);
    put_pair(&params, "REQUEST_METHOD", method);
    put_pair(&params, "REQUEST_URI", uri);
    put_pair(&params, "CONTENT_TYPE", content_type ? content_type : "");
    put_pair(&params, "CONTENT_LENGTH", body ? length : "");
    put_begin(out, id, FCGI_KEEP_CONN);
    put_record(out, FCGI_PARAMS, id, params.bytes, params.len, 3);
    put_record(out, FCGI_PARAMS, id, NULL, 0, 0);
    for (size_t len, at = 0; body && at < strlen(body); at += len) {
        len = strlen(body) - at < 65535 ? strlen(body) - at : 65535;
        put_record(out, FCGI_STDIN, id, body + at, len, 0);
    }
    put_record(out, FCGI_STDIN, id, NULL, 0, 0);
    buf_free(&params);
}

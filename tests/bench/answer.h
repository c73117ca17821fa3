/* answer.h - answers as bytes, HTTP/1.1 or FastCGI: those with a length, and streams.
 *
 * Pure: fed whatever bytes came. One answer at a time is on a connection (no pipelining), so bytes
 * behind an answer are an error. An answer is kept only in its beginning; who wants the whole body
 * (unchunked, out of its records) sets `take`. Without `take` it must have a Content-Length: all
 * that is asked for so does, and a reader of chunks would only measure itself.
 */
#ifndef ENCKE_BENCH_ANSWER_H
#define ENCKE_BENCH_ANSWER_H

#include <ctype.h>
#include <fastcgi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* How much of an answer is kept: its head, and the start of its body. A whole status fits. */
enum { ANSWER_KEPT = 6144 };

enum answer_state { ANSWER_MORE, ANSWER_DONE, ANSWER_BAD };

/* Where in a chunked body (RFC 9112, 7.1) the next byte belongs. */
enum chunk_part { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_LAST_END, CHUNK_OVER };

/* An answer as far as it has come. All zero at first; start each with answer_start. */
struct answer {
    /* Gets each piece of the body; set by the owner before the first answer, or NULL. */
    void (*take)(void *taker, const char *bytes, size_t len);
    void *taker;

    bool fcgi;
    /* The FastCGI record that is being read. */
    size_t header_have, content_left, padding_left;
    FCGI_Header header;
    /* What is in the records, or on the connection, of it. */
    size_t head_len; /* with its blank line; 0: not there yet */
    size_t seen;     /* bytes of head and body */
    size_t length;   /* of the body, if it has one */
    bool endless;    /* neither length nor chunks: it goes on until it is ended */
    bool chunked;
    enum chunk_part part;
    size_t chunk_left;
    int status;
    bool close; /* the server will close the connection */
    size_t kept;
    char text[ANSWER_KEPT + 1]; /* the first `kept` bytes, and a NUL */
};

static inline void answer_start(struct answer *a, bool fcgi)
{
    a->fcgi = fcgi;
    a->header_have = a->content_left = a->padding_left = 0;
    a->head_len = a->seen = a->length = a->kept = a->chunk_left = 0;
    a->endless = a->chunked = a->close = false;
    a->part = CHUNK_SIZE;
    a->status = 0;
}

/* The value of a header, or NULL. */
static inline const char *answer_header(const struct answer *a, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = a->text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncasecmp(line, name, len) == 0 && line[len] == ':')
            return line + len + 1 + strspn(line + len + 1, " ");
        if (line >= a->text + a->head_len - 2)
            break;
    }
    return NULL;
}

static inline bool answer_head(struct answer *a)
{
    const char *length = answer_header(a, "Content-Length");
    const char *status = answer_header(a, "Status");
    const char *connection = answer_header(a, "Connection");
    const char *coding = answer_header(a, "Transfer-Encoding");

    a->close = connection && strncasecmp(connection, "close", 5) == 0;
    if (a->fcgi)
        a->status = status ? atoi(status) : 200;
    else if (strncmp(a->text, "HTTP/1.", 7) == 0)
        a->status = atoi(a->text + 9);
    if (a->status == 101)
        length = coding = NULL; /* RFC 9110, 15.2: no body; but nchan says that it has one of 0 */
    if (length)
        a->length = strtoul(length, NULL, 10);
    a->chunked = coding && strncasecmp(coding, "chunked", 7) == 0;
    a->endless = !length && !a->chunked;
    return (length || a->take) && a->status >= 100 && a->status < 600;
}

static inline void answer_give(struct answer *a, const char *bytes, size_t len)
{
    if (a->take && len)
        a->take(a->taker, bytes, len);
}

/* Takes one byte of what stands around the data of chunks. Trailers and extensions of a chunk are
 * not expected of the servers here. False if it makes no sense. */
static inline bool answer_chunk_byte(struct answer *a, char byte)
{
    static const char digits[] = "0123456789abcdef";
    const char *digit = byte ? strchr(digits, tolower((unsigned char)byte)) : NULL;

    if (byte == '\r' && a->part != CHUNK_OVER)
        return true;
    if (a->part == CHUNK_SIZE && digit && a->chunk_left < SIZE_MAX / 32)
        a->chunk_left = a->chunk_left * 16 + (size_t)(digit - digits);
    else if (a->part == CHUNK_SIZE && byte == '\n')
        a->part = a->chunk_left ? CHUNK_DATA : CHUNK_LAST_END;
    else if (a->part == CHUNK_DATA_END && byte == '\n')
        a->part = CHUNK_SIZE;
    else if (a->part == CHUNK_LAST_END && byte == '\n')
        a->part = CHUNK_OVER;
    else
        return false;
    return true;
}

static inline bool answer_chunks(struct answer *a, const char *bytes, size_t len)
{
    while (len) {
        size_t took = 1;

        if (a->part == CHUNK_DATA) {
            took = len < a->chunk_left ? len : a->chunk_left;
            answer_give(a, bytes, took);
            a->chunk_left -= took;
            if (!a->chunk_left)
                a->part = CHUNK_DATA_END;
        } else if (!answer_chunk_byte(a, *bytes)) {
            return false;
        }
        bytes += took;
        len -= took;
    }
    return true;
}

/* Takes bytes of head and body. False if they make no sense. */
static inline bool answer_text(struct answer *a, const char *bytes, size_t len)
{
    size_t keep = len < ANSWER_KEPT - a->kept ? len : ANSWER_KEPT - a->kept;

    memcpy(a->text + a->kept, bytes, keep);
    a->kept += keep;
    a->text[a->kept] = 0;
    a->seen += len;
    if (!a->head_len) {
        const char *blank = memmem(a->text, a->kept, "\r\n\r\n", 4);

        if (!blank)
            return a->kept < ANSWER_KEPT;
        a->head_len = (size_t)(blank - a->text) + 4;
        if (!answer_head(a))
            return false;
        bytes += len - (a->seen - a->head_len);
        len = a->seen - a->head_len;
    }
    if (a->chunked)
        return answer_chunks(a, bytes, len);
    answer_give(a, bytes, len);
    return a->endless || a->seen <= a->head_len + a->length;
}

/* Whether it may end here. */
static inline bool answer_whole(const struct answer *a)
{
    if (!a->head_len)
        return false;
    if (a->chunked)
        return a->part == CHUNK_OVER;
    return a->endless || a->seen == a->head_len + a->length;
}

/* Takes what it can of one record; how much it took is in *len. */
static inline enum answer_state answer_record(struct answer *a, const char *bytes, size_t *len)
{
    size_t n;

    if (a->header_have < sizeof a->header) {
        n = sizeof a->header - a->header_have;
        *len = *len < n ? *len : n;
        memcpy((char *)&a->header + a->header_have, bytes, *len);
        a->header_have += *len;
        if (a->header_have < sizeof a->header)
            return ANSWER_MORE;
        a->content_left = (size_t)a->header.contentLengthB1 << 8 | a->header.contentLengthB0;
        a->padding_left = a->header.paddingLength;
    } else {
        size_t *left = a->content_left ? &a->content_left : &a->padding_left;

        *len = *len < *left ? *len : *left;
        if (a->header.type == FCGI_STDOUT && a->content_left && !answer_text(a, bytes, *len))
            return ANSWER_BAD;
        *left -= *len;
    }
    if (a->content_left || a->padding_left)
        return ANSWER_MORE;
    a->header_have = 0;
    if (a->header.type != FCGI_END_REQUEST)
        return ANSWER_MORE;
    return answer_whole(a) ? ANSWER_DONE : ANSWER_BAD;
}

/* Takes the next bytes of the connection. DONE with the last byte of the answer; BAD for what is
 * no answer, or bytes behind it. */
static inline enum answer_state answer_feed(struct answer *a, const char *bytes, size_t len)
{
    enum answer_state state = ANSWER_MORE;

    if (!a->fcgi) {
        if (!answer_text(a, bytes, len))
            return ANSWER_BAD;
        return answer_whole(a) && !a->endless ? ANSWER_DONE : ANSWER_MORE;
    }
    while (len && state == ANSWER_MORE) {
        size_t took = len;

        state = answer_record(a, bytes, &took);
        bytes += took;
        len -= took;
    }
    return len ? ANSWER_BAD : state;
}

#endif

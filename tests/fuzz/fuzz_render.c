/* Any messages, in every shape that readers get them in: taken apart again by what a reader has,
 * they are the same texts. */
#include <fastcgi.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/readers/batch.h"
#include "fcgi/wire/escape.h"
#include "fcgi/readers/render.h"
#include "fcgi/readers/transport.h"
#include "tests/fuzz/fuzz.h"

enum { MESSAGES = 8 };
static const char EPOCH[] = "0123456789ab";
static const char CALLBACK[] = "add_content";

/* ---- what a reader does ---- */

/* The bytes behind the FastCGI records and the CGI header of a whole answer. */
static struct buf body_of(const uint8_t *at, size_t len, bool headed)
{
    struct buf out = {0};
    const uint8_t *end = at + len;
    while (at < end) {
        size_t content = (size_t)(at[4] << 8 | at[5]);
        if (at[1] == FCGI_STDOUT)
            buf_add(&out, at + FCGI_HEADER_LEN, content);
        at += FCGI_HEADER_LEN + content + at[6];
    }
    CLAIM(at == end, "a record that is cut");
    buf_add(&out, "", 1);
    out.len--;
    if (headed) {
        char *body = memmem(out.bytes, out.len, "\r\n\r\n", 4);
        CLAIM(body, "no end of the header");
        out.len -= (size_t)(body + 4 - out.bytes);
        memmove(out.bytes, body + 4, out.len + 1);
    }
    return out;
}

static void expect_text(const char *shape, const char *got, size_t len,
                        const struct message *message)
{
    CLAIM(len == message->data_len && memcmp(got, message_data(message), len) == 0,
          "%s: %.*s became %.*s", shape, (int)message->data_len, message_data(message), (int)len,
          got);
}

static json_t *parse(const char *shape, const char *text, size_t len)
{
    json_error_t error;
    json_t *json = json_loadb(text, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    CLAIM(json, "%s: %s in %.*s", shape, error.text, (int)len, text);
    return json;
}

static void expect_object(const char *shape, const json_t *object, const struct message *message)
{
    const json_t *data = json_object_get(object, "data");
    CLAIM(json_is_string(data), "%s: no data", shape);
    expect_text(shape, json_string_value(data), json_string_length(data), message);
    const char *channel = json_string_value(json_object_get(object, "channel"));
    CLAIM(channel && strcmp(channel, message_channel(message)) == 0, "%s: channel", shape);
    CLAIM(json_integer_value(json_object_get(object, "time")) == message->time_ms, "%s: time",
          shape);
    char cursor[CURSOR_SIZE];
    const char *id = json_string_value(json_object_get(object, "id"));
    CLAIM(id && strcmp(id, cursor_print(cursor, EPOCH, message->seq)) == 0, "%s: id", shape);
}

/* ---- answers ---- */

static void expect_json(const struct frame *frame, const struct page *page)
{
    struct buf body = body_of(frame->bytes, frame->len, true);
    json_t *answer = parse("json", body.bytes, body.len);
    const json_t *messages = json_object_get(answer, "messages");
    CLAIM(json_array_size(messages) == page->count, "json: %zu messages",
          json_array_size(messages));
    for (size_t i = 0; i < page->count; i++)
        expect_object("json", json_array_get(messages, i), page->messages[i]);
    CLAIM(json_is_true(json_object_get(answer, "more")) == page->more, "json: more");
    CLAIM(json_is_true(json_object_get(answer, "reset")) == page->reset, "json: reset");
    json_decref(answer);
    buf_free(&body);
}

/* Undoes escape_html as a browser does; text has nothing but text and character references. */
static size_t unescape_html(char *text, size_t len)
{
    static const struct {
        const char *name;
        char is;
    } references[] = {
        {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&#39;", '\''}};
    size_t out = 0;
    for (size_t at = 0; at < len;) {
        CLAIM(!memchr("<>\"'", text[at], 4), "html: %c in a text", text[at]);
        size_t size = text[at] == '&' ? 0 : 1;
        char is = text[at];
        for (size_t i = 0; size == 0 && i < sizeof references / sizeof *references; i++) {
            size_t name = strlen(references[i].name);
            if (len - at >= name && memcmp(text + at, references[i].name, name) == 0) {
                size = name;
                is = references[i].is;
            }
        }
        CLAIM(size > 0, "html: a bare &");
        text[out++] = is;
        at += size;
    }
    return out;
}

static void expect_html(const struct frame *frame, const struct page *page)
{
    static const char open[] = "<div>", close[] = "</div>";
    struct buf body = body_of(frame->bytes, frame->len, true);
    json_t *answer = parse("html", body.bytes, body.len);
    const json_t *html = json_object_get(answer, "html");
    char *text = fuzz_copy(json_string_value(html), json_string_length(html)), *at = text;
    for (size_t i = 0; i < page->count; i++) {
        CLAIM(strncmp(at, open, strlen(open)) == 0, "html: %.20s", at);
        at += strlen(open);
        char *end = strstr(at, close);
        CLAIM(end, "html: no end of a message");
        expect_text("html", at, unescape_html(at, (size_t)(end - at)), page->messages[i]);
        at = end + strlen(close);
    }
    CLAIM(*at == '\0', "html: %.20s behind the messages", at);
    free(text);
    json_decref(answer);
    buf_free(&body);
}

/* A line each, in which line ends have become blanks. */
static void expect_says(const struct frame *frame, const struct page *page)
{
    static const char says[] = "Server says: ";
    struct buf body = body_of(frame->bytes, frame->len, true);
    const char *at = body.bytes;
    for (size_t i = 0; i < page->count; i++) {
        const char *end = strchr(at, '\n');
        CLAIM(end && strncmp(at, says, strlen(says)) == 0, "says: %.20s", at);
        at += strlen(says);
        const char *data = message_data(page->messages[i]);
        for (; *data; data++, at++) {
            bool pair = data[0] == '\r' && data[1] == '\n';
            CLAIM(*at == (*data == '\r' || *data == '\n' ? ' ' : *data), "says: %.20s", at);
            data += pair;
        }
        CLAIM(at == end, "says: %.20s behind the text", at);
        at = end + 1;
    }
    CLAIM(*at == '\0', "says: %.20s behind the messages", at);
    buf_free(&body);
}

/* ---- streams ---- */

static void expect_script(const char *text, size_t len, const struct message *message)
{
    static const char before[] = "<script>parent.add_content(", after[] = ")</script>\n";
    CLAIM(len > sizeof before + sizeof after && strncmp(text, before, strlen(before)) == 0 &&
              memcmp(text + len - strlen(after), after, strlen(after)) == 0,
          "script: %.*s", (int)len, text);
    const char *from = text + strlen(before), *to = text + len - strlen(after);
    for (const char *at = from; at < to; at++)
        CLAIM(!memchr("<>&\n\r", *at, 5) && !(strncmp(at, "\xe2\x80\xa8", 3) == 0) &&
                  !(strncmp(at, "\xe2\x80\xa9", 3) == 0),
              "script: %.20s within it", at);
    struct buf list = {0}; /* the arguments, all of which are JSON too */
    buf_puts(&list, "[");
    buf_add(&list, from, (size_t)(to - from));
    buf_puts(&list, "]");
    json_t *arguments = parse("script", list.bytes, list.len);
    CLAIM(json_array_size(arguments) == 4, "script: %zu arguments", json_array_size(arguments));
    const json_t *data = json_array_get(arguments, 0);
    CLAIM(json_is_string(data), "script: its text is no string");
    expect_text("script", json_string_value(data), json_string_length(data), message);
    json_decref(arguments);
    buf_free(&list);
}

/* One event, read as the HTML standard says (9.2.6): the data, with LF for any line end. */
static struct buf read_event(const char *text, size_t len)
{
    struct buf data = {0};
    const char *end = text + len, *at = text;
    bool ended = false, first = true;
    while (at < end) {
        CLAIM(!ended, "event: more than one");
        const char *line = at;
        while (at < end && *at != '\n' && *at != '\r')
            at++;
        size_t line_len = (size_t)(at - line);
        at += at + 1 < end && at[0] == '\r' && at[1] == '\n' ? 2 : 1;
        ended = line_len == 0;
        if (line_len >= 6 && memcmp(line, "data: ", 6) == 0) {
            buf_add(&data, "\n", first ? 0 : 1);
            buf_add(&data, line + 6, line_len - 6);
            first = false;
        } else {
            CLAIM(ended || (line_len > 4 && memcmp(line, "id: ", 4) == 0), "event: %.*s",
                  (int)line_len, line);
        }
    }
    CLAIM(ended && !first, "event: it has no end, or no data");
    return data;
}

static void expect_event(const char *text, size_t len, const struct message *message)
{
    struct buf data = read_event(text, len);
    size_t at = 0;
    const char *from = message_data(message);
    for (size_t i = 0; i < message->data_len; i++, at++) {
        bool end = from[i] == '\r' || from[i] == '\n';
        i += from[i] == '\r' && from[i + 1] == '\n';
        CLAIM(at < data.len && data.bytes[at] == (end ? '\n' : from[i]), "event: another text");
    }
    CLAIM(at == data.len, "event: more text");
    buf_free(&data);
}

static void expect_event_json(const char *text, size_t len, const struct message *message)
{
    struct buf data = read_event(text, len);
    json_t *object = parse("event", data.bytes, data.len);
    expect_object("event", object, message);
    json_decref(object);
    buf_free(&data);
}

static void expect_line(const char *text, size_t len, const struct message *message)
{
    CLAIM(len > 1 && memchr(text, '\n', len) == text + len - 1, "line: it is not one");
    json_t *object = parse("line", text, len - 1);
    expect_object("line", object, message);
    json_decref(object);
}

/* An unmasked text frame (RFC 6455, 5.2). */
static void expect_frame(const char *bytes, size_t len, const struct message *message)
{
    const uint8_t *at = (const uint8_t *)bytes;
    CLAIM(len > 10 && at[0] == 0x81 && at[1] < 0x80, "frame: %02x %02x", at[0], at[1]);
    size_t extended = at[1] < 126 ? 0 : at[1] == 126 ? 2 : 8, payload = extended ? 0 : at[1];
    for (size_t i = 0; i < extended; i++)
        payload = payload << 8 | at[2 + i];
    CLAIM(2 + extended + payload == len, "frame: %zu bytes of %zu", payload, len);
    json_t *object = parse("frame", bytes + 2 + extended, payload);
    expect_object("frame", object, message);
    json_decref(object);
}

static const struct {
    enum format format;
    void (*expect)(const char *text, size_t len, const struct message *message);
} streams[] = {{FORMAT_LINES, expect_line},
               {FORMAT_SCRIPT, expect_script},
               {FORMAT_EVENTS, expect_event},
               {FORMAT_EVENTS_JSON, expect_event_json},
               {FORMAT_FRAMES, expect_frame}};

/* Appends the message's text to all, and checks what a client makes of it. */
static void check_text(struct rendered *rendered, const struct shape *shape,
                       void (*expect)(const char *text, size_t len, const struct message *message),
                       struct message *message, struct buf *all)
{
    struct buf text = {0}, body = {0};
    struct rendered_run run;
    CLAIM(rendered_run(rendered, shape, &message, 1, SIZE_MAX, &run), "no memory");
    const uint8_t *bytes = run.frame->bytes + run.at;
    if (transport_of(shape->format)->put_call) /* it is sent before, as a record of its own */
        transport_of(shape->format)->put_call(&text, shape);
    if (shape->format == FORMAT_FRAMES)
        buf_add(&body, bytes, run.len);
    else
        body = body_of(bytes, run.len, false);
    buf_add(&text, body.bytes, body.len);
    expect(text.bytes, text.len, message);
    buf_add(all, bytes, run.len);
    buf_free(&body);
    buf_free(&text);
    frame_drop(run.frame);
}

static void check_streams(struct rendered *rendered, const struct page *page)
{
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        struct shape shape = {.format = streams[i].format,
                              .request_id = streams[i].format == FORMAT_FRAMES ? 0 : 1,
                              .callback = CALLBACK};
        struct buf all = {0}, given = {0};
        for (size_t k = 0; k < page->count; k++)
            check_text(rendered, &shape, streams[i].expect, page->messages[k], &all);
        struct batch *batch = batch_new(rendered, &shape, page);
        CLAIM(batch && batch->messages == page->count, "%zu of %zu messages",
              batch ? batch->messages : 0, page->count);
        for (uint32_t k = 0; k < batch->count; k++)
            buf_add(&given, batch->iov[k].iov_base, batch->iov[k].iov_len);
        CLAIM(given.len == all.len && memcmp(given.bytes, all.bytes, all.len) == 0,
              "a batch is not the texts of its messages");
        buf_free(&all);
        buf_free(&given);
        batch_free(batch);
    }
}

static void check_answers(struct rendered *rendered, const struct page *page)
{
    static const struct {
        enum format format;
        void (*expect)(const struct frame *frame, const struct page *page);
    } answers[] = {
        {FORMAT_JSON, expect_json}, {FORMAT_HTML, expect_html}, {FORMAT_SAYS, expect_says}};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        for (size_t from = 0; from <= page->count; from += 1 + page->count / 3) {
            struct page part = *page;
            part.messages += from;
            part.count -= from;
            struct frame *frame = render_page(rendered, answers[i].format, &part, SIZE_MAX);
            CLAIM(frame, "no memory");
            answers[i].expect(frame, &part);
            frame_drop(frame);
        }
}

/* The first byte: reset and more; then texts parted by NULs. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct message *messages[MESSAGES];
    struct choices choices = {bytes, len};
    uint8_t flags = choose_byte(&choices);
    struct page page = {.messages = messages, .more = flags & 1, .reset = flags & 2};
    while (page.count < MESSAGES && choices.left > 0) {
        const uint8_t *end = memchr(choices.at, '\0', choices.left);
        size_t text_len = end ? (size_t)(end - choices.at) : choices.left;
        if (fuzz_is_text(choices.at, text_len)) {
            struct message *message = message_new("a", (const char *)choices.at, text_len,
                                                  1700000000000 + (int64_t)page.count);
            CLAIM(message, "no memory");
            message->seq = page.count + 1;
            messages[page.count++] = message;
        }
        choices.at += text_len + (end != NULL);
        choices.left -= text_len + (end != NULL);
    }
    page.next = page.count;
    static struct rendered rendered;
    rendered_init(&rendered, EPOCH);
    check_answers(&rendered, &page);
    page.reset = false; /* streams tell of it with the first message */
    if (page.count > 0)
        check_streams(&rendered, &page);
    rendered_free(&rendered);
    for (size_t i = 0; i < page.count; i++)
        message_drop(messages[i]);
    return 0;
}

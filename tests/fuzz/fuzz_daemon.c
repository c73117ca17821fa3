/* The whole daemon in this process, with peers that say anything at any time: FastCGI and WebSocket
 * connections are socket pairs, the clock stands still but for what the input says, and every step
 * is followed until the daemon has nothing more to do. What it answers is well-formed, an honest
 * peer is served all along, and in the end nothing is left of anybody. */
#include <errno.h>
#include <fastcgi.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fcgi/conn/reading.h"
#include "fcgi/options_parse.h"
#include "fcgi/server.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fcgi_bytes.h"

enum {
    PEERS = 6,
    STEPS = 120,
    ROUNDS = 2000 /* of the loop, in which anything must have come to rest */
};

struct peer {
    int fd; /* -1: there is none */
    bool websocket;
    struct buf heard;   /* all that the daemon has said */
    struct buf waiting; /* the rest of a request that was begun */
};

static struct server server;
static struct options options;
static struct peer peers[PEERS];
static uint64_t now_ms;

/* ---- the daemon ---- */

static uint64_t clock_of_its_own(void)
{
    return now_ms;
}

static void parse_options(void)
{
    static char socket[100], websocket[100], db[100];
    snprintf(socket, sizeof socket, "%s/sock", fuzz_dir());
    snprintf(websocket, sizeof websocket, "%s/websocket", fuzz_dir());
    snprintf(db, sizeof db, "%s/log.db", fuzz_dir());
    static const char *const words[] = {
        "encke",   "--max-message",    "1000",  "--max-holds",
        "4",       "--memory",         "4000",  "--keep-messages",
        "20",      "--log-level",      "error", "--websocket-create",
        "yes",     "--websocket-rate", "5",     "--websocket-socket",
        websocket, "--socket",         socket,  "--db",
        db};
    enum { WORDS = sizeof words / sizeof *words };
    char *argv[WORDS + 1] = {NULL};
    for (size_t i = 0; i < WORDS; i++)
        argv[i] = (char *)(uintptr_t)words[i];
    CLAIM(options_parse(&options, WORDS, argv) == OPTIONS_RUN, "the options are refused");
    diag_level_set(options.log_level);
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, NULL);
    timer_clock_set(clock_of_its_own);
}

static void start(void)
{
    char name[120];
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        snprintf(name, sizeof name, "%s%s", options.db, suffixes[i]);
        unlink(name);
    }
    now_ms = 1000000;
    CLAIM(server_open(&server, &options) == 0, "the daemon does not start");
    srandom(1); /* jitter, the same each time */
    for (size_t i = 0; i < PEERS; i++)
        peers[i] = (struct peer){.fd = -1};
}

/* Runs the loop until there is nothing more to do, commits included. */
static void settle(void)
{
    for (int round = 0; round < ROUNDS && !server.loop.stopped; round++) {
        struct log_stats stats;
        int events = loop_round(&server.loop, 0);
        CLAIM(events >= 0, "the loop failed: %s", strerror(errno));
        log_stats(server.log, &stats);
        if (events == 0 && stats.queued == 0)
            return;
        if (events == 0)
            fuzz_wait(log_fd(server.log), "a commit is never reported");
    }
    CLAIM(server.loop.stopped, "the loop goes round and round");
}

static void pass(uint64_t ms)
{
    now_ms += ms;
    settle();
}

/* ---- what the peers hear ---- */

/* Whole records, in their order, of answers that end (FastCGI 1.0, 5.5). */
static void check_records(const struct buf *heard)
{
    const uint8_t *at = (const uint8_t *)heard->bytes, *end = at + heard->len;
    bool open = false, said = false;
    while (end - at >= FCGI_HEADER_LEN) {
        size_t content = (size_t)(at[4] << 8 | at[5]);
        const uint8_t *next = at + FCGI_HEADER_LEN + content + at[6];
        CLAIM(at[0] == FCGI_VERSION_1, "version %d", at[0]);
        CLAIM(at[1] == FCGI_STDOUT || at[1] == FCGI_END_REQUEST, "a record of type %d", at[1]);
        if (next > end)
            return;
        if (at[1] == FCGI_STDOUT) {
            if (!open && content > 0)
                CLAIM(memmem(at, FCGI_HEADER_LEN + content, "Cache-Control: no-store", 23),
                      "an answer begins with no header");
            open = true;
            said = said || content > 0;
        } else {
            CLAIM(open && said && content == 8, "an end of nothing");
            CLAIM(memcmp(at + FCGI_HEADER_LEN, "\0\0\0\0\0", 5) == 0, "it ended badly");
            open = said = false;
        }
        at = next;
    }
}

/* Unmasked frames without reserved bits, of kinds that the daemon sends (RFC 6455, 5.2). */
static void check_frames(const uint8_t *at, const uint8_t *end)
{
    bool closed = false;
    while (end - at >= 2) {
        unsigned opcode = at[0] & 15;
        CLAIM(!closed, "a frame behind the close");
        CLAIM((at[0] & 0xf0) == 0x80 && at[1] < 0x80, "frame %02x %02x", at[0], at[1]);
        CLAIM(opcode == 1 || opcode == 8 || opcode == 9 || opcode == 10, "opcode %u", opcode);
        size_t extended = at[1] < 126 ? 0 : at[1] == 126 ? 2 : 8, len = extended ? 0 : at[1];
        if ((size_t)(end - at) < 2 + extended)
            return;
        for (size_t i = 0; i < extended; i++)
            len = len << 8 | at[2 + i];
        at += 2 + extended;
        if ((size_t)(end - at) < len)
            return;
        CLAIM(opcode != 1 || text_is_utf8((struct text){(const char *)at, len}),
              "a text that is none");
        closed = opcode == 8;
        at += len;
    }
}

static void check_http(const struct buf *heard)
{
    static const char first[] = "HTTP/1.1 ";
    size_t len = heard->len < strlen(first) ? heard->len : strlen(first);
    CLAIM(memcmp(heard->bytes, first, len) == 0, "it says %.*s", (int)len, heard->bytes);
    const char *end = memmem(heard->bytes, heard->len, "\r\n\r\n", 4);
    if (end && memcmp(heard->bytes, "HTTP/1.1 101", 12) == 0)
        check_frames((const uint8_t *)end + 4, (const uint8_t *)heard->bytes + heard->len);
}

/* Takes up to most bytes of what the daemon has said. Returns whether it is still there. */
static bool hear(struct peer *peer, size_t most)
{
    char bytes[4096];
    while (most > 0) {
        size_t want = most < sizeof bytes ? most : sizeof bytes;
        ssize_t got = recv(peer->fd, bytes, want, MSG_DONTWAIT);
        if (got <= 0)
            return got < 0 && errno == EAGAIN;
        buf_add(&peer->heard, bytes, (size_t)got);
        most -= (size_t)got;
    }
    return true;
}

static void leave(struct peer *peer)
{
    if (peer->fd < 0)
        return;
    hear(peer, SIZE_MAX);
    if (peer->heard.len > 0 && peer->websocket)
        check_http(&peer->heard);
    else if (peer->heard.len > 0)
        check_records(&peer->heard);
    close(peer->fd);
    buf_free(&peer->heard);
    buf_free(&peer->waiting);
    *peer = (struct peer){.fd = -1};
}

/* ---- what they say ---- */

/* The daemon's end takes only a few KB before it is full. */
static int connect_to(bool websocket)
{
    enum { SMALL = 4096 };
    int pair[2], size = SMALL;
    CLAIM(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0, "%s",
          strerror(errno));
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    (websocket ? conn_accept_websocket : conn_accept_fastcgi)(&server.conns, pair[1]);
    return pair[0];
}

static void come(struct peer *peer, bool websocket)
{
    leave(peer);
    *peer = (struct peer){.fd = connect_to(websocket), .websocket = websocket};
}

static void say(struct peer *peer, const void *bytes, size_t len)
{
    if (peer->fd >= 0 && len > 0)
        send(peer->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL); /* the daemon may be gone */
}

/* Begins to say it: the first part now, the rest by say_rest. */
static void say_part(struct peer *peer, struct buf *bytes, size_t part)
{
    part = part < bytes->len ? part : bytes->len;
    say(peer, bytes->bytes, part);
    buf_reset(&peer->waiting);
    buf_add(&peer->waiting, bytes->bytes + part, bytes->len - part);
    buf_free(bytes);
}

static void say_rest(struct peer *peer, size_t part)
{
    struct buf rest = peer->waiting;
    peer->waiting = (struct buf){0};
    if (rest.len > 0)
        say_part(peer, &rest, part);
    buf_free(&rest);
}

static const char *choose_uri(struct choices *choices, char *uri, size_t size)
{
    static const char *const ends[] = {"create",    "update",  "subscribe", "longpolling",
                                       "streaming", "iframe",  "events",    "websocket",
                                       "status",    "nothing", "batch"};
    static const char *const queries[] = {"",           "?id=now",           "?channel=a&channel=b",
                                          "?timeout=1", "?as=html",          "?as=json",
                                          "?limit=1",   "?id=now&channel=a", "?once=k&msg=a"};
    const char *end = ends[choose_below(choices, 11)];
    const char *query = queries[choose_below(choices, 9)];
    struct piece piece = choose_piece(choices, 40);
    char *more = fuzz_copy(piece.bytes, piece.len);
    snprintf(uri, size, "/comet/%s%s%s", end, query, more);
    free(more);
    return uri;
}

static void request(struct choices *choices, struct peer *peer)
{
    static const char *const types[] = {NULL, "text/plain", "application/x-www-form-urlencoded",
                                        "multipart/form-data; boundary=x", "application/json"};
    char uri[200];
    struct buf bytes = {0};
    choose_uri(choices, uri, sizeof uri);
    const char *method = choose_below(choices, 2) ? "POST" : "GET";
    const char *type = types[choose_below(choices, 5)];
    struct piece piece = choose_piece(choices, 1500);
    char *body = fuzz_copy(piece.bytes, piece.len);
    put_request(&bytes, (uint16_t)(1 + choose_below(choices, 3)), method, uri, type, body);
    free(body);
    say_part(peer, &bytes, choose_below(choices, 4) ? SIZE_MAX : choose_below(choices, 300));
}

static void handshake(struct choices *choices, struct peer *peer)
{
    struct buf bytes = {0};
    struct piece piece = choose_piece(choices, 60);
    char *more = fuzz_copy(piece.bytes, piece.len);
    static const char *const queries[] = {"", "?as=echo", "?channel=a", "?id=now"};
    buf_printf(&bytes,
               "GET /comet/websocket%s%s HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
               "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
               queries[choose_below(choices, 4)], more);
    free(more);
    say_part(peer, &bytes, choose_below(choices, 4) ? SIZE_MAX : choose_below(choices, 200));
}

static void frame(struct choices *choices, struct peer *peer)
{
    static const uint8_t firsts[] = {0x81, 0x01, 0x80, 0x88, 0x89, 0x8a, 0x82, 0x00};
    uint8_t head[8] = {firsts[choose_below(choices, 8)]};
    struct piece piece = choose_piece(choices, 125);
    struct buf bytes = {0};
    head[1] = (uint8_t)(0x80 | piece.len);
    buf_add(&bytes, head, 6); /* a mask of zeros is one, too */
    buf_add(&bytes, piece.bytes, piece.len);
    say_part(peer, &bytes, choose_below(choices, 4) ? SIZE_MAX : choose_below(choices, 8));
}

static void step(struct choices *choices)
{
    enum { COME, COME_WEB, REQUEST, REST, RAW, HANDSHAKE, FRAME, HEAR, SHUT, LEAVE, PASS, KINDS };
    unsigned kind = choose_below(choices, KINDS);
    struct peer *peer = &peers[choose_below(choices, PEERS)];
    if (kind == COME || kind == COME_WEB || (peer->fd < 0 && kind != PASS))
        come(peer, kind == COME_WEB || kind == HANDSHAKE || kind == FRAME);
    struct piece piece;
    switch (kind) {
    case REQUEST:
        request(choices, peer);
        break;
    case REST:
        say_rest(peer, choose_below(choices, 2) ? SIZE_MAX : choose_below(choices, 100));
        break;
    case RAW:
        piece = choose_piece(choices, 600);
        say(peer, piece.bytes, piece.len);
        break;
    case HANDSHAKE:
        handshake(choices, peer);
        break;
    case FRAME:
        frame(choices, peer);
        break;
    case HEAR:
        hear(peer, choose_below(choices, 2) ? SIZE_MAX : choose_below(choices, 3000));
        break;
    case SHUT:
        shutdown(peer->fd, SHUT_WR);
        break;
    case LEAVE:
        leave(peer);
        break;
    case PASS:
        now_ms += 1ull << choose_below(choices, 18);
        break;
    default:
        break;
    }
    settle();
}

/* ---- the honest peer ---- */

/* Asks on a connection of its own and returns the answer's body, parsed. */
static json_t *ask(const char *method, const char *uri, const char *body)
{
    struct peer honest = {.fd = connect_to(false)};
    struct buf bytes = {0};
    put_request(&bytes, 1, method, uri, "text/plain", body);
    say_part(&honest, &bytes, SIZE_MAX);
    for (size_t before = SIZE_MAX; before != honest.heard.len;) {
        settle();
        before = honest.heard.len;
        hear(&honest, SIZE_MAX);
    }
    json_t *answer = NULL;
    struct buf text = {0};
    CLAIM(honest.heard.len > 0, "%s is not answered", uri);
    const uint8_t *at = (const uint8_t *)honest.heard.bytes, *end = at + honest.heard.len;
    for (size_t content; end - at >= FCGI_HEADER_LEN; at += FCGI_HEADER_LEN + content + at[6]) {
        content = (size_t)(at[4] << 8 | at[5]);
        if (at[1] == FCGI_STDOUT)
            buf_add(&text, at + FCGI_HEADER_LEN, content);
    }
    const char *from = text.len > 0 ? memmem(text.bytes, text.len, "\r\n\r\n", 4) : NULL;
    if (from)
        answer = json_loadb(from + 4, text.len - (size_t)(from + 4 - text.bytes), 0, NULL);
    CLAIM(json_is_object(answer), "%s is answered %.*s", uri, (int)text.len, text.bytes);
    buf_free(&text);
    leave(&honest);
    settle();
    return answer;
}

static void expect_service(void)
{
    json_t *created = ask("POST", "/comet/create?channel=honest", "still here");
    const json_t *id = json_object_get(created, "id");
    CLAIM(json_is_string(id), "a create is not answered");
    json_t *read = ask("GET", "/comet/update?channel=honest&timeout=0", NULL);
    const json_t *messages = json_object_get(read, "messages");
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    CLAIM(json_equal(json_object_get(last, "id"), id), "what was acknowledged is not there");
    json_decref(created);
    json_decref(read);
}

/* All are gone: nothing is left of them. */
static void expect_nothing(void)
{
    pass(3600 * 1000);
    unsigned streams = 0;
    for (int kind = 0; kind < STREAM_KINDS; kind++)
        streams += server.readers.streams[kind];
    CLAIM(server.conns.count == 0 && server.admission.waiting == 0 && streams == 0 &&
              server.readers.streams_behind == 0,
          "%u connections are left, %u wait, %u streams, %u of them behind", server.conns.count,
          server.admission.waiting, streams, server.readers.streams_behind);
    CLAIM(server.loop.timers.count == 0, "%u timers are left", server.loop.timers.count);
}

static void stop(bool drain)
{
    if (drain) {
        raise(SIGTERM);
        settle();
        for (int i = 0; i < 100 && !server.loop.stopped; i++)
            pass(TIMER_TICK_MS);
        CLAIM(server.loop.stopped, "it does not stop");
    }
    CLAIM(server_close(&server) == EXIT_SUCCESS, "it ends with a failure");
    for (size_t i = 0; i < PEERS; i++)
        leave(&peers[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (!options.db)
        parse_options();
    struct choices choices = {bytes, len};
    bool drain = choose_below(&choices, 8) == 7;
    start();
    for (int i = 0; i < STEPS && choices.left > 0; i++)
        step(&choices);
    if (!drain) {
        expect_service();
        for (size_t i = 0; i < PEERS; i++)
            leave(&peers[i]);
        settle();
        expect_nothing();
    }
    stop(drain);
    return 0;
}

#include "fcgi/options.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define AT(field) offsetof(struct options, field)
#define FOREVER (INT64_C(100) * 365 * 86400)
#define TERABYTE (INT64_C(1) << 40)

const struct option_row option_rows[] = {
    {"socket", "PATH", OPTION_TEXT, AT(socket), NULL, 0, 0,
     "unix socket to which the web server connects; not needed if one is inherited",
     "A socket that a dead daemon left behind is replaced; one that is in use is not. A listening "
     "socket may be inherited from systemd.socket(5), or as standard input from lighttpd's "
     "bin-path or from spawn-fcgi(1); it is then used instead of this one."},
    {"socket-mode", "MODE", OPTION_OCTAL, AT(socket_mode), "0660", 0, 0777,
     "permissions of the sockets that the daemon makes",
     "Whoever may connect may publish: only the web server should be able to."},
    {"db", "PATH", OPTION_TEXT, AT(db), NULL, 0, 0,
     "the message log, an SQLite file on a local disk; created if it is missing",
     "A new log has mode 0640 or less, and so have the files beside it (see FILES). If everybody "
     "may read a log, a line on standard error says so."},
    {"mount", "PATH", OPTION_PREFIX, AT(mount), NULL, 0, 0,
     "path above the endpoints, such as /comet/; without it any path that ends in /create is "
     "create, and so on",
     "With --mount /comet/ only /comet/create is create, compared letter by letter. "
     "/comet/x/create, /comet//create and /comet/%63reate are answered 404, so that no client gets "
     "round a rule of the web server. It holds for both sockets."},
    {"origin", "LIST", OPTION_ORIGINS, AT(origin), NULL, 0, 0,
     "other web sites whose pages may publish and open WebSockets; any: all of them",
     "Pages of the same host always may. Pages of other sites are answered 403, because a browser "
     "sends a visitor's cookies and passwords with their requests, too. A page is of the same host "
     "if the browser says so (Sec-Fetch-Site); if it does not say, the page's Origin must be the "
     "Host of the request, default ports aside. Programs that send neither header may publish."},
    {"hold", "SECONDS", OPTION_NUMBER, AT(hold_s), "55", 1, 3600,
     "how long a request is held, less a random part of up to a tenth",
     "If it is above --hold-max and only one of the two was given, the other one follows it."},
    {"hold-max", "SECONDS", OPTION_NUMBER, AT(hold_max_s), "120", 1, 3600,
     "the longest hold that a client may ask for; keep the web server's read timeout above it",
     NULL},
    {"stream", "TIME", OPTION_AGE, AT(stream_s), "10m", 1, 86400,
     "how long a stream lasts, less a random part of up to a tenth",
     "Its reader comes back with its cursor. WebSockets do not end."},
    {"heartbeat", "SECONDS", OPTION_NUMBER, AT(heartbeat_s), "25", 1, 3600,
     "the longest time for which a stream sends nothing; keep the web server's read timeout above "
     "it",
     "A WebSocket's client that answers no ping for two heartbeats is disconnected."},
    {"max-holds", "N", OPTION_NUMBER, AT(max_holds), "20000", 1, 10000000,
     "held requests and open streams at once; beyond it clients get 503",
     "It is lowered to what the limit of open files allows. The sets of channels that these read "
     "may take 1600 bytes each on average (a channel that nobody else reads takes about 150, one "
     "that others read 40); beyond that a new set gets 503."},
    {"max-message", "SIZE", OPTION_SIZE, AT(max_message), "64K", 1, 8 << 20,
     "size of one message; a longer one gets 413", NULL},
    {"max-channels", "N", OPTION_NUMBER, AT(max_channels), "32", 1, 512,
     "channels that one request may name; more get 400", NULL},
    {"keep-messages", "N", OPTION_NUMBER, AT(keep_messages), "10000", 0, TERABYTE,
     "messages kept in each channel; 0: no limit",
     "The oldest messages are deleted first, and several at a time, so a little more than the "
     "limit may be kept: of a channel that keeps 1000 messages or more a sixteenth, of "
     "--keep-bytes a thousandth, and of --keep-age a thousandth but at most 10 seconds."},
    {"keep-age", "TIME", OPTION_AGE, AT(keep_age_s), "7d", 0, FOREVER,
     "how long messages are kept; 0: no limit", NULL},
    {"keep-bytes", "SIZE", OPTION_SIZE, AT(keep_bytes), "1G", 0, 1024 * TERABYTE,
     "size of all messages kept; 0: no limit", NULL},
    {"max-channels-kept", "N", OPTION_NUMBER, AT(max_channels_kept), "1000000", 1, 1000000000,
     "channels that have messages; beyond it a message on a new channel gets 507", NULL},
    {"once", "TIME", OPTION_AGE, AT(once_s), "10m", 1, FOREVER,
     "how long a message's key is remembered: whoever sends it again is given the first one's id",
     "A publisher that did not get an answer sends the message again with the same key (the field "
     "once, or the header Idempotency-Key), and it is stored once."},
    {"once-keys", "N", OPTION_NUMBER, AT(once_keys), "1000000", 1, 1000000000,
     "keys that are remembered; beyond it a message with a new key gets 507",
     "A key takes about 60 bytes of memory and 50 of the log's file until it is forgotten."},
    {"memory", "SIZE", OPTION_SIZE, AT(memory_bytes), "16M", 0, TERABYTE,
     "recent messages kept in memory; older ones are read from the disk",
     "Answers that many long polls with old cursors share may take 20M more. So may messages that "
     "come while older ones are read (16M), and readers that wait for these (8M)."},
    {"queue", "SIZE", OPTION_SIZE, AT(queue_bytes), "64M", 1, TERABYTE,
     "messages that may wait for the disk; beyond it create gets 503", NULL},
    {"unsent", "SIZE", OPTION_SIZE, AT(unsent_bytes), "32M", 1 << 20, TERABYTE,
     "answers and messages that readers have not taken yet; beyond it readers that take nothing "
     "are disconnected",
     "If 8 times --max-message is more, that is the default. From half of it on, long polls get "
     "smaller answers, which say that there is more. Beyond it, the readers that have taken "
     "nothing for longest are disconnected, but never the only one. They go on from their cursors "
     "when they come back."},
    {"request-timeout", "SECONDS", OPTION_NUMBER, AT(request_timeout_s), "10", 1, 3600,
     "time for a request to arrive whole, and for an answer that is stuck to move on", NULL},
    {"websocket-socket", "PATH", OPTION_TEXT, AT(websocket_socket), NULL, 0, 0,
     "a second unix socket, for WebSockets (HTTP/1.1)",
     "The web server passes requests with \"Upgrade: websocket\" on to it, as to any HTTP server "
     "behind it. Its permissions are those of --socket-mode. It may be inherited from "
     "systemd.socket(5): as the second of two sockets, or with FileDescriptorName=websocket. "
     "Without it there are no WebSockets."},
    {"websocket-create", "yes|no", OPTION_YES_NO, AT(websocket_create), "no", 0, 0,
     "whether texts that WebSocket clients send are published", NULL},
    {"websocket-rate", "N", OPTION_NUMBER, AT(websocket_rate), "100", 1, 1000000,
     "frames a second that a WebSocket client may send in the long run; ten times as many in a "
     "burst",
     "A client that sends more is closed with code 1008."},
    {"upstream", "[NAME=]URL", OPTION_REPEATED, AT(upstream), NULL, 0, 0,
     "relay subscribe to this http or https URL; may be repeated, as may the next three",
     "See THE RELAY. The URL may have a query, and a user and a password. Upstreams have different "
     "names, each 1 to 64 of A-Z a-z 0-9 . _ and -; an option without NAME= is about the one named "
     "default. In the environment blanks separate the values: ENCKE_UPSTREAM=\"a=http://... "
     "b=http://...\"."},
    {"upstream-params", "[NAME=]LIST", OPTION_REPEATED, AT(upstream_params), NULL, 0, 0,
     "query parameters that clients may pass on, separated by commas without blanks; without it "
     "all but timeout",
     "NAME= and default= are an empty list: nothing is passed on."},
    {"upstream-channel", "[NAME=]CHANNEL", OPTION_REPEATED, AT(upstream_channel), NULL, 0, 0,
     "publish the upstream's answers on this channel",
     "One request to the upstream is then always open. Nobody else should publish on the channel."},
    {"upstream-cursor", "[NAME=]P:F", OPTION_REPEATED, AT(upstream_cursor), NULL, 0, 0,
     "for that, send field F of the last JSON answer as parameter P; without it id:id",
     "F is a string or a number at the top level of the last answer that had one."},
    {"upstream-ca", "FILE", OPTION_TEXT, AT(upstream_ca), NULL, 0, 0,
     "certificates (PEM) to trust for upstreams instead of the system's",
     "Either file is read once, at the start."},
    {"upstream-proxy", "URL", OPTION_TEXT, AT(upstream_proxy), NULL, 0, 0,
     "proxy for all upstreams: http, https or socks5h, with its port",
     "Without it there is none: the proxies that the environment names are not used."},
    {"upstream-timeout", "SECONDS", OPTION_NUMBER, AT(upstream_timeout_s), "100", 1, 3600,
     "time for one whole request to an upstream, at most 10 seconds of it to connect",
     "It must be longer than the upstream holds a request."},
    {"upstream-answer", "SIZE", OPTION_SIZE, AT(upstream_answer), "1M", 1 << 10, 64 << 20,
     "size of an upstream's answer; a larger one is an error",
     "All that has arrived of unfinished answers is at most 64M, or this size if it is larger."},
    {"upstream-requests", "N", OPTION_NUMBER, AT(upstream_requests), "1000", 1, 100000,
     "different requests to upstreams at once; beyond it clients get 503",
     "The requests of --upstream-channel are not counted. It is lowered to an eighth of the limit "
     "of open files."},
    {"log-level", "error|warn|info|debug", OPTION_LEVEL, AT(log_level), "info", 0, 0,
     "the least important lines that go to stderr", "See DIAGNOSTICS."},
};
static_assert(OPTION_COUNT <= 64, "options.given has a bit for each");

bool options_given(const struct options *options, const char *name)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (strcmp(option_rows[i].name, name) == 0)
            return options->given >> i & 1;
    return false;
}

int options_complain(const char *format, ...)
{
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    diag(DIAG_ERROR, "%s; see encke --help", text);
    return -1;
}

#include "fcgi/conflicts.h"

#include <stdio.h>
#include <string.h>

static bool both_given(const struct options *options, const char *one, const char *other)
{
    return options_given(options, one) && options_given(options, other);
}

static int complain_of_order(const char *lower, int64_t least, const char *upper, int64_t most)
{
    return options_complain("--%s (%lld) is above --%s (%lld): lower the one or raise the other",
                            lower, (long long)least, upper, (long long)most);
}

/* The default hold must not be longer than the longest that a client may ask for. */
static int settle_holds(struct options *options)
{
    if (options->hold_s <= options->hold_max_s)
        return 0;
    if (both_given(options, "hold", "hold-max"))
        return complain_of_order("hold", options->hold_s, "hold-max", options->hold_max_s);
    if (options_given(options, "hold-max"))
        options->hold_s = options->hold_max_s;
    else
        options->hold_max_s = options->hold_s;
    return 0;
}

/* One message must fit into each limit for all messages: those that wait for the disk, those kept,
 * and those that readers have not taken. The last are written as JSON or for scripts, which makes
 * them up to six times as long. */
static int settle_sizes(struct options *options)
{
    enum { WRITTEN = 8 };
    if (!options_given(options, "unsent") && options->unsent_bytes < WRITTEN * options->max_message)
        options->unsent_bytes = WRITTEN * options->max_message;
    const struct {
        const char *name;
        int64_t bytes; /* 0: no limit */
    } rooms[] = {{"queue", options->queue_bytes},
                 {"keep-bytes", options->keep_bytes},
                 {"unsent", options->unsent_bytes}};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        if (rooms[i].bytes > 0 && options->max_message > rooms[i].bytes &&
            both_given(options, "max-message", rooms[i].name))
            return complain_of_order("max-message", options->max_message, rooms[i].name,
                                     rooms[i].bytes);
    return 0;
}

/* The files of a log are the one of its name, and others whose names begin with it. */
static bool is_file_of_log(const char *path, const char *db)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".lock"};
    size_t len = strlen(db);
    if (strncmp(path, db, len) != 0)
        return false;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (strcmp(path + len, suffixes[i]) == 0)
            return true;
    return false;
}

static int settle_paths(const struct options *options)
{
    const char *fastcgi = options->socket, *websocket = options->websocket_socket;
    const char *bad = NULL;
    if (fastcgi && websocket && strcmp(fastcgi, websocket) == 0)
        return options_complain("--socket and --websocket-socket are one path: give each its own");
    if (fastcgi && is_file_of_log(fastcgi, options->db))
        bad = "socket";
    else if (websocket && is_file_of_log(websocket, options->db))
        bad = "websocket-socket";
    return bad ? options_complain("--%s is a file of the log (--db): give it a path of its own",
                                  bad)
               : 0;
}

/* To connect to a socket, a program needs the permission to write to it. */
static int settle_socket_mode(const struct options *options)
{
    enum { WRITE = 0222 };
    if (options->socket_mode & WRITE)
        return 0;
    return options_complain("--socket-mode %04o lets nobody connect: that takes permission to "
                            "write, as in 0660",
                            (unsigned)options->socket_mode);
}

/* The first of these that was given, or NULL. */
static const char *first_given(const struct options *options, const char *const *names)
{
    while (*names && !options_given(options, *names))
        names++;
    return *names;
}

/* These options need an upstream. The others name one, and upstreams_open looks for it. */
static int settle_upstreams(const struct options *options)
{
    static const char *const names[] = {"upstream-ca",     "upstream-proxy",    "upstream-timeout",
                                        "upstream-answer", "upstream-requests", NULL};
    const char *given = options->upstream.count == 0 ? first_given(options, names) : NULL;
    if (!given)
        return 0;
    return options_complain("--%s is for a relay: give --upstream URL too, or leave it out", given);
}

int conflicts_settle(struct options *options)
{
    if (settle_holds(options) != 0 || settle_sizes(options) != 0 || settle_paths(options) != 0 ||
        settle_socket_mode(options) != 0 || settle_upstreams(options) != 0)
        return -1;
    return 0;
}

int conflicts_with_sockets(const struct options *options, bool own, bool websocket, char *why,
                           size_t why_size)
{
    static const char *const names[] = {"websocket-create", "websocket-rate", NULL};
    const char *given = websocket ? NULL : first_given(options, names);
    if (given)
        snprintf(why, why_size,
                 "--%s is for WebSockets: give --websocket-socket PATH too, or leave it out",
                 given);
    else if (!own && options_given(options, "socket-mode"))
        snprintf(why, why_size,
                 "--socket-mode is for a socket that the daemon makes: set the mode where the "
                 "inherited one is made, or leave it out");
    else
        return 0;
    return -1;
}

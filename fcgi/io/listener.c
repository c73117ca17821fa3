#include "fcgi/io/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

enum { BACKLOG = 65535 }; /* the kernel lowers it to net.core.somaxconn. Full means 502 at once. */

static bool is_listening(int fd)
{
    int listening = 0;
    socklen_t len = sizeof listening;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening;
}

/* The sockets that systemd passed. */
struct passed {
    int fastcgi, websocket; /* -1: none */
};

/* Returns which descriptor is for WebSockets, counted from 0: the one with that name, else the
 * second, if there is one. Returns -1 if more than one has that name. */
static int find_websocket(char *const *names, int count)
{
    int which = -1;
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], "websocket") != 0)
            continue;
        if (which >= 0)
            return -1;
        which = i;
    }
    return which >= 0 ? which : 1;
}

/* Returns 0, or -1 with why set if systemd passed something else than what is needed. Leaves the
 * environment as it is: it is read again for the second socket, and the daemon starts no other
 * program that could read it. */
static int take_passed(struct passed *passed, char *why, size_t why_size)
{
    *passed = (struct passed){-1, -1};
    char **names = NULL;
    int count = sd_listen_fds_with_names(0, &names);
    int websocket = count == 1 || count == 2 ? find_websocket(names, count) : 0;
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
    if (count < 0) {
        snprintf(why, why_size, "LISTEN_FDS and LISTEN_FDNAMES cannot be read: %s",
                 strerror(-count));
        return -1;
    }
    if (count > 2 || websocket < 0) {
        snprintf(why, why_size,
                 "%d sockets were passed in LISTEN_FDS; give one, or two of which one is "
                 "named websocket",
                 count);
        return -1;
    }
    for (int i = 0; i < count; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        if (!is_listening(fd)) {
            snprintf(why, why_size,
                     "the %ssocket passed in LISTEN_FDS does not listen for connections",
                     count == 1 ? ""
                     : i == 0   ? "first "
                                : "second ");
            return -1;
        }
        *(i == websocket ? &passed->websocket : &passed->fastcgi) = fd;
    }
    return 0;
}

static int make_address(struct sockaddr_un *address, const char *path, char *why, size_t why_size)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address->sun_path) {
        snprintf(why, why_size, "the socket's path is longer than %zu bytes: %s",
                 sizeof address->sun_path - 1, path);
        return -1;
    }
    memcpy(address->sun_path, path, strlen(path) + 1);
    return 0;
}

/* Removes the socket file that an earlier daemon left. Returns 0 if the path is free now. */
static int remove_stale(const struct sockaddr_un *address, const char *option, char *why,
                        size_t why_size)
{
    const char *path = address->sun_path;
    struct stat status;
    if (lstat(path, &status) != 0)
        return 0;
    if (!S_ISSOCK(status.st_mode)) {
        snprintf(why, why_size, "%s exists and is not a socket; it was left alone", path);
        return -1;
    }
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int connected = connect(probe, (const struct sockaddr *)address, sizeof *address);
    int error = errno;
    close(probe);
    if (connected == 0 || error == EAGAIN) {
        snprintf(why, why_size, "another program listens on %s; stop it, or choose another %s",
                 path, option);
        return -1;
    }
    if (error != ECONNREFUSED || unlink(path) != 0) {
        snprintf(why, why_size, "cannot replace the old socket %s: %s", path, strerror(errno));
        return -1;
    }
    return 0;
}

/* What the operator can do about the error. */
static const char *advice_on(int error)
{
    if (error == ENOENT)
        return ": make its folder first";
    return error == EACCES ? ": let the daemon's user write to its folder" : "";
}

static int make_socket(const char *path, mode_t mode, const char *option, char *why,
                       size_t why_size)
{
    struct sockaddr_un address;
    if (make_address(&address, path, why, why_size) != 0 ||
        remove_stale(&address, option, why, why_size) != 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* nobody can connect before listen, and by then the mode is right */
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        chmod(path, mode) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    snprintf(why, why_size, "cannot listen on %s: %s%s", path, strerror(errno), advice_on(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static int take_or_make(struct listener *listener, int inherited, const char *path, mode_t mode,
                        const char *option, char *why, size_t why_size)
{
    listener->fd = inherited >= 0 ? inherited : make_socket(path, mode, option, why, why_size);
    if (listener->fd < 0)
        return -1;
    if (inherited < 0)
        listener->path = path;
    fcntl(listener->fd, F_SETFD, FD_CLOEXEC);
    fcntl(listener->fd, F_SETFL, fcntl(listener->fd, F_GETFL) | O_NONBLOCK);
    return 0;
}

int listener_open(struct listener *listener, const char *path, mode_t mode, char *why,
                  size_t why_size)
{
    *listener = (struct listener){.fd = -1};
    struct passed passed;
    if (take_passed(&passed, why, why_size) != 0)
        return -1;
    if (passed.fastcgi < 0 && is_listening(STDIN_FILENO))
        passed.fastcgi = STDIN_FILENO;
    if (passed.fastcgi < 0 && !path) {
        snprintf(why, why_size,
                 "no socket: give --socket PATH (or ENCKE_SOCKET), or start it "
                 "from systemd, lighttpd's bin-path or spawn-fcgi");
        return -1;
    }
    return take_or_make(listener, passed.fastcgi, path, mode, "--socket", why, why_size);
}

int listener_open_websocket(struct listener *listener, const char *path, mode_t mode, char *why,
                            size_t why_size)
{
    *listener = (struct listener){.fd = -1};
    struct passed passed;
    if (take_passed(&passed, why, why_size) != 0)
        return -1;
    if (passed.websocket < 0 && !path)
        return 0;
    return take_or_make(listener, passed.websocket, path, mode, "--websocket-socket", why,
                        why_size);
}

void listener_close(struct listener *listener)
{
    if (listener->fd < 0)
        return;
    if (listener->path)
        unlink(listener->path);
    close(listener->fd);
    listener->fd = -1;
}

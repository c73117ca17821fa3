#include "fcgi/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

enum { BACKLOG = 65535 }; /* the kernel lowers it to net.core.somaxconn; full is an instant 502 */

static bool is_listening(int fd)
{
    int listening = 0;
    socklen_t len = sizeof listening;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening;
}

/* Returns an inherited listening socket, -1 if there is none, -2 with why set if it is unfit. */
static int inherited(char *why, size_t why_size)
{
    int count = sd_listen_fds(1);
    if (count > 1) {
        snprintf(why, why_size, "%d sockets were passed in LISTEN_FDS; give exactly one", count);
        return -2;
    }
    if (count == 1 && !is_listening(SD_LISTEN_FDS_START)) {
        snprintf(why, why_size, "the socket passed in LISTEN_FDS does not listen for connections");
        return -2;
    }
    if (count == 1)
        return SD_LISTEN_FDS_START;
    return is_listening(STDIN_FILENO) ? STDIN_FILENO : -1;
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

/* Removes what an earlier daemon left at path. Returns 0 if path is free now. */
static int clear_stale(const struct sockaddr_un *address, char *why, size_t why_size)
{
    const char *path = address->sun_path;
    struct stat status;
    if (lstat(path, &status) != 0)
        return 0;
    if (!S_ISSOCK(status.st_mode)) {
        snprintf(why, why_size, "%s exists and is no socket; it was left alone", path);
        return -1;
    }
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int connected = connect(probe, (const struct sockaddr *)address, sizeof *address);
    int error = errno;
    close(probe);
    if (connected == 0 || error == EAGAIN) {
        snprintf(why, why_size,
                 "another program listens on %s; stop it, or choose another --socket", path);
        return -1;
    }
    if (error != ECONNREFUSED || unlink(path) != 0) {
        snprintf(why, why_size, "cannot replace the old socket %s: %s", path, strerror(errno));
        return -1;
    }
    return 0;
}

static int own(const char *path, mode_t mode, char *why, size_t why_size)
{
    struct sockaddr_un address;
    if (make_address(&address, path, why, why_size) != 0 ||
        clear_stale(&address, why, why_size) != 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* nobody can connect before listen, so the mode is right from the first moment on */
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        chmod(path, mode) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    snprintf(why, why_size, "cannot listen on %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

int listener_open(struct listener *listener, const char *path, mode_t mode, char *why,
                  size_t why_size)
{
    *listener = (struct listener){.fd = inherited(why, why_size)};
    if (listener->fd == -2)
        return -1;
    if (listener->fd == -1) {
        if (!path) {
            snprintf(why, why_size,
                     "no socket: give --socket PATH (or ENCKE_SOCKET), or start it "
                     "from systemd, lighttpd's bin-path or spawn-fcgi");
            return -1;
        }
        listener->path = path;
        listener->fd = own(path, mode, why, why_size);
        if (listener->fd < 0)
            return -1;
    }
    fcntl(listener->fd, F_SETFD, FD_CLOEXEC);
    fcntl(listener->fd, F_SETFL, fcntl(listener->fd, F_GETFL) | O_NONBLOCK);
    return 0;
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

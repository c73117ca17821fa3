/* Listeners: the daemon's own sockets, and those that systemd passes, told apart by name or place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "fcgi/io/listener.h"

static char dir[] = "/tmp/encke-listener-XXXXXX";
static char fastcgi_path[64], websocket_path[64];

static int make_dir(void **state)
{
    if (!mkdtemp(dir))
        return -1;
    snprintf(fastcgi_path, sizeof fastcgi_path, "%s/fastcgi", dir);
    snprintf(websocket_path, sizeof websocket_path, "%s/websocket", dir);
    return 0;
}

static int remove_dir(void **state)
{
    return rmdir(dir);
}

/* ---- the daemon's own ---- */

static bool can_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    bool connected = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return connected;
}

static void two_sockets_of_its_own_have_the_mode_and_go_with_it(void **state)
{
    struct listener fastcgi, websocket;
    struct stat status;
    char why[200];
    assert_int_equal(listener_open(&fastcgi, fastcgi_path, 0640, why, sizeof why), 0);
    assert_int_equal(listener_open_websocket(&websocket, websocket_path, 0640, why, sizeof why), 0);
    assert_int_equal(stat(websocket_path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640);
    assert_true(fcntl(websocket.fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(websocket.fd, F_GETFD) & FD_CLOEXEC);
    assert_true(can_connect(fastcgi_path));
    assert_true(can_connect(websocket_path));
    listener_close(&fastcgi);
    listener_close(&websocket);
    assert_int_equal(websocket.fd, -1);
    assert_int_not_equal(access(fastcgi_path, F_OK), 0);
    assert_int_not_equal(access(websocket_path, F_OK), 0);
}

static void without_a_path_there_is_no_websocket(void **state)
{
    struct listener websocket;
    char why[200];
    assert_int_equal(listener_open_websocket(&websocket, NULL, 0600, why, sizeof why), 0);
    assert_int_equal(websocket.fd, -1);
    listener_close(&websocket);
}

static void one_path_for_both_is_refused(void **state)
{
    struct listener fastcgi, websocket;
    char why[200];
    assert_int_equal(listener_open(&fastcgi, fastcgi_path, 0600, why, sizeof why), 0);
    assert_int_equal(listener_open_websocket(&websocket, fastcgi_path, 0600, why, sizeof why), -1);
    assert_non_null(strstr(why, "choose another --websocket-socket"));
    listener_close(&websocket);
    assert_true(can_connect(fastcgi_path));
    listener_close(&fastcgi);
}

static void a_stale_socket_is_replaced_and_another_file_is_not(void **state)
{
    struct listener websocket;
    char why[200];
    assert_int_equal(listener_open_websocket(&websocket, websocket_path, 0600, why, sizeof why), 0);
    close(websocket.fd); /* and its file stays */
    assert_int_equal(listener_open_websocket(&websocket, websocket_path, 0600, why, sizeof why), 0);
    listener_close(&websocket);

    close(open(websocket_path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(listener_open_websocket(&websocket, websocket_path, 0600, why, sizeof why),
                     -1);
    assert_non_null(strstr(why, "is not a socket"));
    assert_int_equal(unlink(websocket_path), 0);
}

/* Another user's: for root as nobody. */
static void a_folder_that_is_missing_or_another_users_is_told(void **state)
{
    struct listener listener;
    char why[200];
    assert_int_equal(listener_open(&listener, "/nonexistent/s", 0600, why, sizeof why), -1);
    assert_non_null(strstr(why, "No such file or directory: make its folder first"));
    assert_int_equal(chmod(dir, 0555), 0);
    setfsuid(geteuid() == 0 ? 65534 : geteuid());
    int rc = listener_open(&listener, fastcgi_path, 0600, why, sizeof why);
    setfsuid(geteuid());
    assert_int_equal(chmod(dir, 0700), 0);
    assert_int_equal(rc, -1);
    assert_non_null(strstr(why, "Permission denied: let the daemon's user write to its folder"));
}

/* ---- systemd's ---- */

enum { REFUSED = 100, NONE = 0 };

/* What a daemon that was given count listening sockets, from descriptor 3 on, with those names
 * (NULL: LISTEN_FDNAMES is not set) takes for FastCGI and for WebSockets: their descriptors, or
 * NONE or REFUSED. `deaf` of them does not listen. */
struct taken {
    int fastcgi, websocket;
};

static int outcome(int rc, const struct listener *listener)
{
    return rc != 0 ? REFUSED : listener->fd < 0 || listener->path ? NONE : listener->fd;
}

static void be_started(struct taken *taken, int count, const char *names, int deaf)
{
    char text[32], why[200];
    for (int i = 0; i < count; i++) {
        struct sockaddr_un any = {.sun_family = AF_UNIX}; /* autobind: a name that is free */
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        bind(fd, (struct sockaddr *)&any, sizeof any.sun_family);
        if (i != deaf)
            listen(fd, 1);
        if (fd != SD_LISTEN_FDS_START + i) {
            dup2(fd, SD_LISTEN_FDS_START + i);
            close(fd);
        }
    }
    snprintf(text, sizeof text, "%d", (int)getpid());
    setenv("LISTEN_PID", text, 1);
    snprintf(text, sizeof text, "%d", count);
    setenv("LISTEN_FDS", text, 1);
    if (names)
        setenv("LISTEN_FDNAMES", names, 1);
    struct listener fastcgi, websocket;
    taken->fastcgi =
        outcome(listener_open(&fastcgi, fastcgi_path, 0600, why, sizeof why), &fastcgi);
    taken->websocket =
        outcome(listener_open_websocket(&websocket, NULL, 0600, why, sizeof why), &websocket);
    listener_close(&websocket);
    listener_close(&fastcgi);
}

static struct taken started_with(int count, const char *names, int deaf)
{
    struct taken taken = {-1, -1};
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        /* out of the way of the descriptors from 3 on */
        int out = fcntl(ends[1], F_DUPFD, 50);
        close_range(3, 49, 0);
        be_started(&taken, count, names, deaf);
        _exit(write(out, &taken, sizeof taken) == sizeof taken ? 0 : 1);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &taken, sizeof taken), sizeof taken);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return taken;
}

static void sockets_that_are_passed_are_told_apart(void **state)
{
    static const struct {
        int count;
        const char *names;
        struct taken taken;
    } cases[] = {
        {1, NULL, {3, NONE}},
        {1, "encke.socket", {3, NONE}},
        {1, "websocket", {NONE, 3}},
        {2, NULL, {3, 4}},
        {2, "encke.socket:encke.socket", {3, 4}},
        {2, "encke.socket:websocket", {3, 4}},
        {2, "websocket:encke.socket", {4, 3}},
        {2, "websocket:", {4, 3}},
        {2, "websocket:websocket", {REFUSED, REFUSED}},
        {2, "one:two:three", {REFUSED, REFUSED}},
        {3, NULL, {REFUSED, REFUSED}},
        {3, "a:websocket:b", {REFUSED, REFUSED}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct taken taken = started_with(cases[i].count, cases[i].names, -1);
        if (memcmp(&taken, &cases[i].taken, sizeof taken) != 0)
            fail_msg("%d passed, named %s: FastCGI %d, WebSocket %d", cases[i].count,
                     cases[i].names ? cases[i].names : "nothing", taken.fastcgi, taken.websocket);
    }
}

static void a_passed_socket_that_does_not_listen_is_refused(void **state)
{
    for (int deaf = 0; deaf < 2; deaf++) {
        struct taken taken = started_with(2, NULL, deaf);
        assert_int_equal(taken.fastcgi, REFUSED);
        assert_int_equal(taken.websocket, REFUSED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_sockets_of_its_own_have_the_mode_and_go_with_it),
        cmocka_unit_test(without_a_path_there_is_no_websocket),
        cmocka_unit_test(one_path_for_both_is_refused),
        cmocka_unit_test(a_stale_socket_is_replaced_and_another_file_is_not),
        cmocka_unit_test(a_folder_that_is_missing_or_another_users_is_told),
        cmocka_unit_test(sockets_that_are_passed_are_told_apart),
        cmocka_unit_test(a_passed_socket_that_does_not_listen_is_refused),
    };
    return cmocka_run_group_tests_name("listener", tests, make_dir, remove_dir);
}

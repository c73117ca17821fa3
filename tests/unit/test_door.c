/* Doors: connections are accepted while there is room, and then again once there is. */
#include "tests/unit/support_conn.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fcgi/conn/door.h"
#include "fcgi/conn/reading.h"
#include "fcgi/io/diag.h"

enum { AT_ONCE = 64 /* connections accepted before others have their turn */, RETRY_MS = 100 };

static struct sockaddr_un address;
static struct door door;

static int listen_somewhere(void)
{
    socklen_t len = sizeof address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX; /* and no name: the kernel chooses an abstract one */
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(listen(fd, 2 * AT_ONCE), 0);
    return fd;
}

static struct peer knock(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 6); /* "\0xxxxx" */
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, len), 0);
    return (struct peer){.fd = fd};
}

static struct peer knock_and_wait(void)
{
    struct peer peer = knock();
    go_round();
    return peer;
}

static void resume_door(struct conns *of)
{
    (void)of;
    rooms_made++;
    door_resume(&door);
}

static int set_up(void **state)
{
    if (conns_setup(state) != 0)
        return -1;
    door = (struct door){
        .conns = &conns, .take = conn_accept_fastcgi, .listener = {.fd = listen_somewhere()}};
    conns.room_made = resume_door;
    return door_open(&door);
}

static int tear_down(void **state)
{
    conns_end_all(&conns); /* or the door would find no room for what waits before it */
    door_close(&door);
    assert_int_equal(door.listener.fd, -1);
    return conns_teardown(state);
}

static void leave_all(struct peer *peers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        peer_leave(&peers[i]);
}

/* ---- room ---- */

static void a_door_that_found_no_room_goes_on_when_a_connection_ends(void **state)
{
    struct peer peers[CONNS_MAX + 1];
    for (int i = 0; i < CONNS_MAX; i++) {
        peers[i] = knock_and_wait();
        (void)peer_ask(&peers[i], "GET", true); /* so that it is not idle */
    }
    peers[CONNS_MAX] = knock_and_wait();
    assert_int_equal(conns.count, CONNS_MAX);
    assert_false(door.accepting);
    conn_end(asked.conn);
    assert_true(door.accepting);
    go_round();
    assert_int_equal(conns.count, CONNS_MAX);
    (void)peer_ask(&peers[CONNS_MAX], "GET", true);
    leave_all(peers, CONNS_MAX + 1);
}

/* The next request of the idle peer may come a moment later. */
static void a_door_ends_no_idle_connection_while_nobody_waits(void **state)
{
    struct peer peers[CONNS_MAX + 1];
    for (int i = 0; i < CONNS_MAX; i++)
        peers[i] = knock();
    go_round();
    assert_int_equal(conns.count, CONNS_MAX);
    assert_true(door.accepting);
    peers[CONNS_MAX] = knock_and_wait();
    assert_int_equal(conns.count, CONNS_MAX);
    peer_hear(&peers[0]);
    assert_true(peers[0].closed);
    leave_all(peers, CONNS_MAX + 1);
}

/* The oldest idle connection has something to say, and the loop has not been told of it yet. */
static void a_door_that_will_soon_find_room_tries_again_in_a_moment(void **state)
{
    struct peer peers[CONNS_MAX + 1];
    for (int i = 0; i < CONNS_MAX; i++)
        peers[i] = knock_and_wait();
    conn_watch(TAILQ_LAST(&conns.idle, idle_list), WATCH_CLOSE); /* so that it is not told */
    assert_int_equal(send(peers[0].fd, "\1", 1, 0), 1);
    peers[CONNS_MAX] = knock_and_wait();
    assert_false(door.accepting);
    assert_int_equal(conns.count, CONNS_MAX);
    conn_watch(TAILQ_LAST(&conns.idle, idle_list), WATCH_INPUT);
    pass(RETRY_MS);
    assert_true(door.accepting);
    peer_hear(&peers[1]);
    assert_true(peers[1].closed); /* that one has made room */
    leave_all(peers, CONNS_MAX + 1);
}

static void others_have_their_turn_while_many_knock(void **state)
{
    static struct peer peers[AT_ONCE + 10];
    conns.count_max = 2 * AT_ONCE;
    for (int i = 0; i < AT_ONCE + 10; i++)
        peers[i] = knock();
    loop_round(&loop, 0);
    assert_int_equal(conns.count, AT_ONCE);
    loop_round(&loop, 0);
    assert_int_equal(conns.count, AT_ONCE + 10);
    leave_all(peers, AT_ONCE + 10);
}

/* ---- no descriptor ---- */

/* Somebody knocks, and there is no descriptor for the connection. */
static struct peer knock_in_vain(void)
{
    struct rlimit limit, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 0;
    struct peer peer = knock();
    diag_level_set(DIAG_ERROR); /* it would be told */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    go_round();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    diag_level_set(DIAG_INFO);
    assert_int_equal(conns.count, 0);
    assert_true(door.starved);
    assert_false(door.accepting);
    return peer;
}

static void without_a_descriptor_a_door_tries_again_in_a_moment(void **state)
{
    struct peer peer = knock_in_vain();
    pass(RETRY_MS);
    assert_int_equal(conns.count, 1);
    assert_false(door.starved);
    peer_leave(&peer);
}

/* ---- closing ---- */

static void a_door_that_closes_takes_those_who_have_knocked(void **state)
{
    struct peer peers[2] = {knock(), knock()};
    door_close(&door);
    assert_int_equal(conns.count, 2);
    assert_int_equal(loop.timers.count, 2); /* of the connections */
    leave_all(peers, 2);
}

static void a_door_that_was_to_try_again_does_not_once_it_is_closed(void **state)
{
    struct peer peer = knock_in_vain();
    door_close(&door);
    assert_int_equal(conns.count, 1);
    assert_int_equal(loop.timers.count, 1); /* of the connection */
    peer_leave(&peer);
}

static void a_closed_door_stays_closed(void **state)
{
    door_close(&door);
    door_close(&door);
    assert_int_equal(door_open(&door), 0);
    door_resume(&door);
    go_round();
    assert_int_equal(conns.count, 0);
}

#define WITH_DOOR(claim) cmocka_unit_test_setup_teardown(claim, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DOOR(a_door_that_found_no_room_goes_on_when_a_connection_ends),
        WITH_DOOR(a_door_ends_no_idle_connection_while_nobody_waits),
        WITH_DOOR(a_door_that_will_soon_find_room_tries_again_in_a_moment),
        WITH_DOOR(others_have_their_turn_while_many_knock),
        WITH_DOOR(without_a_descriptor_a_door_tries_again_in_a_moment),
        WITH_DOOR(a_door_that_closes_takes_those_who_have_knocked),
        WITH_DOOR(a_door_that_was_to_try_again_does_not_once_it_is_closed),
        WITH_DOOR(a_closed_door_stays_closed),
    };
    return cmocka_run_group_tests_name("door", tests, NULL, NULL);
}

/* Admission: so many may wait, the rest are refused, and the operator is told once. */
#include "tests/unit/support_conn.h"

#include "fcgi/conn/admission.h"
#include "fcgi/conn/answer.h"
#include "fcgi/io/diag.h"

enum { WAITING_MAX = 20, BYTES_MAX = 1000 };

static struct admission admission;

static int set_up(void **state)
{
    admission = (struct admission){.waiting_max = WAITING_MAX, .bytes_max = BYTES_MAX};
    diag_level_set(DIAG_ERROR); /* what is told here would be printed */
    return conns_setup(state);
}

static int tear_down(void **state)
{
    diag_level_set(DIAG_INFO);
    return conns_teardown(state);
}

static void admit_all(void)
{
    for (unsigned i = 0; i < WAITING_MAX; i++)
        admission_enter(&admission);
}

static void whoever_is_admitted_is_not_answered(void **state)
{
    struct peer peer;
    struct conn *conn = peer_connect_and_ask(&peer);
    assert_true(admission_check(&admission, conn));
    assert_int_equal(peer_hear(&peer), 0);
    assert_true(conn_waits(conn, &attentive));
    assert_int_equal(admission.refused, 0);
    peer_leave(&peer);
}

static void one_too_many_is_refused_until_another_leaves(void **state)
{
    struct peer peer;
    struct conn *conn = peer_connect_and_ask(&peer);
    admit_all();
    assert_int_equal(admission.waiting, WAITING_MAX);
    assert_false(admission_check(&admission, conn));
    assert_int_equal(admission.refused, 1);
    assert_true(peer_has_heard(&peer, "Status: 503"));
    assert_true(peer_has_heard(&peer, "Retry-After: "));
    assert_true(peer_has_heard(&peer, "too many requests are held"));
    assert_true(conn->idle);
    admission_leave(&admission);
    assert_true(admission_check(&admission, peer_ask(&peer, "GET", true)));
    assert_int_equal(admission.refused, 1);
    peer_leave(&peer);
}

static void nobody_is_admitted_while_the_daemon_drains(void **state)
{
    struct peer peer;
    struct conn *conn = peer_connect_and_ask(&peer);
    conns.draining = true;
    assert_false(admission_check(&admission, conn));
    assert_true(peer_has_heard(&peer, ADMISSION_STOPPING));
    assert_int_equal(admission.refused, 0); /* it is no sign of too small a limit */
    assert_false(admission.told);
    peer_leave(&peer);
}

static void who_is_refused_for_another_reason_is_told_it(void **state)
{
    struct peer peer;
    admission_refuse(&admission, peer_connect_and_ask(&peer), "too many channels are read");
    assert_true(peer_has_heard(&peer, "Status: 503"));
    assert_true(peer_has_heard(&peer, "too many channels are read"));
    assert_int_equal(admission.refused, 1);
    assert_true(admission.told);
    peer_leave(&peer);
}

static void the_operator_is_told_again_only_after_a_tenth_of_the_requests_has_left(void **state)
{
    struct peer peer;
    admit_all();
    assert_false(admission_check(&admission, peer_connect_and_ask(&peer)));
    assert_true(admission.told);
    for (unsigned i = 0; i < WAITING_MAX / 10; i++) {
        admission_leave(&admission);
        assert_true(admission.told);
    }
    admission_leave(&admission);
    assert_false(admission.told);
    peer_leave(&peer);
}

static void the_operator_is_told_again_only_after_a_tenth_of_the_memory_is_free(void **state)
{
    struct peer peer;
    admission_enter(&admission);
    admission_enter(&admission);
    admission.bytes = BYTES_MAX - BYTES_MAX / 10;
    admission_refuse(&admission, peer_connect_and_ask(&peer), "too many channels are read");
    admission_leave(&admission);
    assert_true(admission.told);
    admission.bytes--;
    admission_leave(&admission);
    assert_false(admission.told);
    assert_int_equal(admission.waiting, 0);
    peer_leave(&peer);
}

static void there_is_room_for_bytes_up_to_the_limit(void **state)
{
    admission.bytes = BYTES_MAX - 10;
    assert_true(admission_has_bytes(&admission, 10));
    assert_false(admission_has_bytes(&admission, 11));
}

#define WITH_ADMISSION(claim) cmocka_unit_test_setup_teardown(claim, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ADMISSION(whoever_is_admitted_is_not_answered),
        WITH_ADMISSION(one_too_many_is_refused_until_another_leaves),
        WITH_ADMISSION(nobody_is_admitted_while_the_daemon_drains),
        WITH_ADMISSION(who_is_refused_for_another_reason_is_told_it),
        WITH_ADMISSION(the_operator_is_told_again_only_after_a_tenth_of_the_requests_has_left),
        WITH_ADMISSION(the_operator_is_told_again_only_after_a_tenth_of_the_memory_is_free),
        WITH_ADMISSION(there_is_room_for_bytes_up_to_the_limit),
    };
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}

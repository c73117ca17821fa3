/* Uplinks and polls: what happens to them in each of their states. Their requests are made up: the
 * Makefile puts the two functions below in place of those that make them. */
#include "tests/unit/support_conn.h"
#include "tests/unit/support_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/io/diag.h"
#include "fcgi/relay/backoff.h"
#include "fcgi/relay/relay.h"
#include "fcgi/relay/uplink.h"

enum { HOLD_MS = 50000, POLLS_MAX = 2, WAITING_MAX = 10 };

#define NEW "{\"ret\":\"new\"}"
#define PUNT "{\"ret\":\"punt\"}"

static struct admission admission;
static struct upstreams upstreams;
static struct relay *relay;
static struct uplink *uplink;

/* ---- requests ---- */

static unsigned started, under_way;
static bool no_request_starts;

bool __wrap_fetch_start(struct target *target, struct fetch *fetch, const char *url);
void __wrap_fetch_cancel(struct fetch *fetch);

bool __wrap_fetch_start(struct target *target, struct fetch *fetch, const char *url)
{
    assert_null(fetch->easy);
    assert_ptr_equal(target, &uplink->target);
    assert_int_equal(strncmp(url, "http://127.0.0.1:9/?", 20), 0);
    if (no_request_starts)
        return false;
    fetch->easy = fetch;
    fetch->connected = false;
    buf_reset(&fetch->body);
    started++;
    under_way++;
    return true;
}

void __wrap_fetch_cancel(struct fetch *fetch)
{
    under_way -= (fetch->easy != NULL);
    fetch->easy = NULL;
    buf_free(&fetch->body);
}

static struct poll *poll_of(const char *query)
{
    struct poll *poll;
    HASH_FIND_STR(uplink->polls, query, poll);
    return poll;
}

static enum poll_state state_of(const char *query)
{
    const struct poll *poll = poll_of(query);
    return poll ? poll->state : POLL_OVER;
}

/* The poll's request ends so. */
static void end_request(const char *query, enum fetch_end end)
{
    struct fetch *fetch = &poll_of(query)->fetch;
    assert_non_null(fetch->easy);
    fetch->easy = NULL;
    fetch->why = "made up";
    under_way--;
    fetch->done(fetch, end);
    go_round();
}

static void connect_request(const char *query)
{
    poll_of(query)->fetch.connected = true;
}

static void prepare_answer(const char *query, int status)
{
    struct fetch *fetch = &poll_of(query)->fetch;
    fetch->connected = true;
    fetch->status = status;
    buf_puts(&fetch->body, "the answer");
}

static void answer_request(const char *query, int status)
{
    prepare_answer(query, status);
    end_request(query, FETCH_ANSWERED);
}

/* ---- who wants them ---- */

static struct peer ask(const char *query)
{
    struct peer peer;
    relay_ask(relay, peer_connect_and_ask(&peer), upstreams.items, query, HOLD_MS);
    return peer;
}

static struct {
    struct keeper keeper;
    unsigned answered, failed, reached;
    const char *complaint; /* about the next answers; NULL: none */
} feed;

static const char *count_answered(struct keeper *keeper, const struct fetch *fetch)
{
    assert_ptr_equal(keeper, &feed.keeper);
    assert_int_equal(fetch->body.len, strlen("the answer"));
    feed.answered++;
    return feed.complaint;
}

static void count_failed(struct keeper *keeper)
{
    assert_ptr_equal(keeper, &feed.keeper);
    feed.failed++;
}

static void count_reached(struct keeper *keeper)
{
    assert_ptr_equal(keeper, &feed.keeper);
    feed.reached++;
}

static void keep(const char *query)
{
    assert_true(relay_keep(relay, &feed.keeper, upstreams.items, query));
}

/* As much time, in small steps: each deadline at its time. */
static void pass_slowly(uint64_t ms)
{
    for (uint64_t end = timer_now_ms() + ms + TIMER_TICK_MS; timer_now_ms() < end;)
        pass(0);
}

/* ---- set-up ---- */

static int set_up(void **state)
{
    static struct given given;
    char why[200];
    if (conns_setup(state) != 0)
        return -1;
    diag_level_set(DIAG_ERROR); /* what is told here would be printed */
    given = (struct given){.count = 1, .texts = {"http://127.0.0.1:9/"}};
    const struct given none = {0};
    const struct upstream_options options = {
        .upstream = &given, .params = &none, .channel = &none, .cursor = &none};
    const struct relay_options relay_options = {.fetch = {.timeout_s = 60, .answer_max = 1 << 20},
                                                .polls_max = POLLS_MAX};
    assert_int_equal(upstreams_open(&upstreams, &options, why, sizeof why), 0);
    admission = (struct admission){.waiting_max = WAITING_MAX};
    relay = relay_open(&loop, &admission, &upstreams, &relay_options);
    assert_non_null(relay);
    uplink = &relay->uplinks[0];
    started = under_way = 0;
    no_request_starts = false;
    memset(&feed, 0, sizeof feed);
    feed.keeper = (struct keeper){
        .answered = count_answered, .failed = count_failed, .reached = count_reached};
    return 0;
}

/* Whatever a test did: in the end nothing is left. */
static int tear_down(void **state)
{
    assert_int_equal(uplink->clients, 0);
    relay_close(relay);
    upstreams_free(&upstreams);
    assert_int_equal(under_way, 0);
    assert_int_equal(admission.waiting, 0);
    diag_level_set(DIAG_INFO);
    return conns_teardown(state);
}

/* ---- the table ---- */

/* Brings the poll "q", which a keeper wants, into that state. A poll "other" is under way since
 * before. */
static void bring_to(enum poll_state state)
{
    keep("q");
    if (state != POLL_ASKING)
        end_request("q", state == POLL_WAITING || state == POLL_REACHING ? FETCH_UNREACHABLE
                                                                         : FETCH_BROKEN);
    if (state == POLL_REACHING || state == POLL_RETRYING || state == POLL_PROVING)
        pass_slowly(RELAY_RETRY_MS);
    if (state == POLL_PROVING) {
        connect_request("q");
        pass(RELAY_LOOK_MS);
    }
    assert_int_equal(state_of("q"), state);
}

static void gets_connected(void)
{
    connect_request("q");
    pass(RELAY_LOOK_MS);
}

static void is_proven(void)
{
    pass_slowly(RELAY_PROOF_MS + 2 * poll_of("q")->lasted_ms);
}

static void is_answered(void)
{
    answer_request("q", 200);
}

static void is_answered_with_an_error(void)
{
    answer_request("q", 500);
}

static void finds_no_connection(void)
{
    end_request("q", FETCH_UNREACHABLE);
}

static void breaks(void)
{
    end_request("q", FETCH_BROKEN);
}

static void has_its_turn(void)
{
    pass_slowly(RELAY_RETRY_MS);
}

static void older_one_is_answered(void)
{
    answer_request("other", 200);
}

static void what_happens_leads_from_state_to_state(void **state)
{
    static const struct {
        enum poll_state from;
        void (*happens)(void);
        enum poll_state to;
        enum uplink_state uplink;
    } steps[] = {
        {POLL_ASKING, is_answered, POLL_OVER, UPLINK_UP},
        {POLL_ASKING, is_answered_with_an_error, POLL_FAILING, UPLINK_UP},
        {POLL_ASKING, breaks, POLL_FAILING, UPLINK_UP},
        {POLL_ASKING, finds_no_connection, POLL_WAITING, UPLINK_DOWN},
        {POLL_ASKING, older_one_is_answered, POLL_ASKING, UPLINK_UP},
        {POLL_REACHING, gets_connected, POLL_ASKING, UPLINK_UP},
        {POLL_REACHING, is_answered, POLL_OVER, UPLINK_UP},
        {POLL_REACHING, is_answered_with_an_error, POLL_FAILING, UPLINK_UP},
        {POLL_REACHING, breaks, POLL_FAILING, UPLINK_DOWN}, /* it was not connected */
        {POLL_REACHING, finds_no_connection, POLL_WAITING, UPLINK_DOWN},
        {POLL_REACHING, older_one_is_answered, POLL_REACHING, UPLINK_UP},
        {POLL_RETRYING, gets_connected, POLL_PROVING, UPLINK_UP},
        {POLL_RETRYING, is_answered, POLL_OVER, UPLINK_UP},
        {POLL_RETRYING, is_answered_with_an_error, POLL_FAILING, UPLINK_UP},
        {POLL_RETRYING, breaks, POLL_FAILING, UPLINK_UP},
        {POLL_RETRYING, finds_no_connection, POLL_FAILING, UPLINK_DOWN},
        {POLL_PROVING, is_proven, POLL_ASKING, UPLINK_UP},
        {POLL_PROVING, is_answered, POLL_OVER, UPLINK_UP},
        {POLL_PROVING, is_answered_with_an_error, POLL_FAILING, UPLINK_UP},
        {POLL_PROVING, breaks, POLL_FAILING, UPLINK_UP},
        {POLL_PROVING, finds_no_connection, POLL_FAILING, UPLINK_DOWN},
        {POLL_WAITING, has_its_turn, POLL_REACHING, UPLINK_DOWN},
        {POLL_WAITING, older_one_is_answered, POLL_ASKING, UPLINK_UP},
        {POLL_FAILING, has_its_turn, POLL_RETRYING, UPLINK_UP},
        {POLL_FAILING, older_one_is_answered, POLL_FAILING, UPLINK_UP},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct peer peer = ask("other");
        connect_request("other");
        bring_to(steps[i].from);
        steps[i].happens();
        if (state_of("q") != steps[i].to || uplink->state != steps[i].uplink)
            fail_msg("step %zu: poll %u, uplink %u", i, state_of("q"), uplink->state);
        peer_leave(&peer);
        tear_down(state);
        set_up(state);
    }
}

/* ---- clients ---- */

static void clients_that_ask_the_same_share_a_request_and_its_answer(void **state)
{
    struct peer one = ask("q"), two = ask("q");
    assert_int_equal(started, 1);
    assert_int_equal(uplink->coalesced, 1);
    assert_int_equal(admission.waiting, 2);
    answer_request("q", 404);
    assert_true(peer_has_heard(&one, "the answer") && peer_has_heard(&two, "the answer"));
    assert_true(peer_has_heard(&one, "Status: 404"));
    assert_int_equal(admission.waiting, 0);
    assert_null(uplink->polls);
    peer_leave(&one);
    peer_leave(&two);
}

static void a_client_whose_time_is_over_is_told_that_there_was_nothing(void **state)
{
    struct peer peer = ask("q");
    pass(HOLD_MS);
    assert_true(peer_has_heard(&peer, PUNT));
    assert_null(uplink->polls);
    assert_int_equal(under_way, 0);
    peer_leave(&peer);
}

static void the_request_of_a_client_that_goes_away_is_cancelled(void **state)
{
    struct peer one = ask("q"), two = ask("q");
    peer_leave(&one);
    assert_int_equal(under_way, 1);
    peer_leave(&two);
    assert_int_equal(under_way, 0);
    assert_null(uplink->polls);
}

static void a_client_of_what_fails_waits_and_is_told_to_look_for_itself(void **state)
{
    struct peer peer = ask("q");
    end_request("q", FETCH_TIMED_OUT);
    assert_int_equal(peer_hear(&peer), 0);
    pass_slowly(RELAY_WAIT_MS);
    assert_true(peer_has_heard(&peer, NEW));
    peer_leave(&peer);
}

/* ---- an outage ---- */

/* The uplink goes down, and nobody waits for it. */
static void lose_uplink(void)
{
    struct peer peer = ask("lost");
    end_request("lost", FETCH_UNREACHABLE);
    peer_leave(&peer);
    assert_int_equal(uplink->state, UPLINK_DOWN);
    assert_null(poll_of("lost"));
}

static void one_request_at_a_time_finds_out_whether_it_is_over(void **state)
{
    lose_uplink();
    pass_slowly(5 * RELAY_RETRY_MS); /* so that clients wait for longer than a turn */
    started = 0;
    struct peer one = ask("1"), two = ask("2");
    assert_int_equal(state_of("1"), POLL_REACHING);
    assert_int_equal(state_of("2"), POLL_WAITING);
    pass_slowly(RELAY_RETRY_MS);
    assert_int_equal(started, 1);
    end_request("1", FETCH_UNREACHABLE);
    pass_slowly(RELAY_RETRY_MS);
    assert_int_equal(state_of("1"), POLL_WAITING);
    assert_int_equal(state_of("2"), POLL_REACHING); /* each in its turn */
    assert_int_equal(started, 2);
    peer_leave(&one);
    peer_leave(&two);
    assert_null(uplink->polls);
    assert_int_equal(under_way, 0);
}

static void when_it_is_over_all_who_waited_are_told(void **state)
{
    lose_uplink();
    pass_slowly(5 * RELAY_RETRY_MS);
    struct peer one = ask("1"), two = ask("2");
    connect_request("1");
    pass(RELAY_LOOK_MS);
    assert_int_equal(uplink->state, UPLINK_UP);
    assert_true(peer_has_heard(&two, NEW));
    assert_null(poll_of("2"));
    assert_int_equal(peer_hear(&one), 0); /* its request is the one that is under way */
    assert_int_equal(state_of("1"), POLL_ASKING);
    answer_request("1", 200);
    assert_true(peer_has_heard(&one, "the answer"));
    peer_leave(&one);
    peer_leave(&two);
}

static void a_client_that_waited_before_its_request_was_made_is_told_too(void **state)
{
    lose_uplink();
    pass_slowly(5 * RELAY_RETRY_MS);
    struct peer peer = ask("q");
    end_request("q", FETCH_UNREACHABLE);
    pass_slowly(RELAY_RETRY_MS);
    assert_int_equal(state_of("q"), POLL_REACHING);
    gets_connected();
    assert_true(peer_has_heard(&peer, NEW));
    assert_null(uplink->polls);
    peer_leave(&peer);
}

static void what_a_client_is_told_while_its_request_connects(void **state)
{
    lose_uplink();
    pass_slowly(RELAY_WAIT_MAX_MS);
    struct peer first = ask("q");
    pass_slowly(HOLD_MS); /* nothing came of the outage that it has seen */
    assert_true(peer_has_heard(&first, PUNT));
    struct peer second = ask("q");
    end_request("q", FETCH_UNREACHABLE);
    pass_slowly(RELAY_RETRY_MS);
    assert_int_equal(state_of("q"), POLL_REACHING);
    pass_slowly(RELAY_WAIT_MAX_MS);
    assert_true(peer_has_heard(&second, NEW));
    peer_leave(&first);
    peer_leave(&second);
}

static void an_older_connection_that_breaks_shows_nothing(void **state)
{
    struct peer peer = ask("q");
    connect_request("q");
    pass(1);
    lose_uplink();
    end_request("q", FETCH_BROKEN);
    assert_int_equal(uplink->state, UPLINK_DOWN);
    assert_int_equal(state_of("q"), POLL_FAILING);
    peer_leave(&peer);
}

/* ---- failures ---- */

static void a_poll_that_failed_is_remembered_while_nobody_wants_it(void **state)
{
    struct peer first = ask("q");
    end_request("q", FETCH_BROKEN);
    peer_leave(&first);
    assert_int_equal(state_of("q"), POLL_REMEMBERED);
    struct peer second = ask("q"); /* just after the failure: its turn comes later */
    assert_int_equal(state_of("q"), POLL_FAILING);
    assert_int_equal(started, 1);
    peer_leave(&second);
    pass_slowly(RELAY_RETRY_MS);
    struct peer third = ask("q");
    assert_int_equal(state_of("q"), POLL_RETRYING);
    peer_leave(&third);
    assert_int_equal(state_of("q"), POLL_REMEMBERED);
    assert_int_equal(under_way, 0);
    pass_slowly(RELAY_MEMORY_MS);
    assert_null(uplink->polls);
}

static void a_request_that_is_given_up_while_it_proves_itself_is_cancelled(void **state)
{
    struct peer first = ask("q");
    end_request("q", FETCH_BROKEN);
    peer_leave(&first);
    pass_slowly(RELAY_RETRY_MS);
    struct peer second = ask("q");
    gets_connected();
    assert_int_equal(state_of("q"), POLL_PROVING);
    peer_leave(&second);
    assert_int_equal(state_of("q"), POLL_REMEMBERED);
    assert_int_equal(under_way, 0);
}

static void one_poll_that_works_again_has_the_others_tried_at_once(void **state)
{
    struct peer one = ask("1"), two = ask("2");
    end_request("1", FETCH_BROKEN);
    end_request("2", FETCH_BROKEN);
    pass_slowly(3 * RELAY_RETRY_MS);
    struct peer three = ask("1"), four = ask("2"); /* who wait for longer than a turn */
    end_request("1", FETCH_BROKEN);
    end_request("2", FETCH_BROKEN);
    bring_to(POLL_RETRYING); /* a keeper's comes first */
    assert_int_equal(state_of("1"), POLL_FAILING);
    assert_int_equal(state_of("2"), POLL_FAILING);
    is_answered();
    assert_int_equal(state_of("1"), POLL_RETRYING);
    assert_int_equal(state_of("2"), POLL_RETRYING);
    assert_int_equal(uplink->trouble.state, TROUBLE_NONE);
    peer_leave(&one);
    peer_leave(&two);
    peer_leave(&three);
    peer_leave(&four);
}

/* ---- a keeper ---- */

static void a_keeper_is_told_of_failures_and_of_their_end(void **state)
{
    bring_to(POLL_REACHING);
    assert_int_equal(feed.failed, 1);
    gets_connected();
    assert_int_equal(feed.reached, 1);
    breaks();
    assert_int_equal(feed.failed, 2);
    pass_slowly(RELAY_RETRY_MS);
    gets_connected();
    assert_int_equal(feed.reached, 1); /* not before it is proven */
    is_proven();
    assert_int_equal(feed.reached, 2);
    is_answered();
    assert_int_equal(feed.answered, 1);
    assert_null(uplink->polls);
}

static void a_waiting_keeper_asks_again_as_soon_as_the_uplink_is_up(void **state)
{
    struct peer other = ask("other");
    bring_to(POLL_FAILING);
    lose_uplink();
    started = 0;
    older_one_is_answered();
    assert_int_equal(state_of("q"), POLL_RETRYING);
    assert_int_equal(started, 1);
    assert_int_equal(feed.reached, 1);
    peer_leave(&other);
}

static void an_answer_that_a_keeper_finds_wrong_is_trouble(void **state)
{
    struct peer peer = ask("q");
    keep("q");
    feed.complaint = "wrong";
    is_answered();
    assert_true(peer_has_heard(&peer, "the answer")); /* clients get it all the same */
    assert_int_not_equal(uplink->trouble.state, TROUBLE_NONE);
    assert_int_equal(uplink->answers, 0);
    feed.keeper.wrong_ms = timer_now_ms();
    keep("q");
    assert_int_equal(state_of("q"), POLL_RETRYING); /* it has to prove itself */
    peer_leave(&peer);
}

/* ---- limits, the end ---- */

static void there_are_only_so_many_polls_but_for_a_keepers(void **state)
{
    struct peer one = ask("1"), two = ask("2"), three = ask("3");
    assert_true(peer_has_heard(&three, "Status: 503"));
    assert_int_equal(uplink->turned_away, 1);
    keep("kept");
    assert_int_equal(state_of("kept"), POLL_ASKING);
    end_request("1", FETCH_BROKEN);
    peer_leave(&one);
    assert_int_equal(state_of("1"), POLL_REMEMBERED);
    struct peer four = ask("4"); /* what is only remembered makes room */
    assert_null(poll_of("1"));
    assert_int_equal(state_of("4"), POLL_ASKING);
    peer_leave(&two);
    peer_leave(&three);
    peer_leave(&four);
}

static void a_release_answers_all_and_nothing_is_asked_any_more(void **state)
{
    struct peer one = ask("1"), two = ask("2");
    end_request("2", FETCH_BROKEN);
    keep("kept");
    relay_release(relay);
    assert_true(peer_has_heard(&one, PUNT) && peer_has_heard(&two, PUNT));
    assert_null(uplink->polls);
    assert_int_equal(under_way, 0);
    assert_int_equal(relay->polls, 0);
    assert_int_equal(relay->kept, 0);
    assert_false(relay_keep(relay, &feed.keeper, upstreams.items, "kept"));
    peer_leave(&one);
    peer_leave(&two);
}

static void a_request_for_which_there_is_no_memory_is_a_failure(void **state)
{
    no_request_starts = true;
    struct peer peer = ask("q");
    assert_int_equal(state_of("q"), POLL_FAILING);
    assert_int_equal(uplink->trouble.errors[RELAY_BROKEN], 1);
    assert_int_equal(uplink->requests, 0);
    no_request_starts = false;
    pass_slowly(RELAY_RETRY_MS);
    assert_int_equal(peer_has_heard(&peer, NEW), true);
    peer_leave(&peer);
}

static void without_memory_a_client_is_refused(void **state)
{
    unsigned nth = 0;
    bool failed;
    do {
        struct peer peer;
        struct conn *conn = peer_connect_and_ask(&peer);
        memory_fail(++nth);
        relay_ask(relay, conn, upstreams.items, "q", HOLD_MS);
        failed = memory_has_failed();
        assert_true(poll_of("q") || peer_has_heard(&peer, "Status: 503"));
        peer_leave(&peer);
        assert_null(uplink->polls);
    } while (failed);
    assert_true(nth > 1);
}

static void without_memory_for_the_answer_the_connection_ends(void **state)
{
    unsigned nth = 0;
    bool failed;
    do {
        struct peer peer = ask("q");
        prepare_answer("q", 200);
        memory_fail(++nth);
        end_request("q", FETCH_ANSWERED);
        failed = memory_has_failed();
        peer_hear(&peer);
        assert_true(peer.closed || peer_has_heard(&peer, "the answer"));
        assert_null(uplink->polls);
        peer_leave(&peer);
    } while (failed);
    assert_true(nth > 1);
}

#define RELAYED(claim) cmocka_unit_test_setup_teardown(claim, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RELAYED(what_happens_leads_from_state_to_state),
        RELAYED(clients_that_ask_the_same_share_a_request_and_its_answer),
        RELAYED(a_client_whose_time_is_over_is_told_that_there_was_nothing),
        RELAYED(the_request_of_a_client_that_goes_away_is_cancelled),
        RELAYED(a_client_of_what_fails_waits_and_is_told_to_look_for_itself),
        RELAYED(one_request_at_a_time_finds_out_whether_it_is_over),
        RELAYED(when_it_is_over_all_who_waited_are_told),
        RELAYED(a_client_that_waited_before_its_request_was_made_is_told_too),
        RELAYED(what_a_client_is_told_while_its_request_connects),
        RELAYED(an_older_connection_that_breaks_shows_nothing),
        RELAYED(a_poll_that_failed_is_remembered_while_nobody_wants_it),
        RELAYED(a_request_that_is_given_up_while_it_proves_itself_is_cancelled),
        RELAYED(one_poll_that_works_again_has_the_others_tried_at_once),
        RELAYED(a_keeper_is_told_of_failures_and_of_their_end),
        RELAYED(a_waiting_keeper_asks_again_as_soon_as_the_uplink_is_up),
        RELAYED(an_answer_that_a_keeper_finds_wrong_is_trouble),
        RELAYED(there_are_only_so_many_polls_but_for_a_keepers),
        RELAYED(a_release_answers_all_and_nothing_is_asked_any_more),
        RELAYED(a_request_for_which_there_is_no_memory_is_a_failure),
        RELAYED(without_memory_a_client_is_refused),
        RELAYED(without_memory_for_the_answer_the_connection_ends),
    };
    return cmocka_run_group_tests_name("uplink", tests, NULL, NULL);
}

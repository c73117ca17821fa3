/* Options: defaults, the environment, and a command line that wins; every range has an end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fcgi/options.h"

/* Parses a command line of words parted by spaces; what it prints goes to /dev/null. */
static enum options_verdict parse(struct options *options, const char *line)
{
    static char words[4096]; /* the options point into it */
    char *argv[256] = {"encke"};
    int argc = 1;
    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    optind = 0; /* getopt starts anew */
    fflush(stdout);
    int null = open("/dev/null", O_WRONLY), out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    enum options_verdict verdict = options_parse(options, argc, argv);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(null);
    close(out);
    close(err);
    return verdict;
}

static void defaults_are_those_of_the_help(void **state)
{
    struct options options;
    assert_int_equal(parse(&options, "--db /x/log.db"), OPTIONS_RUN);
    assert_string_equal(options.db, "/x/log.db");
    assert_null(options.socket);
    assert_int_equal(options.socket_mode, 0660);
    assert_int_equal(options.hold_s, 55);
    assert_int_equal(options.hold_max_s, 120);
    assert_int_equal(options.max_message, 65536);
    assert_int_equal(options.keep_age_s, 7 * 86400);
    assert_int_equal(options.keep_bytes, 1 << 30);
    assert_int_equal(options.log_level, DIAG_INFO);
    assert_int_equal(options.stream_s, 600);
    assert_int_equal(options.heartbeat_s, 25);
    assert_null(options.websocket_socket);
    assert_null(options.mount);
    assert_null(options.websocket_origin);
    assert_false(options.websocket_create);
    assert_int_equal(options.websocket_rate, 100);
    assert_int_equal(options.upstream.count, 0);
    assert_int_equal(options.upstream_params.count, 0);
    assert_int_equal(options.upstream_channel.count, 0);
    assert_int_equal(options.upstream_cursor.count, 0);
    assert_null(options.upstream_ca);
    assert_null(options.upstream_proxy);
    assert_int_equal(options.upstream_timeout_s, 100);
    assert_int_equal(options.upstream_answer, 1 << 20);
    assert_int_equal(options.upstream_requests, 1000);
}

static void whether_clients_publish_is_said_with_yes_or_no(void **state)
{
    struct options options;
    assert_int_equal(parse(&options, "--db /x --websocket-create yes"), OPTIONS_RUN);
    assert_true(options.websocket_create);
    setenv("ENCKE_WEBSOCKET_CREATE", "yes", 1);
    assert_int_equal(parse(&options, "--db /x --websocket-create no"), OPTIONS_RUN);
    assert_false(options.websocket_create);
    unsetenv("ENCKE_WEBSOCKET_CREATE");
}

static void a_mount_is_a_path_between_slashes(void **state)
{
    struct options options;
    assert_int_equal(parse(&options, "--db /x --mount /"), OPTIONS_RUN);
    assert_string_equal(options.mount, "/");
    assert_int_equal(parse(&options, "--db /x --mount /a/b-c_d.e~2/"), OPTIONS_RUN);
    assert_string_equal(options.mount, "/a/b-c_d.e~2/");
}

static void the_command_line_wins_over_the_environment(void **state)
{
    struct options options;
    setenv("ENCKE_KEEP_AGE", "2h", 1);
    setenv("ENCKE_MAX_HOLDS", "7", 1);
    setenv("ENCKE_DB", "/env.db", 1);
    assert_int_equal(parse(&options, "--max-holds 8 --keep-bytes=3M"), OPTIONS_RUN);
    assert_string_equal(options.db, "/env.db");
    assert_int_equal(options.keep_age_s, 7200);
    assert_int_equal(options.max_holds, 8);
    assert_int_equal(options.keep_bytes, 3 << 20);
    setenv("ENCKE_MAX_HOLDS", "many", 1);
    assert_int_equal(parse(&options, ""), OPTIONS_BAD);
    unsetenv("ENCKE_KEEP_AGE");
    unsetenv("ENCKE_MAX_HOLDS");
    unsetenv("ENCKE_DB");
}

static void what_is_wrong_is_refused(void **state)
{
    static const char *const lines[] = {
        "",
        "--socket /x",
        "--db",
        "--db /x extra",
        "--db /x --no-such",
        "--db /x --hold 0",
        "--db /x --hold -1",
        "--db /x --hold 1.5",
        "--db /x --hold 3601",
        "--db /x --keep-age 1w",
        "--db /x --keep-age 1dd",
        "--db /x --max-message 0",
        "--db /x --max-message 9M",
        "--db /x --max-message 99999999999999999999",
        "--db /x --keep-bytes 9999999999G",
        "--db /x --socket-mode 0888",
        "--db /x --socket-mode 1000",
        "--db /x --max-channels 513",
        "--db /x --log-level loud",
        "--db /x --heartbeat 0",
        "--db /x --heartbeat 3601",
        "--db /x --stream 0",
        "--db /x --stream 2d",
        "--db /x --websocket-create true",
        "--db /x --websocket-create YES",
        "--db /x --websocket-create=",
        "--db /x --websocket-rate 0",
        "--db /x --mount=",
        "--db /x --mount comet",
        "--db /x --mount /comet",
        "--db /x --mount comet/",
        "--db /x --mount /comet/?",
        "--db /x --mount /c%6Fmet/",
        "--db /x --websocket-origin=",
        "--db /x --websocket-origin www.example.org",
        "--db /x --websocket-origin https://a.example/",
        "--db /x --websocket-origin https://a.example,b.example",
        "--db /x --websocket-origin b.example,https://a.example",
        "--db /x --websocket-origin https://",
        "--db /x --websocket-origin anyone",
        "--db /x --websocket-socket=",
        "--db /x --upstream",
        "--db /x --upstream=",
        "--db /x --upstream-params=",
        "--db /x --upstream-channel=",
        "--db /x --upstream-cursor=",
        "--db /x --upstream-ca=",
        "--db /x --upstream-proxy=",
        "--db /x --upstream-timeout 0",
        "--db /x --upstream-timeout 3601",
        "--db /x --upstream-answer 1023",
        "--db /x --upstream-answer 65M",
        "--db /x --upstream-requests 0",
        "--db /x --upstream-requests 100001",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct options options;
        if (parse(&options, lines[i]) != OPTIONS_BAD)
            fail_msg("accepted: encke %s", lines[i]);
    }
}

static void help_and_version_need_nothing_else(void **state)
{
    struct options options;
    assert_int_equal(parse(&options, "--help"), OPTIONS_DONE);
    assert_int_equal(parse(&options, "--version"), OPTIONS_DONE);
}

static void the_longest_hold_is_never_below_the_ordinary_one(void **state)
{
    struct options options;
    assert_int_equal(parse(&options, "--db /x --hold 300"), OPTIONS_RUN);
    assert_int_equal(options.hold_max_s, 300);
}

static void origins_are_written_as_browsers_send_them(void **state)
{
    static const char *const lists[] = {"any", "null", "https://a.example",
                                        "https://a.example,http://b.example:8080,null",
                                        "https://a.example,"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct options options;
        char line[128];
        snprintf(line, sizeof line, "--db /x --websocket-origin %s", lists[i]);
        assert_int_equal(parse(&options, line), OPTIONS_RUN);
        assert_string_equal(options.websocket_origin, lists[i]);
    }
    setenv("ENCKE_WEBSOCKET_ORIGIN", "https://a.example , https://b.example", 1);
    struct options options;
    assert_int_equal(parse(&options, "--db /x"), OPTIONS_RUN);
    setenv("ENCKE_WEBSOCKET_ORIGIN", "https://a.example https://b.example", 1);
    assert_int_equal(parse(&options, "--db /x"), OPTIONS_BAD);
    unsetenv("ENCKE_WEBSOCKET_ORIGIN");
}

static void expect_given(const struct given *given, const char *texts)
{
    char joined[256] = "";
    for (size_t i = 0; i < given->count; i++)
        snprintf(joined + strlen(joined), sizeof joined - strlen(joined), "%s ", given->texts[i]);
    assert_string_equal(joined, texts);
}

static void upstreams_may_be_given_many_times(void **state)
{
    struct options options;
    assert_int_equal(parse(&options, "--db /x --upstream a=http://a --upstream-channel a=b "
                                     "--upstream http://b --upstream-cursor a=c:d "
                                     "--upstream-params a= --upstream-params x,y"),
                     OPTIONS_RUN);
    expect_given(&options.upstream, "a=http://a http://b ");
    expect_given(&options.upstream_params, "a= x,y ");
    expect_given(&options.upstream_channel, "a=b ");
    expect_given(&options.upstream_cursor, "a=c:d ");
}

static void several_in_the_environment_have_blanks_between(void **state)
{
    struct options options;
    setenv("ENCKE_UPSTREAM", " a=http://a  b=http://b?x=y\t\n", 1);
    setenv("ENCKE_UPSTREAM_PARAMS", "a=", 1);
    setenv("ENCKE_UPSTREAM_CHANNEL", " ", 1);
    assert_int_equal(parse(&options, "--db /x"), OPTIONS_RUN);
    expect_given(&options.upstream, "a=http://a b=http://b?x=y ");
    expect_given(&options.upstream_params, "a= ");
    expect_given(&options.upstream_channel, "");
    options_free(&options);
    /* the command line does not add to it: it wins, option by option */
    assert_int_equal(parse(&options, "--db /x --upstream http://c --upstream d=http://d"),
                     OPTIONS_RUN);
    expect_given(&options.upstream, "http://c d=http://d ");
    expect_given(&options.upstream_params, "a= ");
    options_free(&options);
    assert_int_equal(parse(&options, "--no-such"), OPTIONS_BAD);
    options_free(&options);
    unsetenv("ENCKE_UPSTREAM");
    unsetenv("ENCKE_UPSTREAM_PARAMS");
    unsetenv("ENCKE_UPSTREAM_CHANNEL");
}

static void how_many_upstreams_has_an_end(void **state)
{
    struct options options;
    char line[4096] = "--db /x";
    for (int i = 0; i < GIVEN_MAX; i++)
        snprintf(line + strlen(line), sizeof line - strlen(line), " --upstream %d=http://a", i);
    assert_int_equal(parse(&options, line), OPTIONS_RUN);
    assert_int_equal(options.upstream.count, GIVEN_MAX);
    strcat(line, " --upstream http://a");
    assert_int_equal(parse(&options, line), OPTIONS_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_help),
        cmocka_unit_test(whether_clients_publish_is_said_with_yes_or_no),
        cmocka_unit_test(a_mount_is_a_path_between_slashes),
        cmocka_unit_test(the_command_line_wins_over_the_environment),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(origins_are_written_as_browsers_send_them),
        cmocka_unit_test(upstreams_may_be_given_many_times),
        cmocka_unit_test(several_in_the_environment_have_blanks_between),
        cmocka_unit_test(how_many_upstreams_has_an_end),
        cmocka_unit_test(help_and_version_need_nothing_else),
        cmocka_unit_test(the_longest_hold_is_never_below_the_ordinary_one),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}

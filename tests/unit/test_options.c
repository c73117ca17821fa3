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
#include <sys/mman.h>
#include <unistd.h>

#include "fcgi/conflicts.h"
#include "fcgi/options_parse.h"
#include "fcgi/spelling.h"

static char said[1024]; /* what the latest parse printed on stderr */

/* Parses a command line of words parted by spaces; what it prints on stdout goes to /dev/null. */
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
    int kept = memfd_create("stderr", MFD_CLOEXEC);
    dup2(null, STDOUT_FILENO);
    dup2(kept, STDERR_FILENO);
    enum options_verdict verdict = options_parse(options, argc, argv);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    ssize_t len = pread(kept, said, sizeof said - 1, 0);
    said[len > 0 ? len : 0] = '\0';
    close(null);
    close(out);
    close(err);
    close(kept);
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
    assert_null(options.origin);
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

static void expect_said(const char *what)
{
    if (!strstr(said, what))
        fail_msg("no \"%s\" in: %s", what, said);
}

struct refusal {
    const char *line, *says;
};

static void expect_refused(const struct refusal *refusals, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct options options;
        char line[160];
        snprintf(line, sizeof line, "--db /x %s", refusals[i].line);
        if (parse(&options, line) != OPTIONS_BAD)
            fail_msg("accepted: encke %s", line);
        expect_said(refusals[i].says);
    }
}

static void without_a_log_nothing_runs(void **state)
{
    static const char *const lines[] = {"", "--socket /x"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct options options;
        assert_int_equal(parse(&options, lines[i]), OPTIONS_BAD);
        expect_said("no message log: give --db PATH");
    }
}

static void an_option_that_is_none_is_named_and_the_nearest_if_one_is_near(void **state)
{
    static const struct refusal refusals[] = {
        {"--keep-agee 1d", "option --keep-agee, the nearest is --keep-age; see"},
        {"-socket /s", "option -socket, the nearest is --socket; see"},
        {"--upstream-c=/s", "option --upstream-c=/s, the nearest is --upstream-channel; see"},
        {"--max 5 --hold 5", "option --max, the nearest is --max-holds; see"},
        {"--protocol 5", "option --protocol; see"},
        {"-V", "option -V; see"},
        {"word --hold 5", "unexpected argument 'word'; see"},
    };
    expect_refused(refusals, sizeof refusals / sizeof *refusals);
}

static void an_option_without_a_value_is_named(void **state)
{
    static const struct refusal refusals[] = {
        {"--db", "--db needs a value; see"},
        {"--hold", "--hold needs a value; see"},
        {"--upstream", "--upstream needs a value; see"},
        {"--mount=", "--mount is empty; see"},
        {"--origin=", "--origin is empty; see"},
        {"--websocket-create=", "--websocket-create is empty; see"},
        {"--websocket-socket=", "--websocket-socket is empty; see"},
        {"--upstream=", "--upstream is empty; see"},
        {"--upstream-params=", "--upstream-params is empty; see"},
        {"--upstream-channel=", "--upstream-channel is empty; see"},
        {"--upstream-cursor=", "--upstream-cursor is empty; see"},
        {"--upstream-ca=", "--upstream-ca is empty; see"},
        {"--upstream-proxy=", "--upstream-proxy is empty; see"},
    };
    expect_refused(refusals, sizeof refusals / sizeof *refusals);
}

static void a_value_that_is_none_is_named_beside_what_it_may_be(void **state)
{
    static const struct refusal refusals[] = {
        {"--hold 0", "--hold is a whole number from 1 to 3600, not '0'; see"},
        {"--hold -1", "not '-1'"},
        {"--hold 1.5", "not '1.5'"},
        {"--hold 3601", "not '3601'"},
        {"--hold 5x", "not '5x'"},
        {"--hold \033[2J", "not '?[2J'"},
        {"--max-channels 513", "from 1 to 512, not '513'"},
        {"--heartbeat 0", "from 1 to 3600, not '0'"},
        {"--heartbeat 3601", "not '3601'"},
        {"--websocket-rate 0", "from 1 to 1000000, not '0'"},
        {"--upstream-timeout 0", "from 1 to 3600, not '0'"},
        {"--upstream-timeout 3601", "not '3601'"},
        {"--upstream-requests 0", "from 1 to 100000, not '0'"},
        {"--upstream-requests 100001", "not '100001'"},
        {"--keep-age 1w", "(seconds, or with s, m, h, d), not '1w'; see"},
        {"--keep-age 1dd", "not '1dd'"},
        {"--stream 0", "--stream is a time from 1 to 86400 (seconds"},
        {"--stream 2d", "not '2d'"},
        {"--memory 1T", "(bytes, or with K, M, G), not '1T'; see"},
        {"--max-message 0", "--max-message is a size from 1 to 8388608 (bytes"},
        {"--max-message 9M", "not '9M'"},
        {"--max-message 99999999999999999999", "not '99999999999999999999'"},
        {"--keep-bytes 9999999999G", "from 0 to 1125899906842624 (bytes"},
        {"--upstream-answer 1023", "from 1024 to 67108864 (bytes"},
        {"--upstream-answer 65M", "not '65M'"},
        {"--socket-mode 0888", "--socket-mode is an octal mode such as 0660, not '0888'; see"},
        {"--socket-mode 999", "not '999'"},
        {"--socket-mode 1000", "not '1000'"},
        {"--log-level loud", "--log-level is error, warn, info or debug, not 'loud'; see"},
        {"--websocket-create true", "--websocket-create is yes or no, not 'true'; see"},
        {"--websocket-create YES", "not 'YES'"},
        {"--mount comet", "such as /comet/, not 'comet'; see"},
        {"--mount /comet", "not '/comet'"},
        {"--mount comet/", "not 'comet/'"},
        {"--mount /comet/?", "not '/comet/?'"},
        {"--mount /c%6Fmet/", "not '/c%6Fmet/'"},
        {"--origin ,", "with commas between, not ','; see"},
        {"--origin www.example.org", "not 'www.example.org'"},
        {"--origin https://a.example/", "not 'https://a.example/'"},
        {"--origin https://a.example,b.example", "not 'https://a.example,b.example'"},
        {"--origin b.example,https://a.example", "not 'b.example,https://a.example'"},
        {"--origin https://", "not 'https://'"},
        {"--origin https://*.example", "not 'https://*.example'"},
        {"--origin https://me@a.example", "not 'https://me@a.example'"},
        {"--origin https://a.example?b", "not 'https://a.example?b'"},
        {"--origin https://a.example:", "not 'https://a.example:'"},
        {"--origin https://a.example:443", "not 'https://a.example:443'"},
        {"--origin http://[::1]:80", "not 'http://[::1]:80'"},
        {"--origin anyone", "not 'anyone'"},
    };
    expect_refused(refusals, sizeof refusals / sizeof *refusals);
}

static void what_contradicts_is_refused_with_what_to_do(void **state)
{
    static const struct refusal refusals[] = {
        {"--hold 500 --hold-max 60", "--hold (500) is above --hold-max (60): lower the one"},
        {"--max-message 8M --queue 1M", "--max-message (8388608) is above --queue (1048576)"},
        {"--max-message 8M --unsent 1M", "is above --unsent (1048576)"},
        {"--max-message 64K --keep-bytes 10K", "is above --keep-bytes (10240)"},
        {"--socket /s --websocket-socket /s", "are one path"},
        {"--socket /x", "--socket is a file of the log"},
        {"--socket /x-wal", "--socket is a file of the log"},
        {"--socket /x.lock", "--socket is a file of the log"},
        {"--websocket-socket /x-shm", "--websocket-socket is a file of the log"},
        {"--socket-mode 0", "--socket-mode 0000 lets nobody connect"},
        {"--socket-mode 0555", "--socket-mode 0555 lets nobody connect"},
        {"--upstream-ca /c", "--upstream-ca is for a relay: give --upstream URL too"},
        {"--upstream-proxy http://p:1", "--upstream-proxy is for a relay"},
        {"--upstream-timeout 5", "--upstream-timeout is for a relay"},
        {"--upstream-answer 1M", "--upstream-answer is for a relay"},
        {"--upstream-requests 5", "--upstream-requests is for a relay"},
    };
    expect_refused(refusals, sizeof refusals / sizeof *refusals);
}

static void help_and_version_need_nothing_else(void **state)
{
    struct options options;
    assert_int_equal(parse(&options, "--help"), OPTIONS_DONE);
    assert_int_equal(parse(&options, "--help=man"), OPTIONS_DONE);
    assert_int_equal(parse(&options, "--help=html"), OPTIONS_BAD);
    assert_int_equal(parse(&options, "--version"), OPTIONS_DONE);
}

/* --help and the manual page are made of it. */
static void every_row_of_the_table_is_whole(void **state)
{
    for (const struct option_row *row = option_rows; row < option_rows + OPTION_COUNT; row++) {
        assert_true(row->name && row->argument && row->help && *row->help);
        assert_true(row->help[strlen(row->help) - 1] != '.');
        assert_true(!row->more || row->more[strlen(row->more) - 1] == '.');
        for (const struct option_row *other = option_rows; other < row; other++)
            assert_string_not_equal(row->name, other->name);
    }
}

static void the_longest_hold_is_never_below_the_ordinary_one(void **state)
{
    struct options options;
    assert_int_equal(parse(&options, "--db /x --hold 300"), OPTIONS_RUN);
    assert_int_equal(options.hold_max_s, 300);
    assert_int_equal(parse(&options, "--db /x --hold-max 30"), OPTIONS_RUN);
    assert_int_equal(options.hold_s, 30);
    assert_int_equal(parse(&options, "--db /x --hold 30 --hold-max 30"), OPTIONS_RUN);
    assert_int_equal(options.hold_s, 30);
}

static void readers_may_lack_the_largest_message_as_it_is_written(void **state)
{
    struct options options;
    assert_int_equal(parse(&options, "--db /x --max-message 1M"), OPTIONS_RUN);
    assert_int_equal(options.unsent_bytes, 32 << 20);
    assert_int_equal(parse(&options, "--db /x --max-message 8M"), OPTIONS_RUN);
    assert_int_equal(options.unsent_bytes, 64 << 20);
    assert_int_equal(parse(&options, "--db /x --max-message 8M --unsent 16M"), OPTIONS_RUN);
    assert_int_equal(options.unsent_bytes, 16 << 20);
}

static void what_does_not_contradict_is_taken(void **state)
{
    static const char *const lines[] = {
        "--db /x --max-message 1M --keep-bytes 0",
        "--db /x --queue 10K",
        "--db /x --max-message 64K --queue 64K",
        "--db /x --socket /xy --websocket-socket /x.sock",
        "--db /x --socket-mode 0200",
        "--db /x --stream 4s --heartbeat 3600",
        "--db /x --upstream http://a --upstream-timeout 5",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct options options;
        if (parse(&options, lines[i]) != OPTIONS_RUN)
            fail_msg("refused: encke %s: %s", lines[i], said);
    }
}

static void options_from_the_environment_contradict_too(void **state)
{
    struct options options;
    setenv("ENCKE_HOLD", "500", 1);
    assert_int_equal(parse(&options, "--db /x --hold-max 60"), OPTIONS_BAD);
    assert_int_equal(parse(&options, "--db /x --hold-max 60 --hold 10"), OPTIONS_RUN);
    setenv("ENCKE_HOLD", "", 1); /* as good as none */
    assert_int_equal(parse(&options, "--db /x --hold-max 50"), OPTIONS_RUN);
    assert_int_equal(options.hold_s, 50);
    unsetenv("ENCKE_HOLD");
}

static void a_variable_that_is_no_option_is_refused_and_the_nearest_named(void **state)
{
    static const char *const cases[][2] = {
        {"ENCKE_KEEP_AGEE", "ENCKE_KEEP_AGE"},
        {"ENCKE_HODL", "ENCKE_HOLD"},
        {"ENCKE_keep_age", "ENCKE_KEEP_AGE"},
        {"ENCKE_", "ENCKE_SOCKET"},
        {"ENCKE_MAX_CHANNEL", "ENCKE_MAX_CHANNELS"},
        {"ENCKE_UPSTREAMS", "ENCKE_UPSTREAM"},
        {"ENCKE_WEBSOCKETSOCKET", "ENCKE_WEBSOCKET_SOCKET"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct options options;
        char says[160];
        snprintf(says, sizeof says,
                 "error: %s in the environment is not an option, the nearest is %s;", cases[i][0],
                 cases[i][1]);
        setenv(cases[i][0], i % 2 ? "1" : "", 1);
        assert_int_equal(parse(&options, "--db /x"), OPTIONS_BAD);
        expect_said(says);
        unsetenv(cases[i][0]);
    }
    static const char *const others[] = {"ENCKEX", "ENCKE_SERVICE_HOST", "ENCKE_SERVICE_PORT_WEB",
                                         "ENCKE_PORT", "ENCKE_PORT_80_TCP_ADDR"};
    struct options options;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        setenv(others[i], "1", 1);
        assert_int_equal(parse(&options, "--db /x"), OPTIONS_RUN);
        unsetenv(others[i]);
    }
    setenv("ENCKE_GREETING", "1", 1);
    assert_int_equal(parse(&options, "--db /x"), OPTIONS_BAD);
    expect_said("ENCKE_GREETING in the environment is not an option; see");
    unsetenv("ENCKE_GREETING");
}

static void options_for_sockets_that_are_not_there_are_refused(void **state)
{
    static const struct {
        const char *line;
        bool own, websocket, good;
    } cases[] = {
        {"", false, false, true},
        {"--socket-mode 0666", true, false, true},
        {"--socket-mode 0666", false, true, false},
        {"--websocket-create no", true, false, false},
        {"--origin any", true, false, true},
        {"--websocket-rate 5", false, false, false},
        {"--websocket-rate 5 --websocket-create yes", false, true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct options options;
        char line[128], why[256] = "";
        snprintf(line, sizeof line, "--db /x %s", cases[i].line);
        assert_int_equal(parse(&options, line), OPTIONS_RUN);
        int rc =
            conflicts_with_sockets(&options, cases[i].own, cases[i].websocket, why, sizeof why);
        assert_int_equal(rc, cases[i].good ? 0 : -1);
        assert_int_equal(*why == '\0', cases[i].good);
    }
}

static void names_are_as_far_apart_as_letters_must_change(void **state)
{
    static const struct {
        const char *name, *written;
        size_t away;
    } cases[] = {
        {"hold", "hold", 0},  {"hold", "", 4},    {"", "hold", 4},     {"hold", "hodl", 2},
        {"hold", "holds", 1}, {"hold", "old", 1}, {"hold", "bold", 1}, {"kitten", "sitting", 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(
            spelling_distance(cases[i].name, cases[i].written, strlen(cases[i].written)),
            cases[i].away);
    char endless[1000];
    memset(endless, 'x', sizeof endless);
    assert_int_equal(spelling_distance("x", endless, sizeof endless), 63);
}

static void origins_are_written_as_browsers_send_them(void **state)
{
    static const char *const lists[] = {"any",
                                        "null",
                                        "https://a.example",
                                        "https://a.example,http://b.example:8080,null",
                                        "http://a.example:443,https://[::1]:80,http://[::80]",
                                        "https://a.example,"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct options options;
        char line[128];
        snprintf(line, sizeof line, "--db /x --origin %s", lists[i]);
        assert_int_equal(parse(&options, line), OPTIONS_RUN);
        assert_string_equal(options.origin, lists[i]);
    }
    setenv("ENCKE_ORIGIN", "https://a.example , https://b.example", 1);
    struct options options;
    assert_int_equal(parse(&options, "--db /x"), OPTIONS_RUN);
    setenv("ENCKE_ORIGIN", "https://a.example https://b.example", 1);
    assert_int_equal(parse(&options, "--db /x"), OPTIONS_BAD);
    setenv("ENCKE_ORIGIN", "any https://a.example", 1); /* a comma is missing here, too */
    assert_int_equal(parse(&options, "--db /x"), OPTIONS_BAD);
    unsetenv("ENCKE_ORIGIN");
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
        cmocka_unit_test(without_a_log_nothing_runs),
        cmocka_unit_test(an_option_that_is_none_is_named_and_the_nearest_if_one_is_near),
        cmocka_unit_test(an_option_without_a_value_is_named),
        cmocka_unit_test(a_value_that_is_none_is_named_beside_what_it_may_be),
        cmocka_unit_test(what_contradicts_is_refused_with_what_to_do),
        cmocka_unit_test(origins_are_written_as_browsers_send_them),
        cmocka_unit_test(upstreams_may_be_given_many_times),
        cmocka_unit_test(several_in_the_environment_have_blanks_between),
        cmocka_unit_test(how_many_upstreams_has_an_end),
        cmocka_unit_test(help_and_version_need_nothing_else),
        cmocka_unit_test(every_row_of_the_table_is_whole),
        cmocka_unit_test(the_longest_hold_is_never_below_the_ordinary_one),
        cmocka_unit_test(readers_may_lack_the_largest_message_as_it_is_written),
        cmocka_unit_test(what_does_not_contradict_is_taken),
        cmocka_unit_test(options_from_the_environment_contradict_too),
        cmocka_unit_test(a_variable_that_is_no_option_is_refused_and_the_nearest_named),
        cmocka_unit_test(options_for_sockets_that_are_not_there_are_refused),
        cmocka_unit_test(names_are_as_far_apart_as_letters_must_change),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}

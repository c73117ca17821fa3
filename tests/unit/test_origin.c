/* The one rule of whose pages may publish and open WebSockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "fcgi/wire/origin.h"

static bool allowed(const char *host, const char *origin, const char *site, const char *list)
{
    static struct request request;
    request.host = text_of(host);
    request.origin = text_of(origin);
    request.fetch_site = text_of(site);
    return origin_allowed(&request, list);
}

static void what_is_no_browser_passes(void **state)
{
    assert_true(allowed("example.org", NULL, NULL, NULL));
    assert_true(allowed(NULL, NULL, NULL, NULL));
    assert_true(allowed("example.org", NULL, NULL, "https://a.example"));
}

static void an_origin_must_be_the_host_that_was_asked_for(void **state)
{
    static const struct {
        const char *host, *origin;
        bool same;
    } cases[] = {{"example.org", "https://example.org", true},
                 {"example.org", "http://example.org", true},
                 {"EXAMPLE.org", "https://example.ORG", true},
                 {"example.org:443", "https://example.org", true},
                 {"example.org", "https://example.org:443", true},
                 {"example.org:8080", "http://example.org:8080", true},
                 {"[::1]:8080", "http://[::1]:8080", true},
                 {"example.org:443", "http://example.org", false},
                 {"example.org:80", "https://example.org", false},
                 {"example.org", "http://example.org:8080", false},
                 {"example.org:8080", "http://example.org", false},
                 {"example.org", "https://www.example.org", false},
                 {"www.example.org", "https://example.org", false},
                 {"example.org", "https://example.org.evil", false},
                 {"example.org", "https://evil-example.org", false},
                 {"example.org", "null", false},
                 {"null", "null", false},
                 {"example.org", "", false},
                 {"", "https://", false},
                 {"example.org", "example.org", false},
                 {"example.org", "ftp://example.org", false},
                 {NULL, "https://example.org", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(allowed(cases[i].host, cases[i].origin, NULL, NULL), cases[i].same);
}

static void what_the_browser_says_of_the_site_counts_for_more(void **state)
{
    /* a proxy on the way may have changed Host, and a page may hide its origin */
    assert_true(allowed("backend:8080", "https://example.org", "same-origin", NULL));
    assert_true(allowed("example.org", "null", "same-origin", NULL));
    assert_true(allowed("example.org", NULL, "none", NULL));
    assert_false(allowed("example.org", NULL, "cross-site", NULL));
    assert_false(allowed("example.org", NULL, "same-site", NULL));
    assert_false(allowed("example.org", "http://example.org", "cross-site", NULL));
    assert_false(allowed("example.org", NULL, "else", NULL));
}

static void what_is_foreign_passes_if_it_is_listed(void **state)
{
    const char *list = "https://a.example , http://b.example:81,null";
    assert_true(allowed("example.org", "https://a.example", NULL, list));
    assert_true(allowed("example.org", "https://A.example", "cross-site", list));
    assert_true(allowed("example.org", "http://b.example:81", "same-site", list));
    assert_true(allowed("example.org", "null", "cross-site", list));
    assert_false(allowed("example.org", "http://a.example", NULL, list));
    assert_false(allowed("example.org", "https://a.example.evil", NULL, list));
    assert_false(allowed("example.org", "http://b.example", NULL, list));
    assert_false(allowed("example.org", NULL, "cross-site", list));
    assert_false(allowed("example.org", "", NULL, ","));
    assert_true(allowed("example.org", "https://c.example", NULL, "any"));
    assert_true(allowed("example.org", NULL, "cross-site", "any"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_browser_passes),
        cmocka_unit_test(an_origin_must_be_the_host_that_was_asked_for),
        cmocka_unit_test(what_the_browser_says_of_the_site_counts_for_more),
        cmocka_unit_test(what_is_foreign_passes_if_it_is_listed),
    };
    return cmocka_run_group_tests_name("origin", tests, NULL, NULL);
}

#include "fcgi/relay/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fcgi/relay/trust.h"

#ifndef ENCKE_VERSION
#define ENCKE_VERSION "unknown"
#endif

/* ---- one request ---- */

/* Ends the fetch from within a libcurl callback. */
static size_t refuse_answer(struct fetch *fetch, const char *why)
{
    fetch->why = why;
    return 0;
}

/* "HTTP/1.1 404 Not Found": a new head begins, perhaps after a 100 Continue. */
static void take_status_line(struct fetch *fetch, const char *line, size_t len)
{
    fetch->type[0] = '\0';
    fetch->reason[0] = '\0';
    const char *end = line + len, *at = memchr(line, ' ', len);
    at = at && end - at > 4 ? at + 4 : end; /* behind the number, which libcurl reads */
    if (at < end && *at == ' ')
        at++;
    size_t kept = 0;
    for (; at < end && kept < FETCH_REASON_MAX && (unsigned char)*at >= ' ' && *at != 0x7f; at++)
        fetch->reason[kept++] = *at;
    fetch->reason[kept] = '\0';
}

/* Takes the blanks off a header's value (RFC 9110, 5.6.3: OWS). */
static void trim(const char **value, size_t *len)
{
    while (*len > 0 && (**value == ' ' || **value == '\t'))
        ++*value, --*len;
    while (*len > 0 && ((*value)[*len - 1] == ' ' || (*value)[*len - 1] == '\t'))
        --*len;
}

/* What is wrong with a Content-Type, or NULL once it is kept. */
static const char *take_content_type(struct fetch *fetch, const char *value, size_t len)
{
    trim(&value, &len);
    if (len > FETCH_TYPE_MAX)
        return "its Content-Type is too long";
    memcpy(fetch->type, value, len);
    fetch->type[len] = '\0';
    return NULL;
}

/* What is wrong with the head as a whole, or NULL. */
static const char *head_complaint(struct fetch *fetch)
{
    long status = 0;
    curl_off_t promised = -1;
    curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(fetch->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &promised);
    fetch->status = (int)status;
    if (status < 200)
        return NULL; /* another head follows */
    fetch->whole_head = true;
    if (status > 599)
        return "its status is none of HTTP's";
    if (status / 100 == 3 && status != 304)
        return "it redirects elsewhere";
    if (promised > fetch->target->fetcher->options.answer_max)
        return "its answer is too large (--upstream-answer)";
    return NULL;
}

/* What is wrong with a header that says how the body is encoded, or NULL: no encoding but chunks
 * was asked for. */
static const char *encoding_complaint(const char *header, const char *line, size_t len,
                                      const char *allowed)
{
    size_t name = strlen(header);
    if (len < name || strncasecmp(line, header, name) != 0)
        return NULL;
    len -= name;
    line += name;
    trim(&line, &len);
    bool good = len == 0 || (len == 8 && strncasecmp(line, "identity", len) == 0) ||
                (len == strlen(allowed) && strncasecmp(line, allowed, len) == 0);
    return good ? NULL : "its answer is encoded in a way that was not asked for";
}

/* What is wrong with one header line, or NULL. */
static const char *take_header_line(struct fetch *fetch, const char *line, size_t len)
{
    static const char type[] = "content-type:";
    const size_t type_len = sizeof type - 1;
    if (len == 0)
        return head_complaint(fetch);
    if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
        take_status_line(fetch, line, len);
    else if (len > type_len && strncasecmp(line, type, type_len) == 0)
        return take_content_type(fetch, line + type_len, len - type_len);
    const char *fault = encoding_complaint("content-encoding:", line, len, "");
    return fault ? fault : encoding_complaint("transfer-encoding:", line, len, "chunked");
}

static size_t on_fetch_header(char *line, size_t one, size_t len, void *user)
{
    (void)one; /* always 1 */
    struct fetch *fetch = user;
    fetch->head_len += len;
    if (fetch->head_len > FETCH_HEADERS_MAX)
        return refuse_answer(fetch, "its headers are too large");
    size_t text = len;
    if (text > 0 && line[text - 1] == '\n')
        text--;
    if (text > 0 && line[text - 1] == '\r')
        text--;
    for (size_t i = 0; i < text; i++)
        if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
            return refuse_answer(fetch, "a header of its answer has a control character");
    if (fetch->whole_head)
        return len;
    const char *fault = take_header_line(fetch, line, text);
    return fault ? refuse_answer(fetch, fault) : len;
}

static size_t on_fetch_body(char *bytes, size_t one, size_t len, void *user)
{
    (void)one; /* always 1 */
    struct fetch *fetch = user;
    struct target *target = fetch->target;
    size_t most = (size_t)target->fetcher->options.answer_max;
    if (fetch->body.len + len > most)
        return refuse_answer(fetch, "its answer is too large (--upstream-answer)");
    if (fetch->body.len + len > FETCH_BODY_SMALL &&
        target->bodies_len + len > (most > FETCH_BODIES_MAX ? most : FETCH_BODIES_MAX))
        return refuse_answer(fetch, "too many large answers are under way");
    target->bodies_len += len;
    buf_add(&fetch->body, bytes, len);
    return buf_ok(&fetch->body) ? len : refuse_answer(fetch, "there is no memory for its answer");
}

/* CURLOPT_PREREQFUNCTION: the request is about to be sent, on a new connection or a kept one. What
 * fails from now on does not fail because there is no connection. */
static int on_fetch_connected(void *user, char *ip, char *local_ip, int port, int local_port)
{
    (void)ip, (void)local_ip, (void)port, (void)local_port;
    struct fetch *fetch = user;
    fetch->connected = true;
    return CURL_PREREQFUNC_OK;
}

/* CURLOPT_QUICK_EXIT: should libcurl ever look up a name itself, it does not wait for that. */
static bool set_fetch_options(struct fetch *fetch, const char *url)
{
    const struct fetch_options *options = &fetch->target->fetcher->options;
    CURL *easy = fetch->easy;
    CURLcode bad = CURLE_OK;
#define SET(option, value) bad |= curl_easy_setopt(easy, CURLOPT_##option, value)
    SET(URL, url);
    SET(PRIVATE, fetch);
    SET(PROTOCOLS_STR, "http,https");
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(PATH_AS_IS, 1L);
    SET(PROXY, options->proxy ? options->proxy : "");
    SET(NOPROXY, ""); /* or the environment's would count */
    SET(ERRORBUFFER, fetch->error);
    SET(SUPPRESS_CONNECT_HEADERS, 1L);
    SET(USERAGENT, "encke/" ENCKE_VERSION);
    SET(HTTPHEADER, fetch->target->fetcher->headers);
    SET(NOSIGNAL, 1L);
    SET(QUICK_EXIT, 1L);
    SET(TCP_KEEPALIVE, 1L);
    SET(TCP_KEEPIDLE, 30L);
    SET(TCP_KEEPINTVL, 10L);
    SET(BUFFERSIZE, 4096L);
    SET(MAXAGE_CONN, (long)FETCH_IDLE_S);
    SET(HEADERFUNCTION, on_fetch_header);
    SET(HEADERDATA, fetch);
    SET(WRITEFUNCTION, on_fetch_body);
    SET(WRITEDATA, fetch);
    SET(PREREQFUNCTION, on_fetch_connected);
    SET(PREREQDATA, fetch);
#undef SET
    return bad == CURLE_OK && trust_set(easy, options->ca);
}

static void forget_answer(struct fetch *fetch)
{
    if (fetch->target)
        fetch->target->bodies_len -= fetch->body.len;
    buf_free(&fetch->body);
    fetch->connected = fetch->whole_head = false;
    fetch->status = 0;
    fetch->head_len = 0;
    fetch->reason[0] = fetch->type[0] = '\0';
    fetch->why = NULL;
    fetch->error[0] = '\0';
}

static void end_fetch(struct fetch *fetch)
{
    if (fetch->waiting)
        LIST_REMOVE(fetch, link);
    else
        curl_multi_remove_handle(fetch->target->fetcher->curl_loop.multi, fetch->easy);
    fetch->waiting = false;
    curl_easy_cleanup(fetch->easy);
    curl_slist_free_all(fetch->resolve);
    fetch->easy = NULL;
    fetch->resolve = NULL;
}

/* What is left of a time limit that began with the fetch. Not 0, which is no limit for libcurl. */
static long left_ms(const struct fetch *fetch, int64_t seconds)
{
    int64_t left = seconds * 1000 - (int64_t)(timer_now_ms() - fetch->began_ms);
    return left > 0 ? (long)left : 1;
}

/* Hands the request to libcurl, together with the addresses. Returns false when out of memory. */
static bool launch_fetch(struct fetch *fetch)
{
    const struct fetcher *fetcher = fetch->target->fetcher;
    const struct lookup *lookup = &fetch->target->lookup;
    long all_ms = left_ms(fetch, fetcher->options.timeout_s);
    if (curl_easy_setopt(fetch->easy, CURLOPT_TIMEOUT_MS, all_ms) != CURLE_OK ||
        curl_easy_setopt(fetch->easy, CURLOPT_CONNECTTIMEOUT_MS, left_ms(fetch, FETCH_CONNECT_S)) !=
            CURLE_OK)
        return false;
    if (lookup->addresses) {
        struct buf entry = {0};
        /* without an end: libcurl must not look up by itself when it connects anew in the middle */
        buf_printf(&entry, "%s:%s:%s", lookup->host, lookup->port, lookup->addresses);
        buf_add(&entry, "", 1);
        if (buf_ok(&entry))
            fetch->resolve = curl_slist_append(NULL, entry.bytes);
        buf_free(&entry);
        if (!fetch->resolve ||
            curl_easy_setopt(fetch->easy, CURLOPT_RESOLVE, fetch->resolve) != CURLE_OK)
            return false;
    }
    return curl_multi_add_handle(fetcher->curl_loop.multi, fetch->easy) == CURLM_OK;
}

bool fetch_start(struct target *target, struct fetch *fetch, const char *url)
{
    forget_answer(fetch);
    fetch->target = target;
    fetch->began_ms = timer_now_ms();
    fetch->easy = curl_easy_init();
    if (!fetch->easy)
        return false;
    bool known = lookup_known(&target->lookup);
    if (!known) {
        LIST_INSERT_HEAD(&target->waiting, fetch, link);
        fetch->waiting = true;
        lookup_start(&target->lookup);
    }
    if (set_fetch_options(fetch, url) && (!known || launch_fetch(fetch)))
        return true;
    end_fetch(fetch);
    return false;
}

void fetch_cancel(struct fetch *fetch)
{
    if (fetch->easy)
        end_fetch(fetch);
    forget_answer(fetch);
}

/* Whether it failed before there was a connection. That can be the second one of a request, if the
 * kept connection that it used first was dead. */
static bool is_unreachable(CURLcode code)
{
    return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
           code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_SSL_CONNECT_ERROR ||
           code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_PROXY;
}

static enum fetch_end fetch_end_of(struct fetch *fetch, CURLcode code)
{
    if (code == CURLE_OK && fetch->whole_head)
        return FETCH_ANSWERED;
    if (fetch->why) /* one of the callbacks said it */
        return FETCH_REFUSED;
    fetch->why = code == CURLE_OK ? "its answer ends within the headers"
                 : *fetch->error  ? fetch->error
                                  : curl_easy_strerror(code);
    if (!fetch->connected || is_unreachable(code))
        return FETCH_UNREACHABLE;
    return code == CURLE_OPERATION_TIMEDOUT ? FETCH_TIMED_OUT : FETCH_BROKEN;
}

/* ---- targets ---- */

/* The look-up is done: the fetches that waited for it go on, or fail. */
static void on_target_looked_up(struct lookup *lookup, const char *fault)
{
    struct target *target = OWNER(struct target, lookup, lookup);
    if (lookup->addresses)
        fault = NULL; /* the old ones may do: name servers fail now and then */
    /* a list of their own first: done may start and cancel others */
    LIST_HEAD(, fetch) due = LIST_HEAD_INITIALIZER(due);
    struct fetch *fetch;
    while ((fetch = LIST_FIRST(&target->waiting)) != NULL) {
        LIST_REMOVE(fetch, link);
        LIST_INSERT_HEAD(&due, fetch, link);
    }
    while ((fetch = LIST_FIRST(&due)) != NULL) {
        LIST_REMOVE(fetch, link);
        fetch->waiting = false;
        if (!fault && launch_fetch(fetch))
            continue;
        end_fetch(fetch);
        fetch->why = fault ? fault : "there is no memory for a request";
        fetch->done(fetch, fault ? FETCH_UNREACHABLE : FETCH_BROKEN);
    }
}

int target_open(struct target *target, struct fetcher *fetcher, const char *url)
{
    const struct fetch_options *options = &fetcher->options;
    int64_t wait_s = options->timeout_s;
    *target = (struct target){.fetcher = fetcher};
    LIST_INIT(&target->waiting);
    CURLU *parts = curl_url();
    char *host = NULL, *port = NULL;
    errno = ENOMEM;
    int rc = -1;
    const char *first = options->proxy ? options->proxy : url;
    if (parts &&
        curl_url_set(parts, CURLUPART_URL, first, CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) ==
            CURLUE_OK &&
        curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        (curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK))
        rc = lookup_open(&target->lookup, fetcher->curl_loop.loop, host, port,
                         1000 * (uint64_t)(wait_s < FETCH_CONNECT_S ? wait_s : FETCH_CONNECT_S),
                         on_target_looked_up);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
    return rc;
}

void target_close(struct target *target)
{
    lookup_close(&target->lookup);
}

/* ---- all requests ---- */

static void on_fetch_done(CURL *easy, CURLcode code)
{
    struct fetch *fetch;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&fetch);
    end_fetch(fetch);
    enum fetch_end verdict = fetch_end_of(fetch, code);
    if (verdict == FETCH_UNREACHABLE)
        lookup_forget(&fetch->target->lookup);
    fetch->done(fetch, verdict);
}

int fetcher_open(struct fetcher *fetcher, struct loop *loop, const struct fetch_options *options,
                 unsigned connections_max)
{
    *fetcher = (struct fetcher){.options = *options};
    if (curl_loop_open(&fetcher->curl_loop, loop, connections_max, on_fetch_done) != 0)
        return -1;
    fetcher->headers = curl_slist_append(NULL, "Accept-Encoding: identity");
    if (fetcher->headers)
        return 0;
    errno = ENOMEM;
    return -1;
}

void fetcher_close(struct fetcher *fetcher)
{
    curl_loop_close(&fetcher->curl_loop);
    curl_slist_free_all(fetcher->headers);
}

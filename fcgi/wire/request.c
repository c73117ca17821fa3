#include "fcgi/wire/request.h"

#include <errno.h>
#include <fastcgi.h>
#include <fcgiapp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fcgi/wire/multipart.h"

/* The parameters that mean something here (RFC 3875, 4.1; REQUEST_URI is of the web servers). */
enum param {
    REQUEST_METHOD,
    REQUEST_URI,
    QUERY_STRING,
    SCRIPT_NAME,
    PATH_INFO,
    CONTENT_TYPE,
    CONTENT_LENGTH,
    HTTP_HOST,
    HTTP_ORIGIN,
    HTTP_LAST_EVENT_ID,
    HTTP_SEC_FETCH_SITE,
    PARAMS
};

#define NAMED(param) [param] = {#param, sizeof #param - 1}

static const struct {
    const char *name;
    size_t len;
} param_names[PARAMS] = {NAMED(REQUEST_METHOD),     NAMED(REQUEST_URI),        NAMED(QUERY_STRING),
                         NAMED(SCRIPT_NAME),        NAMED(PATH_INFO),          NAMED(CONTENT_TYPE),
                         NAMED(CONTENT_LENGTH),     NAMED(HTTP_HOST),          NAMED(HTTP_ORIGIN),
                         NAMED(HTTP_LAST_EVENT_ID), NAMED(HTTP_SEC_FETCH_SITE)};

struct decoder {
    int file;        /* the memory file that libfcgi reads from */
    size_t file_len; /* of the latest request */
    FCGX_Request fcgx;
    const char *param[PARAMS]; /* the values, in fcgx; NULL: it did not come */
    struct request request;
    size_t body_max;
    char *body;                    /* body_max + 1 bytes */
    char uri[GATE_PARAMS_MAX + 2]; /* the path, a NUL, the query, which is decoded in place */
};

size_t request_body_max(size_t max_message)
{
    enum { OTHER_FIELDS = 4096 };
    return 3 * max_message + OTHER_FIELDS;
}

/* FCGX_Init takes over these signals where they are at their default or ignored. They are the
 * daemon's own. */
static int start_libfcgi(void)
{
    static const int taken[] = {SIGPIPE, SIGUSR1, SIGTERM};
    enum { TAKEN = sizeof taken / sizeof *taken };
    struct sigaction before[TAKEN];
    for (int i = 0; i < TAKEN; i++)
        sigaction(taken[i], NULL, &before[i]);
    int rc = FCGX_Init();
    for (int i = 0; i < TAKEN; i++)
        sigaction(taken[i], &before[i], NULL);
    return rc;
}

struct decoder *decoder_new(size_t body_max)
{
    struct decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder)
        return NULL;
    decoder->body_max = body_max;
    decoder->body = malloc(body_max + 1);
    decoder->file = -1;
    if (decoder->body && start_libfcgi() == 0)
        return decoder;
    int saved = errno;
    decoder_free(decoder);
    errno = saved;
    return NULL;
}

void decoder_free(struct decoder *decoder)
{
    if (!decoder)
        return;
    if (decoder->file >= 0)
        close(decoder->file);
    free(decoder->body);
    free(decoder);
}

/* Puts the request into the memory file. What an earlier one has left behind it is not cut off,
 * which would cost as much as writing; but between the two comes a header of a version that there
 * is not, so that libfcgi could not take the one for the other's end even if it read on. */
static bool fill_file(struct decoder *decoder, const uint8_t *bytes, size_t len)
{
    static const uint8_t stop[FCGI_HEADER_LEN];
    enum { KEPT = 256 * 1024 }; /* of the memory that a large request took */
    if (decoder->file < 0) {
        decoder->file = memfd_create("encke-request", MFD_CLOEXEC);
        decoder->file_len = 0;
    }
    if (decoder->file_len > KEPT && ftruncate(decoder->file, 0) != 0)
        return false;
    decoder->file_len = len;
    return pwrite(decoder->file, bytes, len, 0) == (ssize_t)len &&
           pwrite(decoder->file, stop, sizeof stop, (off_t)len) == (ssize_t)sizeof stop &&
           lseek(decoder->file, 0, SEEK_SET) == 0;
}

static enum method method_of(const char *name)
{
    if (!name)
        return METHOD_OTHER;
    if (strcmp(name, "GET") == 0 || strcmp(name, "HEAD") == 0)
        return METHOD_GET;
    return strcmp(name, "POST") == 0 ? METHOD_POST : METHOD_OTHER;
}

static enum body_kind body_kind_of(const char *content_type)
{
    if (!content_type)
        return BODY_RAW;
    size_t len = strcspn(content_type, "; \t");
    if (len == 33 && strncasecmp(content_type, "application/x-www-form-urlencoded", len) == 0)
        return BODY_FORM;
    if (len == 19 && strncasecmp(content_type, "multipart/form-data", len) == 0)
        return BODY_MULTIPART;
    return BODY_RAW;
}

/* Notes the value of each parameter that means something here, and NULL for those that did not
 * come. What a configuration sets twice (nginx: behind an include) comes twice, and the last is
 * what it means. */
static void note_params(struct decoder *decoder)
{
    memset(decoder->param, 0, sizeof decoder->param);
    for (char **envp = decoder->fcgx.envp; *envp; envp++) {
        const char *equals = strchr(*envp, '=');
        size_t len = equals ? (size_t)(equals - *envp) : 0;
        size_t i = 0;
        while (i < PARAMS &&
               (param_names[i].len != len || memcmp(*envp, param_names[i].name, len) != 0))
            i++;
        if (i < PARAMS)
            decoder->param[i] = equals + 1;
    }
}

/* Appends text to decoder->uri. Returns false if there is no room, which the gate's limit on all
 * parameters rules out. */
static bool add(struct decoder *decoder, size_t *uri_len, const char *text, size_t len)
{
    if (len > sizeof decoder->uri - 1 - *uri_len)
        return false;
    memcpy(decoder->uri + *uri_len, text, len);
    *uri_len += len;
    decoder->uri[*uri_len] = '\0';
    return true;
}

static bool add_param(struct decoder *decoder, size_t *uri_len, enum param name)
{
    const char *value = decoder->param[name];
    return !value || add(decoder, uri_len, value, strlen(value));
}

/* The path is that of REQUEST_URI, which alone means the same behind every web server; plain CGI
 * (RFC 3875) does not know it, and there it is put together. The query is QUERY_STRING where it is
 * given, though it be empty: a site that rewrites a query, to say who may read what, changes it
 * there, and REQUEST_URI is still what the client sent. */
static bool take_target(struct decoder *decoder)
{
    const char *uri = decoder->param[REQUEST_URI], *query = decoder->param[QUERY_STRING];
    size_t len = 0, sent_len = uri ? strcspn(uri, "?") : 0;
    if (uri ? !add(decoder, &len, uri, sent_len)
            : !add_param(decoder, &len, SCRIPT_NAME) || !add_param(decoder, &len, PATH_INFO))
        return false;
    size_t path_len = len++; /* behind it, and its NUL, the query */
    if (!query && uri && uri[sent_len] == '?')
        query = uri + sent_len + 1;
    if (query && !add(decoder, &len, query, strlen(query)))
        return false;
    char *at = query ? decoder->uri + path_len + 1 : NULL;
    request_set_target(&decoder->request, decoder->uri, path_len, at, len - path_len - 1);
    return true;
}

static void refuse(struct request *request, int status, const char *why)
{
    request->fault = why;
    request->fault_status = status;
}

void request_set_target(struct request *request, char *path, size_t path_len, char *query,
                        size_t query_len)
{
    request->path = (struct text){path, path_len};
    path[path_len] = '\0';
    /* Web servers match their rules against the path without the fragment, but some pass it on:
     * with "/comet/update#/create" a reader would get past a rule that guards create. */
    if (memchr(path, '#', path_len) || (query && memchr(query, '#', query_len)))
        refuse(request, 400,
               "there is a # in the address: what follows one is for the browser alone, and in a "
               "value it is written %23");
    request->query.count = 0;
    request->query.overflow = false;
    if (query)
        form_parse(&request->query, query, query_len);
}

void request_split_uri(struct request *request, char *uri, size_t len)
{
    char *query = memchr(uri, '?', len);
    size_t path_len = query ? (size_t)(query - uri) : len;
    request_set_target(request, uri, path_len, query ? query + 1 : NULL,
                       query ? len - path_len - 1 : 0);
}

struct text request_endpoint(const struct request *request, const char *mount)
{
    struct text path = request->path;
    size_t skip = 0;
    if (mount) {
        skip = strlen(mount);
        if (path.len < skip || memcmp(path.bytes, mount, skip) != 0)
            return (struct text){0};
    } else {
        const char *slash = memrchr(path.bytes, '/', path.len);
        skip = slash ? (size_t)(slash - path.bytes) + 1 : 0;
    }
    return (struct text){path.bytes + skip, path.len - skip};
}

/* Half a form says less than its client did, or something else. */
static void read_form(struct decoder *decoder, const char *type, size_t len)
{
    struct request *request = &decoder->request;
    if (request->body_too_large)
        refuse(request, 413, "the form is larger than --max-message allows");
    else if (request->body_cut)
        refuse(request, 400, "the form is not as long as Content-Length says");
    else if (request->body_kind == BODY_FORM)
        form_parse(&request->form, decoder->body, len);
    else
        request->fault_status =
            multipart_parse(&request->form, type, decoder->body, len, &request->fault);
}

/* Returns false when libfcgi has not the body that the gate saw. */
static bool read_body(struct decoder *decoder, const struct gate *gate)
{
    struct request *request = &decoder->request;
    const char *type = decoder->param[CONTENT_TYPE];
    request->body_kind = body_kind_of(type);
    request->body = (struct text){decoder->body, 0};
    request->form.count = 0;
    request->form.overflow = false;
    request->body_too_large = gate->too_large;

    uint64_t promised; /* Caddy sends -1 if it does not know the length */
    request->body_cut = text_number(text_of(decoder->param[CONTENT_LENGTH]), &promised) &&
                        promised != gate->body_len;

    size_t len = gate->too_large ? 0 : gate->body_len;
    if (len > decoder->body_max ||
        FCGX_GetStr(decoder->body, (int)len, decoder->fcgx.in) != (int)len)
        return false;
    decoder->body[len] = '\0';
    if (request->body_kind == BODY_RAW)
        request->body.len = len;
    else
        read_form(decoder, type, len);
    return true;
}

/* libfcgi ends the process when it finds no memory: an assert in its Malloc, a write through NULL
 * behind its realloc. So what it is about to take, and somewhat more, is taken here first, in
 * pieces that come from the same heap as its own, and given back: see request.h for what that is
 * worth. */
static bool libfcgi_has_memory(const struct gate *gate)
{
    enum {
        STREAMS = 24 * 1024,          /* its three, with their buffers */
        PAIR = 48,                    /* a string's end and what malloc adds to it */
        POINTER = 3 * sizeof(char *), /* in the vector, while twice its size is made of it */
        PIECE = 64 * 1024
    };
    struct piece {
        struct piece *next;
    } *pieces = NULL;
    size_t need = STREAMS + gate->params_len + gate->pairs * (PAIR + POINTER), had = 0;
    while (had < need) {
        size_t size = need - had < PIECE ? need - had + sizeof *pieces : PIECE;
        struct piece *piece = malloc(size);
        if (!piece)
            break;
        piece->next = pieces;
        pieces = piece;
        had += size;
    }
    while (pieces) {
        struct piece *next = pieces->next;
        free(pieces);
        pieces = next;
    }
    return had >= need;
}

/* libfcgi's header marks ipcFd and keepConnection "don't use": with ipcFd set, FCGX_Accept_r
 * decodes from that descriptor instead of accepting one, and keepConnection stops the Finish with
 * which it begins from closing it. This is the one place that relies on it, and
 * libfcgi_decodes_from_a_memory_file is the test that notices when a libfcgi changes it. */
static bool libfcgi_decode(struct decoder *decoder)
{
    if (FCGX_InitRequest(&decoder->fcgx, -1, 0) != 0)
        return false;
    decoder->fcgx.ipcFd = decoder->file;
    decoder->fcgx.keepConnection = 1;
    if (FCGX_Accept_r(&decoder->fcgx) == 0)
        return true;
    decoder->file = -1; /* refused: libfcgi has closed it */
    return false;
}

/* The value of a header, by its parameter. A configuration that passes one on by name sends
 * an empty value for one that was not sent. */
static struct text header(const struct decoder *decoder, enum param name)
{
    const char *value = decoder->param[name];
    return value && *value ? text_of(value) : (struct text){0};
}

const struct request *request_decode(struct decoder *decoder, const struct gate *gate,
                                     const uint8_t *bytes)
{
    struct request *request = &decoder->request;
    errno = 0;
    if (!libfcgi_has_memory(gate) || !fill_file(decoder, bytes, gate->scanned) ||
        !libfcgi_decode(decoder))
        return NULL;
    note_params(decoder);
    request->params = decoder->fcgx.envp + 1; /* the first is libfcgi's own, FCGI_ROLE */
    const char *method = decoder->param[REQUEST_METHOD];
    request->method = method_of(method);
    request->head = method && strcmp(method, "HEAD") == 0;
    request->last_event_id = header(decoder, HTTP_LAST_EVENT_ID);
    request->host = header(decoder, HTTP_HOST);
    request->origin = header(decoder, HTTP_ORIGIN);
    request->fetch_site = header(decoder, HTTP_SEC_FETCH_SITE);
    request->fault = NULL;
    if (read_body(decoder, gate) && take_target(decoder))
        return request;
    request_release(decoder);
    return NULL;
}

void request_release(struct decoder *decoder)
{
    FCGX_Free(&decoder->fcgx, 0);
}

struct text request_field(const struct request *request, const char *name)
{
    struct text value = form_get(&request->form, name);
    return value.bytes ? value : form_get(&request->query, name);
}

#include "fcgi/wire/request.h"

#include <errno.h>
#include <fastcgi.h>
#include <fcgiapp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fcgi/wire/multipart.h"
#include "fcgi/wire/param.h"

struct decoder {
    int file; /* the memory file that libfcgi reads from */
    size_t file_len;
    bool read_to_end; /* libfcgi has read the latest request to its end, where the file ends */
    FCGX_Request fcgx;
    const char *param[PARAMS]; /* their values, in fcgx; NULL: not sent */
    struct request request;
    size_t body_max;
    char *body;                    /* body_max + 1 bytes */
    char uri[GATE_PARAMS_MAX + 2]; /* the path, a NUL, and the query, decoded in place */
};

size_t request_body_max(size_t max_message)
{
    enum { OTHER_FIELDS = 4096 };
    return 3 * max_message + OTHER_FIELDS;
}

/* FCGX_Init sets handlers for these signals if they have their default or are ignored. The daemon
 * needs its own: they are put back. */
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

/* Empties the memory file, or makes one. */
static bool start_file(struct decoder *decoder)
{
    decoder->file_len = 0;
    if (decoder->file < 0)
        return (decoder->file = memfd_create("encke-request", MFD_CLOEXEC)) >= 0;
    return ftruncate(decoder->file, 0) == 0 && lseek(decoder->file, 0, SEEK_SET) == 0;
}

/* Writes the request to the end of the memory file, where libfcgi reads on if it has read all
 * earlier requests to their ends. So nothing is behind the request that libfcgi could take for a
 * part of it, and to seek for each request, which costs as much as to write, is not needed. */
static bool fill_file(struct decoder *decoder, const uint8_t *bytes, size_t len)
{
    enum { KEPT = 64 * 1024 }; /* bytes of earlier requests */
    bool at_end = decoder->file >= 0 && decoder->read_to_end;
    if ((!at_end || decoder->file_len > KEPT) && !start_file(decoder))
        return false;
    decoder->read_to_end = false;
    off_t end = (off_t)decoder->file_len;
    decoder->file_len += len;
    return pwrite(decoder->file, bytes, len, end) == (ssize_t)len;
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
    struct text type = {content_type, content_type ? strcspn(content_type, "; \t") : 0};
    if (text_is_any_case(type, "application/x-www-form-urlencoded"))
        return BODY_FORM;
    if (text_is_any_case(type, "multipart/form-data"))
        return BODY_MULTIPART;
    return text_is_any_case(type, "application/json") ? BODY_JSON : BODY_RAW;
}

/* Notes the value of each parameter that is used, and NULL for one that was not sent. A parameter
 * that a configuration sets twice (in nginx, after an include) comes twice: the last one counts. */
static void note_params(struct decoder *decoder)
{
    memset(decoder->param, 0, sizeof decoder->param);
    for (char **envp = decoder->fcgx.envp; *envp; envp++) {
        const char *equals = strchr(*envp, '=');
        size_t len = equals ? (size_t)(equals - *envp) : 0;
        enum param param = param_named(*envp, len);
        if (param < PARAMS)
            decoder->param[param] = equals + 1;
    }
}

/* Appends text to decoder->uri. Returns false if there is no room; the gate's limit for all
 * parameters makes sure that there is. */
static bool append_to_uri(struct decoder *decoder, size_t *uri_len, const char *text, size_t len)
{
    if (len > sizeof decoder->uri - 1 - *uri_len)
        return false;
    memcpy(decoder->uri + *uri_len, text, len);
    *uri_len += len;
    decoder->uri[*uri_len] = '\0';
    return true;
}

static bool append_param(struct decoder *decoder, size_t *uri_len, enum param name)
{
    const char *value = decoder->param[name];
    return !value || append_to_uri(decoder, uri_len, value, strlen(value));
}

/* The path is taken from REQUEST_URI, the only parameter with the same meaning on every web server;
 * plain CGI (RFC 3875) does not have it, and there the path is put together. The query is
 * QUERY_STRING if that is sent, even if it is empty: a site that rewrites the query, to say what a
 * client may read, changes QUERY_STRING, while REQUEST_URI stays as the client sent it. */
static bool take_target(struct decoder *decoder)
{
    const char *uri = decoder->param[REQUEST_URI], *query = decoder->param[QUERY_STRING];
    size_t len = 0, sent_len = uri ? strcspn(uri, "?") : 0;
    if (uri ? !append_to_uri(decoder, &len, uri, sent_len)
            : !append_param(decoder, &len, SCRIPT_NAME) || !append_param(decoder, &len, PATH_INFO))
        return false;
    size_t path_len = len++; /* after the path and its NUL comes the query */
    if (!query && uri && uri[sent_len] == '?')
        query = uri + sent_len + 1;
    if (query && !append_to_uri(decoder, &len, query, strlen(query)))
        return false;
    char *at = query ? decoder->uri + path_len + 1 : NULL;
    request_set_target(&decoder->request, decoder->uri, path_len, at, len - path_len - 1);
    return true;
}

static void set_fault(struct request *request, int status, const char *why)
{
    request->fault = why;
    request->fault_status = status;
}

void request_set_target(struct request *request, char *path, size_t path_len, char *query,
                        size_t query_len)
{
    request->path = (struct text){path, path_len};
    path[path_len] = '\0';
    /* Web servers compare their rules with the path without the fragment, but some pass it on: with
     * "/comet/update#/create" a reader would avoid a rule that protects create. */
    if (memchr(path, '#', path_len) || (query && memchr(query, '#', query_len)))
        set_fault(
            request, 400,
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

/* Half a form is refused: its fields are not what the client sent. */
static void read_form(struct decoder *decoder, const char *type, size_t len)
{
    struct request *request = &decoder->request;
    if (request->body_too_large)
        set_fault(request, 413, "the form is larger than --max-message allows");
    else if (request->body_cut)
        set_fault(request, 400, "the form is not as long as Content-Length says");
    else if (request->body_kind == BODY_FORM)
        form_parse(&request->form, decoder->body, len);
    else
        request->fault_status =
            multipart_parse(&request->form, type, decoder->body, len, &request->fault);
}

/* Reads a body of that length, and its end: with it libfcgi has read the whole request, however
 * much it reads at a time. Returns false if libfcgi has another body than the gate saw. */
static bool read_to_end(struct decoder *decoder, size_t len)
{
    FCGX_Stream *in = decoder->fcgx.in;
    decoder->read_to_end =
        FCGX_GetStr(decoder->body, (int)len + 1, in) == (int)len && FCGX_GetError(in) == 0;
    return decoder->read_to_end;
}

/* Returns false if libfcgi does not have the body that the gate saw. */
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
    if (len > decoder->body_max || !read_to_end(decoder, len))
        return false;
    decoder->body[len] = '\0';
    bool form = request->body_kind == BODY_FORM || request->body_kind == BODY_MULTIPART;
    if (form)
        read_form(decoder, type, len);
    else
        request->body.len = len;
    request->json = request->body_kind == BODY_JSON ? decoder->body : NULL;
    return true;
}

/* libfcgi ends the process when it finds no memory: by an assert in its Malloc, by a write through
 * NULL after its realloc. So what it will need, and some more, is allocated here first, in pieces
 * from the same heap, and freed. request.h says what this does not prevent. */
static bool libfcgi_has_memory(const struct gate *gate)
{
    enum {
        STREAMS = 24 * 1024,          /* its three, with their buffers */
        PAIR = 48,                    /* a string's NUL and what malloc adds to it */
        POINTER = 3 * sizeof(char *), /* in the vector, while it is copied to one twice as large */
        PIECE = 64 * 1024
    };
    struct piece {
        struct piece *next;
    } *pieces = NULL;
    size_t need = STREAMS + gate->stdin_start + gate->pairs * (PAIR + POINTER), had = 0;
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

/* libfcgi's header marks ipcFd and keepConnection "don't use". If ipcFd is set, FCGX_Accept_r reads
 * from that descriptor instead of accepting one; with keepConnection it does not close it before.
 * Only this function relies on that. The test libfcgi_decodes_from_a_memory_file fails if another
 * libfcgi behaves differently. */
static bool libfcgi_decode(struct decoder *decoder)
{
    if (FCGX_InitRequest(&decoder->fcgx, -1, 0) != 0)
        return false;
    decoder->fcgx.ipcFd = decoder->file;
    decoder->fcgx.keepConnection = 1;
    if (FCGX_Accept_r(&decoder->fcgx) == 0)
        return true;
    decoder->file = -1; /* libfcgi has refused the request and closed the file */
    return false;
}

/* The value of a header, by its parameter. It is absent, too, if it is empty: a configuration that
 * names a header sends an empty value if the client sent none. */
static struct text header_value(const struct decoder *decoder, enum param name)
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
    request->last_event_id = header_value(decoder, HTTP_LAST_EVENT_ID);
    request->idempotency_key = header_value(decoder, HTTP_IDEMPOTENCY_KEY);
    request->host = header_value(decoder, HTTP_HOST);
    request->origin = header_value(decoder, HTTP_ORIGIN);
    request->fetch_site = header_value(decoder, HTTP_SEC_FETCH_SITE);
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

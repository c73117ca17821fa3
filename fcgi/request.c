#include "fcgi/request.h"

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

struct decoder {
    int file;        /* the memory file that libfcgi reads from */
    size_t file_len; /* of the latest request */
    FCGX_Request fcgx;
    struct request request;
    size_t body_max;
    char *body;                    /* body_max + 1 bytes */
    char uri[GATE_PARAMS_MAX + 1]; /* REQUEST_URI, taken apart and decoded in place */
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
    if (strcmp(name, "GET") == 0)
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

/* REQUEST_URI alone means the same behind every web server. Plain CGI (RFC 3875) does not know
 * it: there the path and the query are put together from what it has. Returns the length, or -1
 * if there is no room, which the gate's limit on all parameters rules out. */
static ssize_t copy_uri(struct decoder *decoder)
{
    char **envp = decoder->fcgx.envp;
    const char *uri = FCGX_GetParam("REQUEST_URI", envp);
    const char *parts[] = {uri, NULL, NULL, NULL};
    if (!uri) {
        parts[0] = FCGX_GetParam("SCRIPT_NAME", envp);
        parts[1] = FCGX_GetParam("PATH_INFO", envp);
        parts[2] = "?";
        parts[3] = FCGX_GetParam("QUERY_STRING", envp);
    }
    size_t len = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t part_len = parts[i] ? strlen(parts[i]) : 0;
        if (part_len > sizeof decoder->uri - 1 - len)
            return -1;
        memcpy(decoder->uri + len, parts[i] ? parts[i] : "", part_len);
        len += part_len;
    }
    return (ssize_t)len;
}

void request_split_uri(struct request *request, char *uri, size_t len)
{
    /* Web servers match their rules against the path without the fragment, but pass it on: with
     * "/comet/update#/create" a reader would get past a rule that guards create. */
    char *fragment = memchr(uri, '#', len);
    if (fragment)
        len = (size_t)(fragment - uri);
    uri[len] = '\0';
    char *query = memchr(uri, '?', len);
    size_t path_len = query ? (size_t)(query - uri) : len;
    char *slash = memrchr(uri, '/', path_len);
    char *segment = slash ? slash + 1 : uri;
    request->endpoint = (struct text){segment, path_len - (size_t)(segment - uri)};
    request->query.count = 0;
    request->query.overflow = false;
    if (query) {
        *query = '\0';
        form_parse(&request->query, query + 1, len - path_len - 1);
    }
}

/* Returns false when libfcgi has not the body that the gate saw. */
static bool read_body(struct decoder *decoder, const struct gate *gate)
{
    struct request *request = &decoder->request;
    request->body = (struct text){decoder->body, 0};
    request->form.count = 0;
    request->form.overflow = false;
    request->body_too_large = gate->too_large;

    const char *promised = FCGX_GetParam("CONTENT_LENGTH", decoder->fcgx.envp);
    long long length = promised && *promised ? strtoll(promised, NULL, 10) : -1;
    request->body_cut = length >= 0 && (unsigned long long)length != gate->body_len;

    size_t len = gate->too_large ? 0 : gate->body_len;
    if (len > decoder->body_max ||
        FCGX_GetStr(decoder->body, (int)len, decoder->fcgx.in) != (int)len)
        return false;
    decoder->body[len] = '\0';
    if (request->body_kind == BODY_FORM)
        form_parse(&request->form, decoder->body, len);
    else
        request->body.len = len;
    return true;
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

const struct request *request_decode(struct decoder *decoder, const struct gate *gate,
                                     const uint8_t *bytes)
{
    struct request *request = &decoder->request;
    if (!fill_file(decoder, bytes, gate->scanned) || !libfcgi_decode(decoder))
        return NULL;
    char **envp = decoder->fcgx.envp;
    const char *last = FCGX_GetParam("HTTP_LAST_EVENT_ID", envp);
    request->params = envp + 1; /* the first is libfcgi's own, FCGI_ROLE */
    request->method = method_of(FCGX_GetParam("REQUEST_METHOD", envp));
    request->last_event_id = (struct text){last, last ? strlen(last) : 0};
    request->body_kind = body_kind_of(FCGX_GetParam("CONTENT_TYPE", envp));
    ssize_t uri_len = copy_uri(decoder);
    if (uri_len < 0 || !read_body(decoder, gate)) {
        request_release(decoder);
        return NULL;
    }
    request_split_uri(request, decoder->uri, (size_t)uri_len);
    return request;
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

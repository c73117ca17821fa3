#include "fcgi/relay/trust.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Where there is a folder only, it is looked at for each connection. */
static const char *file_of_system(CURL *easy)
{
    char *file = NULL;
    curl_easy_getinfo(easy, CURLINFO_CAINFO, &file);
    return file;
}

/* What libcurl keeps is kept forever. Not every TLS library can do that, and a proxy's. */
bool trust_set(CURL *easy, const char *file)
{
    const char *from = file ? file : file_of_system(easy);
    if (!from)
        return true;
    (void)curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, -1L);
    (void)curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, NULL);
    return curl_easy_setopt(easy, CURLOPT_CAINFO, from) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK;
}

/* ---- a peer that speaks no TLS ---- */

enum { NAME_SIZE = 16 };

/* Listens on an abstract unix socket, for which the kernel makes up a name (unix(7): autobind).
 * Returns the descriptor, or -1. */
static int open_mute_peer(char name[NAME_SIZE])
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    socklen_t len = sizeof at;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at.sun_family) == 0 &&
        listen(fd, 1) == 0 && getsockname(fd, (struct sockaddr *)&at, &len) == 0) {
        int name_len = (int)(len - sizeof at.sun_family) - 1; /* without the NUL in front */
        snprintf(name, NAME_SIZE, "%.*s", name_len, at.sun_path + 1);
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static void refuse_tls(int listener)
{
    static const char words[] = "not TLS\r\n";
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    (void)send(fd, words, sizeof words - 1, MSG_NOSIGNAL);
    close(fd);
}

/* ---- loading ---- */

static size_t drop_bytes(char *bytes, size_t one, size_t len, void *user)
{
    (void)bytes, (void)user;
    return one * len;
}

static bool set_load_options(CURL *easy, const char *file, const char *name)
{
    CURLcode bad = CURLE_OK;
    bad |= curl_easy_setopt(easy, CURLOPT_URL, "https://localhost/");
    bad |= curl_easy_setopt(easy, CURLOPT_ABSTRACT_UNIX_SOCKET, name);
    bad |= curl_easy_setopt(easy, CURLOPT_PROXY, "");
    bad |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    bad |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop_bytes);
    return bad == CURLE_OK && trust_set(easy, file);
}

/* Returns how the request ended. All happens in this process, so it takes a few rounds. */
static CURLcode run_request(CURLM *multi, CURL *easy, int listener)
{
    enum { ROUNDS = 100, ROUND_MS = 10 };
    int running = 1;
    for (int i = 0; i < ROUNDS && running; i++) {
        curl_multi_perform(multi, &running);
        refuse_tls(listener);
        if (running)
            curl_multi_poll(multi, NULL, 0, ROUND_MS, NULL);
    }
    const CURLMsg *message = curl_multi_info_read(multi, &running);
    return message && message->easy_handle == easy ? message->data.result : CURLE_OK;
}

const char *trust_load(CURLM *multi, const char *file)
{
    char name[NAME_SIZE];
    CURLcode code = CURLE_OK;
    int listener = open_mute_peer(name);
    CURL *easy = curl_easy_init();
    if (listener >= 0 && easy && set_load_options(easy, file, name) &&
        curl_multi_add_handle(multi, easy) == CURLM_OK) {
        code = run_request(multi, easy, listener);
        curl_multi_remove_handle(multi, easy);
    }
    curl_easy_cleanup(easy);
    if (listener >= 0)
        close(listener);
    return code == CURLE_SSL_CACERT_BADFILE ? curl_easy_strerror(code) : NULL;
}

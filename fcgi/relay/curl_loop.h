/* curl_loop.h - runs libcurl's multi interface on the daemon's own loop, which watches its sockets
 * and its deadlines.
 *
 * So libcurl needs no thread and never waits: it is called when one of its sockets is ready or its
 * deadline is over (libcurl-multi(3), "multi_socket"). `done` is called once for each transfer that
 * was added to `multi`, when it is over.
 *
 * Loop's thread only.
 */
#ifndef ENCKE_FCGI_CURL_LOOP_H
#define ENCKE_FCGI_CURL_LOOP_H

#include <curl/curl.h>
#include <stdbool.h>

#include "fcgi/io/loop.h"

struct curl_loop {
    CURLM *multi;
    struct loop *loop;
    int timer_fd; /* libcurl's deadlines: they are too short for the loop's timers */
    struct source timer_source;
    bool due_now; /* libcurl is to be called as soon as possible; setting the timer again is slow */
    /* Called by the loop. easy is still in multi: take it out. It may change multi as it likes. */
    void (*done)(CURL *easy, CURLcode code);
};

/* Connections in use and kept for later use are connections_max together. Returns 0, or -1 with
 * errno set; either way curl_loop_close. */
int curl_loop_open(struct curl_loop *curl_loop, struct loop *loop, unsigned connections_max,
                   void (*done)(CURL *easy, CURLcode code));

/* Every easy handle has been taken out. All zero bytes is allowed. */
void curl_loop_close(struct curl_loop *curl_loop);

#endif

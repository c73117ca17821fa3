/* pause.h - the reader's thread pauses for a moment, so that the write-ahead log can start over.
 *
 * SQLite starts the file of the write-ahead log over when a checkpoint has copied all of it and
 * nobody reads from it any more. A thread that reads page after page from a slow disk is always in
 * the middle of one, and each begins before the last commit. So the file would only grow, and each
 * checkpoint would leave some of it. When the writer has met that, it asks for a pause; the reader
 * waits before its next page until the writer has checkpointed, but not for long: if nothing is
 * committed meanwhile, nothing grows.
 *
 * pause_before_read and pause_after_read are for the reader's thread, the others for any.
 */
#ifndef ENCKE_STORE_PAUSE_H
#define ENCKE_STORE_PAUSE_H

#include <pthread.h>
#include <stdbool.h>

enum { PAUSE_MS = 100 }; /* the longest pause before a page */

struct pause {
    pthread_mutex_t mutex;
    pthread_cond_t over;
    bool wanted;
    bool reading; /* a page is read */
};

void pause_init(struct pause *pause);
void pause_free(struct pause *pause);

/* Before and after each page is read. The first waits while a pause is wanted, for at most
 * PAUSE_MS.
 */
void pause_before_read(struct pause *pause);
void pause_after_read(struct pause *pause);

/* Whether no page is read now. */
bool pause_is_quiet(struct pause *pause);

/* Asks for a pause; ends it. */
void pause_ask(struct pause *pause);
void pause_end(struct pause *pause);

#endif

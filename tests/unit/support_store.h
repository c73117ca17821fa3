/* What the tests of the store share: a log of its own in a temporary directory for each test, verbs
 * that wait for the writer (on log_fd, never by sleeping), and pages written down as text. */
#ifndef ENCKE_TESTS_SUPPORT_STORE_H
#define ENCKE_TESTS_SUPPORT_STORE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#include "store/log.h"

/* The limit of most tests: so many messages, of any size. */
#define UP_TO(count) ((struct page_limit){(count), SIZE_MAX})

enum { PATIENCE_MS = 20000 }; /* until a condition that is waited for counts as missed */

struct store {
    char dir[64];
    char path[96];
    char why[600]; /* of the last store_try_open */
    struct log_options options;
    struct log *log;
    enum log_status last;  /* of the append drained last */
    enum log_status worst; /* of all appends drained since it was set to LOG_OK */
    uint64_t last_seq;     /* its seq */
    uint64_t acknowledged; /* appends drained with LOG_OK */
    bool failed;           /* news said so */
    char text[1 << 16];    /* of the last page */
};

/* For cmocka_unit_test_setup_teardown: *state is a struct store, not opened, with no retention and
 * plenty of memory. The teardown closes it and removes its directory. */
int store_setup(void **state);
int store_teardown(void **state);

/* Opens the log, or returns -1 with store->why. store_open asserts that it works. */
int store_try_open(struct store *store);
void store_open(struct store *store);
enum log_status store_close(struct store *store);
void store_reopen(struct store *store);
/* Closes the log and puts back its files as they were before, as after kill -9: what was not
 * settled stays so. */
void store_crash(struct store *store);

/* Appends a message without waiting; the reference is the log's on LOG_OK. */
enum log_status store_append(struct store *store, struct message *message);
/* Appends without waiting. */
enum log_status store_queue(struct store *store, const char *channel, const char *data);
/* Appends, waits and drains; returns its seq, 0 if it was not written (store->last says why). */
uint64_t store_put(struct store *store, const char *channel, const char *data);
/* Appends `count` messages of one channel as fast as the queue takes them, and waits for all. */
void store_put_many(struct store *store, const char *channel, size_t count);

/* Waits until log_fd is readable (without draining), or asserts. */
void store_wait(struct store *store);
/* Drains once, without waiting. */
void store_drain(struct store *store);
/* Waits and drains until nothing is queued. */
void store_settle(struct store *store);
/* Waits and drains until that many messages are retained. */
void store_settle_at(struct store *store, uint64_t messages);

/* Reads as log_read does; if that needs the disk, waits for it. *page is the caller's. */
enum log_status store_page(struct store *store, const char *const *channels, size_t count,
                           struct cursor cursor, struct page_limit limit, struct page *page);

/* Waits until log_reads_fd is readable, and tells the owners of reads. */
void store_tell_reads(struct store *store);

/* Reads channels (names separated by blanks) and gives the page as text: "1=a 2=b next 2", with
 * " more" and " reset" behind where it says so. Valid until the next one. */
const char *store_read(struct store *store, const char *channels, struct cursor cursor,
                       size_t limit);
/* What it gives when the read fails. */
const char *store_status(enum log_status status);
/* The same for a cursor at seq, and for none. */
const char *store_read_at(struct store *store, const char *channels, uint64_t seq);
const char *store_read_all(struct store *store, const char *channels);

/* What log_read_newest gives: a reference for the caller, NULL for nothing; and the seq of that, 0
 * for nothing. */
struct message *store_newest_message(struct store *store, const char *channel, uint64_t before);
uint64_t store_newest(struct store *store, const char *channel, uint64_t before);

/* Runs SQL on the closed log with a connection of its own, and returns the first integer. */
int64_t store_sql(struct store *store, const char *sql);

/* The path of the file beside the log, with this suffix; the next three calls leave it as it is. */
const char *store_beside(const struct store *store, const char *suffix);

/* Removes the log at path and all that may be beside it, so that the next one starts afresh. */
void store_remove_log(const char *path);

/* Whole files. The copy is for free(). */
char *store_slurp(const char *path, size_t *size);
void store_spit(const char *path, const void *bytes, size_t size);

#endif

/* support_readers.h - what the tests of readers share: the readers of a real log, on the loop, the
 * connections and the clock of support_conn.h; and messages that are published to them.
 */
#ifndef ENCKE_TESTS_SUPPORT_READERS_H
#define ENCKE_TESTS_SUPPORT_READERS_H

#include "tests/unit/support_conn.h"
#include "tests/unit/support_store.h"

#include "fcgi/conn/admission.h"
#include "fcgi/readers/publish.h"
#include "fcgi/readers/readers.h"

enum {
    HOLDS_MAX = 3, /* admission.waiting_max */
    HOLD_MS = 5000,
    HEARTBEAT_MS = 2000, /* readers.heartbeat_ms */
    STREAM_MS = 20000,   /* readers.stream_ms */
    MUCH_MAX = 1 << 20   /* publisher.max_message */
};

extern struct store *store;
extern struct admission admission;
extern struct readers readers;
extern struct publisher publisher;

/* For cmocka_unit_test_setup_teardown. The teardown ends all readers, and asserts that nothing is
 * left of them. */
int readers_setup(void **state);
int readers_start(void **state); /* the same after store_setup, and changes to store->options */
int readers_teardown(void **state);

extern const struct cursor at_start, from_now;

/* What a reader of one channel asks for. */
struct wanted want(const char *channel, enum format format, struct cursor cursor, uint64_t wait_ms);

/* Polls one channel, from a peer of its own: for so many messages at most and so long; or for 100,
 * and HOLD_MS. */
struct peer poll_for(const char *channel, struct cursor cursor, uint32_t limit, uint64_t wait_ms);
struct peer poll_channel(const char *channel, struct cursor cursor);

/* Publishes a message, waits for its commit, and gives it to all readers. */
void publish(const char *channel, const char *data, size_t len);
void publish_word(const char *channel, const char *word);
/* A text of len bytes, at most MUCH_MAX, that ends with a word to look for. */
void publish_much(const char *channel, const char *word, size_t len);

/* Waits until the log's head is past `head`, and gives all that is new to the readers. */
void drain_past(uint64_t head);

/* Lets the log begin anew at that seq, tells all readers, and lets the loop go round. */
void begin_anew(uint64_t floor);

/* Waits for the disk until no read waits for it any more; then lets the loop go round. */
void wait_for_reads(void);

/* Asserts that nobody reads any more, and that nothing is left of those who did. */
void assert_no_readers_left(void);

/* Publishes a message that no reader is given until take_published: steps for a test in which an
 * allocation of the latter is to fail. It ignores the peer. */
void publish_later(const char *channel, const char *word);
void take_published(struct peer *peer);

#endif

/* A log whose file and write-ahead log have been changed, as by a disk that forgets or mixes up: it
 * is refused in words, or read and appended to. What only the write-ahead log has lost, whose
 * frames have sums, is missing from the end and nowhere else; and what an append acknowledges is
 * there. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/log.h"
#include "tests/fuzz/fuzz.h"

enum { FIRST = 30, SECOND = 20, WRITTEN = FIRST + SECOND };
static const char *const CHANNELS[] = {"a", "b", "c"};

struct image {
    char *bytes;
    size_t len;
};
static struct image sound, sound_wal; /* of a log that was not closed */
static char path[128], wal_path[160];

/* ---- the log that is changed ---- */

static struct log *try_open(char *why, size_t why_size)
{
    struct log *log = NULL;
    struct log_options options = {
        .path = path, .memory_bytes = 3000, .queue_bytes = 1 << 20, .reads_bytes = 1 << 20};
    return log_open(&log, &options, why, why_size) == 0 ? log : NULL;
}

static void forget_files(void)
{
    char pattern[140];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s*", path);
    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        unlink(found.gl_pathv[i]);
    globfree(&found);
}

/* The text of the seq-th message: its length runs from a few bytes to more than a page. */
static const char *text_of(uint64_t seq, size_t *len)
{
    static char text[6000];
    *len = (size_t)snprintf(text, sizeof text, "message %llu ", (unsigned long long)seq);
    size_t more = seq % 10 == 0 ? 5000 : seq * 7 % 90;
    memset(text + *len, 'a' + (int)(seq % 26), more);
    *len += more;
    return text;
}

/* Appends one, and waits for it. */
static enum log_status put(struct log *log, const char *channel, const char *text, size_t len)
{
    struct message *message = message_new(channel, text, len, 1700000000000);
    enum log_status status = LOG_NO_MEMORY;
    struct log_news news;
    if (!message || (status = log_append(log, &message, 1, NULL, NULL, NULL)) != LOG_OK) {
        message_drop(message);
        return status;
    }
    for (bool done = false; !done;) {
        fuzz_wait(log_fd(log), "an append is never reported");
        log_drain(log, &news);
        struct append *append;
        STAILQ_FOREACH (append, &news.done, next) {
            status = append->status;
            done = true;
        }
        log_news_free(log, &news);
    }
    return status;
}

static struct image slurp(const char *name)
{
    struct image image = {NULL, 0};
    FILE *file = fopen(name, "re");
    CLAIM(file && fseek(file, 0, SEEK_END) == 0, "%s is missing", name);
    image.len = (size_t)ftell(file);
    image.bytes = malloc(image.len);
    rewind(file);
    CLAIM(image.bytes && fread(image.bytes, 1, image.len, file) == image.len, "%s", name);
    fclose(file);
    return image;
}

static void put_many(struct log *log, uint64_t from, uint64_t to)
{
    for (uint64_t seq = from; seq <= to; seq++) {
        size_t len;
        const char *text = text_of(seq, &len);
        CLAIM(put(log, CHANNELS[seq % 3], text, len) == LOG_OK, "message %llu is not stored",
              (unsigned long long)seq);
    }
}

static void make_images(void)
{
    char why[512];
    snprintf(path, sizeof path, "%s/log.db", fuzz_dir());
    snprintf(wal_path, sizeof wal_path, "%s-wal", path);
    struct log *log = try_open(why, sizeof why);
    CLAIM(log, "%s", why);
    put_many(log, 1, FIRST);
    log_close(log);
    log = try_open(why, sizeof why);
    CLAIM(log, "%s", why);
    put_many(log, FIRST + 1, WRITTEN);
    sound = slurp(path);
    sound_wal = slurp(wal_path);
    log_close(log);
    forget_files();
}

/* ---- the changes ---- */

static void change_bytes(struct choices *choices, char *bytes, size_t len, size_t at)
{
    struct piece piece = choose_piece(choices, 16);
    for (size_t i = 0; i < piece.len && at + i < len; i++)
        bytes[at + i] = (char)piece.bytes[i];
}

/* Changes image as the next decisions say. */
static void change(struct choices *choices, struct image *image)
{
    enum { BYTES, FLIP, SHORTEN, ZEROS, SWAP, KINDS };
    unsigned kind = choose_below(choices, KINDS), page = 1024u << choose_below(choices, 3);
    if (image->len == 0)
        return;
    size_t at = ((size_t)choose_below(choices, 65536) << 8 | choose_byte(choices)) % image->len;
    size_t from = at / page * page, other = from + page;
    if (kind == BYTES)
        change_bytes(choices, image->bytes, image->len, at);
    else if (kind == FLIP)
        image->bytes[at] = (char)(image->bytes[at] ^ (1 << choose_below(choices, 8)));
    else if (kind == SHORTEN)
        image->len = at;
    else if (kind == ZEROS)
        memset(image->bytes + from, 0, page < image->len - from ? page : image->len - from);
    else if (other + page <= image->len) /* a page that was written in another's place */
        memcpy(image->bytes + from, image->bytes + other, page);
}

static void spit(const char *name, const struct image *image)
{
    FILE *file = fopen(name, "we");
    CLAIM(file && fwrite(image->bytes, 1, image->len, file) == image->len && fclose(file) == 0,
          "cannot write %s", name);
}

/* Returns whether the file itself was changed, and not only the write-ahead log. */
static bool write_changed(struct choices *choices)
{
    struct image file = {fuzz_copy(sound.bytes, sound.len), sound.len};
    struct image wal = {fuzz_copy(sound_wal.bytes, sound_wal.len), sound_wal.len};
    bool touched = choose_below(choices, 2) == 1;
    for (unsigned left = choose_below(choices, 4) + 1; left > 0; left--)
        change(choices, touched && choose_below(choices, 2) ? &file : &wal);
    forget_files();
    spit(path, &file);
    spit(wal_path, &wal);
    touched = file.len != sound.len || memcmp(file.bytes, sound.bytes, sound.len) != 0;
    free(file.bytes);
    free(wal.bytes);
    return touched;
}

/* ---- what is read of it ---- */

struct seen {
    uint64_t count, last, sum; /* over the texts */
};

static void look_at(struct seen *seen, const struct message *message, uint64_t intact,
                    uint64_t head)
{
    CLAIM(message->seq > seen->last && message->seq <= head, "message %llu after %llu, head %llu",
          (unsigned long long)message->seq, (unsigned long long)seen->last,
          (unsigned long long)head);
    seen->last = message->seq;
    seen->count++;
    for (size_t i = 0; i < message->data_len; i++)
        seen->sum = seen->sum * 31 + (unsigned char)message_data(message)[i];
    if (message->seq > intact)
        return;
    size_t len;
    const char *text = text_of(message->seq, &len);
    CLAIM(message->data_len == len && memcmp(message_data(message), text, len) == 0 &&
              strcmp(message_channel(message), CHANNELS[message->seq % 3]) == 0,
          "message %llu of %llu is another: channel %s, %.40s", (unsigned long long)message->seq,
          (unsigned long long)head, message_channel(message), message_data(message));
}

struct awaited {
    struct page *page;
    enum log_status status;
    bool over;
};

static void take_page(void *owner, enum log_status status, struct page *page)
{
    struct awaited *awaited = owner;
    awaited->status = status;
    awaited->over = true;
    *awaited->page = *page;
    *page = (struct page){0};
}

/* Reads a page, from memory or from the disk. */
static enum log_status read_page(struct log *log, const char *const *channels, size_t count,
                                 struct cursor cursor, struct page_limit limit, struct page *page)
{
    struct read *read;
    struct awaited awaited = {.page = page};
    enum log_status status = log_read(log, channels, count, cursor, limit, page);
    if (status != LOG_LATER)
        return status;
    status = log_read_later(log, channels, count, cursor, limit, take_page, &awaited, &read);
    if (status != LOG_OK)
        return status;
    while (!awaited.over) {
        fuzz_wait(log_reads_fd(log), "a read is never told");
        log_tell_reads(log, 0);
    }
    return awaited.status;
}

/* Reads all there is, page by page; messages up to intact must be as they were written. Returns how
 * that ended. */
static enum log_status read_all(struct log *log, uint64_t intact, struct seen *seen)
{
    struct cursor cursor = {.kind = CURSOR_START};
    struct page_limit limit = {.messages = 7, .bytes = 1 << 20};
    *seen = (struct seen){0};
    for (bool more = true; more;) {
        struct page page;
        enum log_status status = read_page(log, CHANNELS, 3, cursor, limit, &page);
        if (status != LOG_OK)
            return status;
        CLAIM(!page.more || page.count > 0, "more, but nothing to go on from");
        for (size_t i = 0; i < page.count; i++)
            look_at(seen, page.messages[i], intact, log_head(log));
        cursor = (struct cursor){.kind = CURSOR_AT, .seq = page.next};
        more = page.more;
        page_free(&page);
    }
    return LOG_OK;
}

/* Appends one and finds it again as the last. */
static bool append_one(struct log *log)
{
    static const char text[] = "appended to what was there";
    enum log_status status = put(log, "a", text, strlen(text));
    if (status != LOG_OK)
        return false;
    struct page page;
    struct cursor cursor = {.kind = CURSOR_AT, .seq = log_head(log) - 1};
    static const char *const channel[] = {"a"};
    status = read_page(log, channel, 1, cursor, (struct page_limit){1, 1}, &page);
    CLAIM(status == LOG_OK && page.count == 1 && page.messages[0]->data_len == strlen(text) &&
              memcmp(message_data(page.messages[0]), text, strlen(text)) == 0,
          "what was acknowledged is not there");
    page_free(&page);
    return true;
}

/* What the file of a log that was closed cleanly has is read the same once more. */
static void read_again(const struct seen *before, uint64_t intact)
{
    char why[512] = "";
    struct seen after;
    struct log *log = try_open(why, sizeof why);
    CLAIM(log || (intact == 0 && *why), "it does not open again: %s", why);
    if (!log)
        return;
    if (read_all(log, intact, &after) == LOG_OK)
        CLAIM(after.count == before->count && after.last == before->last &&
                  after.sum == before->sum,
              "%llu messages became %llu", (unsigned long long)before->count,
              (unsigned long long)after.count);
    log_close(log);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (!sound.bytes)
        make_images();
    struct choices choices = {bytes, len};
    struct seen seen = {0};
    char why[512] = "";
    bool touched = write_changed(&choices);
    struct log *log = try_open(why, sizeof why);
    CLAIM(log || *why, "refused without a word");
    CLAIM(log || touched, "a torn write-ahead log shuts the log out: %s", why);
    if (!log)
        return 0;
    uint64_t intact = touched ? 0 : log_head(log);
    enum log_status status = read_all(log, intact, &seen);
    CLAIM(status == LOG_OK || touched, "a torn write-ahead log cannot be read");
    CLAIM(touched || (seen.count == intact && intact >= FIRST), "head %llu, %llu messages",
          (unsigned long long)intact, (unsigned long long)seen.count);
    bool appended = status == LOG_OK && append_one(log);
    CLAIM(appended || touched, "a torn write-ahead log cannot be appended to");
    bool all = appended && read_all(log, intact, &seen) == LOG_OK;
    status = log_close(log);
    if (all && status == LOG_OK)
        read_again(&seen, intact);
    return 0;
}

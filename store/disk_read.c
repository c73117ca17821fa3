#include "store/disk_read.h"

#include <stdlib.h>
#include <string.h>

static size_t question_size(const struct question *question)
{
    size_t size = question->count * (sizeof(char *) + sizeof(uint64_t));
    for (size_t i = 0; i < question->count; i++)
        size += strlen(question->channels[i]) + 1;
    return size;
}

/* All that decides the answer, but for the channels. */
struct question_key {
    uint64_t life, seq;
    struct page_limit limit;
    bool newest;
};

/* Copies the question into the room behind the read. The key's fixed part and the names, each with
 * its NUL, are the key. */
static void copy_question(struct disk_read *disk, const struct question *question)
{
    uint64_t *floors = (uint64_t *)(disk + 1);
    const char **channels = (const char **)(floors + question->count);
    struct question_key key;
    memset(&key, 0, sizeof key); /* its padding too */
    key.life = question->life;
    key.seq = question->seq;
    key.limit = question->limit;
    key.newest = question->newest;
    disk->key = (char *)(channels + question->count);
    memcpy(disk->key, &key, sizeof key);
    char *end = disk->key + sizeof key;
    for (size_t i = 0; i < question->count; i++) {
        channels[i] = end;
        end = stpcpy(end, question->channels[i]) + 1;
    }
    disk->key_len = (size_t)(end - disk->key);
    disk->question = *question;
    disk->question.channels = channels;
    disk->page.floors.each = floors;
    disk->page.after = question->seq;
}

struct disk_read *disk_read_new(const struct question *question)
{
    struct disk_read *disk =
        calloc(1, sizeof *disk + sizeof(struct question_key) + question_size(question));
    if (!disk)
        return NULL;
    TAILQ_INIT(&disk->owners);
    copy_question(disk, question);
    return disk;
}

size_t disk_read_size(const struct disk_read *disk)
{
    return sizeof *disk + sizeof(struct question_key) + question_size(&disk->question);
}

void disk_read_free(struct disk_read *disk)
{
    struct read *read;
    while ((read = TAILQ_FIRST(&disk->owners)) != NULL) {
        TAILQ_REMOVE(&disk->owners, read, link);
        free(read);
    }
    page_free(&disk->page.page);
    free(disk);
}

size_t disk_read_page_bytes(const struct disk_read *disk)
{
    const struct page *page = &disk->page.page;
    size_t bytes = disk_read_size(disk) + page->count * sizeof *page->messages;
    for (size_t i = 0; i < page->count; i++)
        bytes += message_size(page->messages[i]);
    return bytes;
}

/* Any bytes as the JSON of a batch: refused in words, or read as Jansson reads them; and what
 * Jansson reads, if it has the shape of a batch, is not refused. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi/wire/entries.h"
#include "tests/fuzz/fuzz.h"

static bool same_member(const json_t *object, const char *name, struct text text)
{
    const json_t *value = json_object_get(object, name);
    if (!value || !text.bytes)
        return !value && !text.bytes;
    return json_is_string(value) && json_string_length(value) == text.len &&
           memcmp(json_string_value(value), text.bytes, text.len) == 0;
}

static bool has_entry_shape(json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name,
                        value) if (!json_is_string(value) ||
                                   (strcmp(name, "channel") != 0 && strcmp(name, "msg") != 0 &&
                                    strcmp(name, "once") != 0)) return false;
    return json_is_object(object);
}

static bool has_batch_shape(json_t *json)
{
    for (size_t i = 0; i < json_array_size(json); i++)
        if (!has_entry_shape(json_array_get(json, i)))
            return false;
    return json_is_array(json) ? json_array_size(json) > 0 && json_array_size(json) <= ENTRIES_MAX
                               : has_entry_shape(json);
}

static bool lies_within(struct text text, const char *from, size_t len)
{
    return !text.bytes || (text.bytes >= from && text.bytes + text.len < from + len &&
                           text.bytes[text.len] == '\0');
}

/* Reads all entries, and claims of each that Jansson reads the same. */
static bool read_entries(char *text, size_t len, json_t *json)
{
    struct entries entries;
    struct entry entry;
    entries_start(&entries, text, len);
    while (entries_next(&entries, &entry)) {
        size_t i = entries.count - 1;
        json_t *object = entries.array ? json_array_get(json, i) : json;
        CLAIM(lies_within(entry.channel, text, len) && lies_within(entry.message, text, len) &&
                  lies_within(entry.once, text, len),
              "a text of entry %zu is not in the body", i);
        CLAIM(!json || (same_member(object, "channel", entry.channel) &&
                        same_member(object, "msg", entry.message) &&
                        same_member(object, "once", entry.once)),
              "Jansson reads entry %zu as another", i);
    }
    CLAIM(!entries.why || !strpbrk(entries.why, "\"\\"), "it is refused with %s", entries.why);
    CLAIM(entries.count <= ENTRIES_MAX, "%zu entries", entries.count);
    CLAIM(entries.array || entries.count <= 1, "%zu entries of an object", entries.count);
    CLAIM(entries.why || entries.count > 0, "nothing, and nothing is wrong");
    return !entries.why;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    json_t *json =
        json_loadb((const char *)bytes, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    char *text = fuzz_copy(bytes, len);
    bool read = read_entries(text, len, json);
    /* the entries' texts are checked later, so here they need not be UTF-8 */
    bool utf8 = len == 0 || text_is_utf8((struct text){(const char *)bytes, len});
    CLAIM(!read || !utf8 || (json && has_batch_shape(json)), "Jansson refuses what is read");
    CLAIM(read || !json || !has_batch_shape(json), "Jansson reads what is refused");
    json_decref(json);
    free(text);
    return 0;
}

#include "fcgi/readers/wanted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char CHANNEL_NAME_RULE[] = "channel must be 1 to 64 characters of A-Z a-z 0-9 . _ -";

bool channel_name_valid(struct text name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._-";
    return name.len >= 1 && name.len <= CHANNEL_MAX && strspn(name.bytes, allowed) == name.len;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *add_channels(struct wanted *wanted, const struct form *form, size_t most)
{
    static char complaint[64];
    for (size_t i = 0; i < form->count; i++) {
        if (!text_is(form->fields[i].name, "channel"))
            continue;
        if (!channel_name_valid(form->fields[i].value))
            return CHANNEL_NAME_RULE;
        if (wanted->count == most) {
            snprintf(complaint, sizeof complaint, "more than %zu channels in one request", most);
            return complaint;
        }
        wanted->channels[wanted->count++] = form->fields[i].value.bytes;
    }
    return NULL;
}

static const char *parse_channels(struct wanted *wanted, const struct request *request, size_t most)
{
    wanted->count = 0;
    const char *complaint = add_channels(wanted, &request->form, most);
    if (!complaint)
        complaint = add_channels(wanted, &request->query, most);
    if (complaint)
        return complaint;
    if (wanted->count == 0)
        wanted->channels[wanted->count++] = "main";
    if (wanted->count == 1)
        return NULL;
    qsort(wanted->channels, wanted->count, sizeof *wanted->channels, by_name);
    size_t kept = 1;
    for (size_t i = 1; i < wanted->count; i++)
        if (strcmp(wanted->channels[i], wanted->channels[kept - 1]) != 0)
            wanted->channels[kept++] = wanted->channels[i];
    wanted->count = kept;
    return NULL;
}

const char *wanted_number(const struct request *request, const char *name, uint64_t least,
                          uint64_t most, uint64_t standard, uint64_t *value)
{
    static char complaint[96];
    struct text text = request_field(request, name);
    *value = standard;
    if (!text.bytes)
        return NULL;
    if (text_number(text, value) && *value >= least && *value <= most)
        return NULL;
    snprintf(complaint, sizeof complaint, "%s must be a whole number from %llu to %llu", name,
             (unsigned long long)least, (unsigned long long)most);
    return complaint;
}

static const char *parse_format(struct wanted *wanted, const struct request *request,
                                const struct terms *terms)
{
    static char complaint[64];
    struct text as = request_field(request, "as");
    int i = 0;
    while (as.bytes && terms->formats[i].as && !text_is(as, terms->formats[i].as))
        i++;
    wanted->shape.format = terms->formats[i].format;
    if (terms->formats[i].as)
        return NULL;
    const char *other = i > 1 ? terms->formats[1].as : NULL;
    snprintf(complaint, sizeof complaint, "as must be %s%s%s", terms->formats[0].as,
             other ? " or " : "", other ? other : "");
    return complaint;
}

/* The name of a function of the page around the iframe. It is called with what anybody may have
 * published, and whoever makes up the address chooses it: so it must not be able to name what a
 * browser brings along, such as eval or document.write. No such name begins with add_. */
static bool callback_valid(struct text name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789_";
    return name.len > strlen("add_") && name.len <= CALLBACK_MAX &&
           strncmp(name.bytes, "add_", strlen("add_")) == 0 &&
           strspn(name.bytes, allowed) == name.len;
}

static const char *parse_callback(struct wanted *wanted, const struct request *request)
{
    wanted->shape.callback = "";
    if (wanted->shape.format != FORMAT_SCRIPT)
        return NULL;
    struct text callback = request_field(request, "callback");
    wanted->shape.callback = callback.bytes ? callback.bytes : "add_content";
    return !callback.bytes || callback_valid(callback)
               ? NULL
               : "callback must begin with add_, as add_content does, and be at most 64 characters "
                 "of A-Z a-z 0-9 _";
}

/* The id of the last event, as the header says it or, of EventSource's many imitations that can
 * send no header, the address: they append it when they connect again, the newest last. */
static struct text last_event_id(const struct request *request)
{
    struct text last = request->last_event_id;
    const struct form *query = &request->query;
    for (size_t i = query->count; last.len == 0 && i > 0; i--)
        if (text_is(query->fields[i - 1].name, "lastEventId") ||
            text_is(query->fields[i - 1].name, "last_event_id"))
            last = query->fields[i - 1].value;
    return last;
}

const char *wanted_parse(struct wanted *wanted, const struct request *request,
                         const struct terms *terms, size_t max_channels, const char *epoch)
{
    struct text id = request_field(request, "id"), last = last_event_id(request);
    if (!id.bytes || (terms->last_first && last.len > 0))
        id = last;
    wanted->cursor = cursor_parse(id.bytes, id.len, epoch);
    wanted->shape = (struct shape){0};

    uint64_t seconds, limit = 0;
    const char *complaint = parse_channels(wanted, request, max_channels);
    if (!complaint && (request->form.overflow || request->query.overflow))
        complaint = "too many fields";
    if (!complaint)
        complaint = wanted_number(request, "timeout", 0, (uint64_t)terms->wait_max_s,
                                  (uint64_t)terms->wait_s, &seconds);
    if (!complaint)
        complaint = parse_format(wanted, request, terms);
    if (!complaint)
        complaint = parse_callback(wanted, request);
    if (!complaint && !format_streams(wanted->shape.format))
        complaint = wanted_number(request, "limit", 1, LIMIT_MAX, LIMIT_MAX, &limit);
    if (complaint)
        return complaint;
    wanted->wait_ms = request->head ? 0 : seconds * 1000;
    wanted->shape.limit = (uint32_t)limit;
    return NULL;
}

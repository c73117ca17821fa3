#include "fcgi/io/utf8.h"

#include <stdint.h>
#include <string.h>

/* How many bytes at the start, in steps of eight, are ASCII, as most of a text often is. */
static size_t ascii_prefix(const uint8_t *bytes, size_t len)
{
    size_t done = 0;
    for (uint64_t eight; len - done >= sizeof eight; done += sizeof eight) {
        memcpy(&eight, bytes + done, sizeof eight);
        if (eight & UINT64_C(0x8080808080808080))
            break;
    }
    return done;
}

/* How many bytes a character has that begins with this one; 0: none begins with it. */
static size_t character_len(uint8_t lead)
{
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* The second byte shows whether the form is longer than needed, the character is a surrogate, or it
 * is above U+10FFFF. */
static bool second_byte_fits(uint8_t lead, uint8_t second)
{
    uint8_t least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return second >= least && second <= most;
}

/* Returns the length of the first character, or 0 if it is not whole: then *wrong says that more
 * bytes cannot make it whole. */
static size_t first_character(const uint8_t *bytes, size_t len, bool *wrong)
{
    size_t wanted = character_len(bytes[0]);
    *wrong = wanted == 0 || (wanted > 1 && len > 1 && !second_byte_fits(bytes[0], bytes[1]));
    for (size_t i = 2; i < wanted && i < len; i++)
        *wrong |= (bytes[i] & 0xc0) != 0x80;
    return *wrong || wanted > len ? 0 : wanted;
}

size_t utf8_prefix(const char *bytes, size_t len, bool *wrong)
{
    const uint8_t *text = (const uint8_t *)bytes;
    size_t done = ascii_prefix(text, len), step;
    *wrong = false;
    while (done < len && (step = first_character(text + done, len - done, wrong)) > 0) {
        done += step;
        done += ascii_prefix(text + done, len - done);
    }
    return done;
}

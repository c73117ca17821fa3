/* Any bytes, through the gate and what it lets through to libfcgi: both read what the
 * specification says. */
#include "fcgi/wire/request.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct decoder *decoder;
    if (!decoder)
        decoder = decoder_new(REFERENCE_BODY_MAX);
    bool whole;
    unsigned seed = len > 0 ? bytes[len - 1] : 0;
    const char *differs = agree(decoder, bytes, len, seed, &whole);
    CLAIM(!differs, "%s", differs);
    return 0;
}

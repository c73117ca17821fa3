#include "store/decimal.h"

#include <string.h>

size_t decimal_print(char text[DECIMAL_SIZE], uint64_t n)
{
    char digits[DECIMAL_SIZE];
    size_t at = sizeof digits;
    digits[--at] = '\0';
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    memcpy(text, digits + at, sizeof digits - at);
    return sizeof digits - 1 - at;
}

bool decimal_parse(const char *text, size_t len, uint64_t *n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
            return false;
    }
    if (len == 0)
        return false;
    *n = value;
    return true;
}

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

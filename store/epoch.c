#include "store/epoch.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

int epoch_draw(char epoch[EPOCH_LEN + 1])
{
    unsigned char bytes[EPOCH_LEN / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return -1;
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(epoch + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

bool epoch_is_valid(const char *text)
{
    return text && strlen(text) == EPOCH_LEN && strspn(text, "0123456789abcdef") == EPOCH_LEN;
}

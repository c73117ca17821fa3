#include "store/table.h"

#include <sodium/crypto_shorthash.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

static unsigned char secret[crypto_shorthash_KEYBYTES];

/* Before main, and so before there is a second thread or a table. */
__attribute__((constructor)) static void draw_secret(void)
{
    if (getrandom(secret, sizeof secret, 0) == (ssize_t)sizeof secret)
        return;
    perror("encke: no random number for the hash tables");
    abort();
}

unsigned table_hash(const void *key, size_t len)
{
    union {
        unsigned char bytes[crypto_shorthash_BYTES];
        uint32_t words[2];
    } hash;

    crypto_shorthash(hash.bytes, key, len, secret);
    return hash.words[0];
}

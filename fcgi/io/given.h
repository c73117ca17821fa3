/* given.h - the values of an option that may be given several times. */
#ifndef ENCKE_FCGI_GIVEN_H
#define ENCKE_FCGI_GIVEN_H

#include <stddef.h>

enum { GIVEN_MAX = 64 };

struct given {
    size_t count;
    const char *texts[GIVEN_MAX]; /* in their order; of argv, the environment, or copy */
    char *copy;                   /* of the environment's variable; NULL: not from there */
};

#endif

/* fuzz.h - what the fuzz targets share.
 *
 * A target is a file fuzz_NAME.c with LLVMFuzzerTestOneInput, which takes any bytes and claims
 * something about what the daemon makes of them. libFuzzer looks for inputs that break a claim
 * (make fuzz); replay.c runs those that are kept in corpus/NAME (make check).
 *
 * The same input must do the same each time: no clock, no randomness, nothing left of the input
 * before.
 */
#ifndef ENCKE_TESTS_FUZZ_H
#define ENCKE_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* Ends the process, which names the input, unless the claim holds; the words say what is wrong. */
#define CLAIM(holds, ...) ((holds) ? (void)0 : fuzz_fail(__FILE__, __LINE__, __VA_ARGS__))
void fuzz_fail(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));

/* The input as a row of decisions; it goes on with zeros when it has ended. */
struct choices {
    const uint8_t *at;
    size_t left;
};
uint8_t choose_byte(struct choices *choices);
unsigned choose_below(struct choices *choices, unsigned limit); /* limit from 1 to 65536 */

/* Up to most of the bytes that are left, as many as a decision says. */
struct piece {
    const uint8_t *bytes;
    size_t len;
} choose_piece(struct choices *choices, size_t most);

/* A copy with a NUL behind it and nothing else, so that a step further is noticed. Yours to free.
 */
char *fuzz_copy(const void *bytes, size_t len);

/* Whether the bytes are what create takes for a message: UTF-8 (RFC 3629) without NUL. */
bool fuzz_is_text(const void *bytes, size_t len);

/* Waits until fd is readable, as it is to be within a minute, whatever signals come: libFuzzer has
 * a timer. `what` says what it is if it is not. */
void fuzz_wait(int fd, const char *what);

/* A directory of this process's own for files that need not outlive it, in memory where there is
 * such a place; removed at exit. */
const char *fuzz_dir(void);

#endif

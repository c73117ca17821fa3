/* support_memory.h - lets an allocation fail, so that a test can see what becomes of it.
 *
 * It is an allocation of the program (malloc, calloc, realloc, strdup), not one of its libraries:
 * the Makefile links the unit tests with --wrap. It is one of the calling thread, so that each run
 * fails at the same place. A test goes on until there is none left to fail:
 *
 *     unsigned nth = 0;
 *     do {
 *         memory_fail(++nth);
 *         done = what_may_run_out_of_memory();
 *     } while (memory_has_failed());
 */
#ifndef ENCKE_TESTS_SUPPORT_MEMORY_H
#define ENCKE_TESTS_SUPPORT_MEMORY_H

#include <stdbool.h>

/* The nth allocation from now on fails, and no other. */
void memory_fail(unsigned nth);

/* The same of the other threads: of all that they allocate, the nth fails. */
void memory_fail_elsewhere(unsigned nth);

/* Whether it has failed. From now on none fails. */
bool memory_has_failed(void);

#endif

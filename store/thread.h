/* thread.h - threads of the store, and conditions that they wait for.
 *
 * Any thread.
 */
#ifndef ENCKE_STORE_THREAD_H
#define ENCKE_STORE_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* Starts a thread with that name (at most 15 bytes), in which no signal is handled. Returns 0 or
 * the error. */
int thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);

/* Makes a condition whose time nobody can set. */
void condition_init(pthread_cond_t *condition);

/* Waits for the condition, for at most ms. The mutex is held. */
void condition_wait_ms(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t ms);

#endif

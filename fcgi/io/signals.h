/* signals.h - no signal ends the daemon before its requests are answered.
 *
 *     signals_block();                    the first line of main
 *     int fd = signals_open();            for the loop
 *     if (signals_stop(fd)) drain();      when fd is readable
 *
 * Every signal that ends a process by default is blocked in every thread, and read from a
 * descriptor. So a signal that comes before the loop runs waits for it, and no system call is
 * interrupted. Exceptions are the signals of faults in the program (SIGSEGV, SIGABRT and others),
 * and SIGPIPE, which is ignored. A signal that comes before main, while libraries are loaded, ends
 * the process, which holds no request yet.
 */
#ifndef ENCKE_FCGI_SIGNALS_H
#define ENCKE_FCGI_SIGNALS_H

#include <stdbool.h>

/* To be called before any thread is started, since a thread inherits its creator's signal mask. */
void signals_block(void);

/* Returns a descriptor that is readable while a signal waits, and that the caller closes; or -1
 * with errno set. Does not block. */
int signals_open(void);

/* Takes one signal from fd. Returns whether it asks the daemon to stop: SIGTERM, SIGINT or SIGQUIT,
 * or SIGPWR or SIGXCPU, after which it has not much time. Prints a line for any other. Does not
 * block. */
bool signals_stop(int fd);

#endif

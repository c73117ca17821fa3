/* signals.h - no signal ends the daemon without a drain.
 *
 *     signals_block();                    the first line of main
 *     int fd = signals_open();            for the loop
 *     if (signals_stop(fd)) drain();      when fd is readable
 *
 * Every signal that would end a process by default is blocked, in every thread, and read from a
 * descriptor: what comes before the loop runs waits for it, and no call is interrupted. Not those
 * that tell of a fault of the program's own (SIGSEGV, SIGABRT and the like), and SIGPIPE, which is
 * ignored. What comes before main, while libraries are loaded, ends a process that has nothing yet.
 */
#ifndef ENCKE_FCGI_SIGNALS_H
#define ENCKE_FCGI_SIGNALS_H

#include <stdbool.h>

/* Before any thread is started, since threads begin with the mask of who starts them. */
void signals_block(void);

/* Returns a descriptor that is readable while a signal waits, the caller's to close; or -1 with
 * errno. Does not block, as what is below. */
int signals_open(void);

/* Takes one signal. Returns whether it asks the daemon to stop (SIGTERM, SIGINT, SIGQUIT; SIGPWR,
 * SIGXCPU: soon it must); of one that does not, says so on stderr. */
bool signals_stop(int fd);

#endif

#include "fcgi/io/signals.h"

#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fcgi/io/diag.h"

/* Signals of the program's own faults cannot wait; the others do not end a process. */
static const int unblocked[] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGTRAP,
                                SIGSYS,  SIGABRT, SIGPIPE, SIGCHLD, SIGCONT,
                                SIGTSTP, SIGTTIN, SIGTTOU, SIGURG,  SIGWINCH};

static void fill_signal_set(sigset_t *signals)
{
    sigfillset(signals);
    for (size_t i = 0; i < sizeof unblocked / sizeof *unblocked; i++)
        sigdelset(signals, unblocked[i]);
}

void signals_block(void)
{
    sigset_t signals;
    fill_signal_set(&signals);
    sigprocmask(SIG_SETMASK, &signals, NULL);
    /* ignored, not blocked: else each write to a closed socket would leave one to be read */
    signal(SIGPIPE, SIG_IGN);
}

int signals_open(void)
{
    sigset_t signals;
    fill_signal_set(&signals);
    return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

bool signals_stop(int fd)
{
    struct signalfd_siginfo info;
    if (read(fd, &info, sizeof info) != (ssize_t)sizeof info)
        return false;
    switch (info.ssi_signo) {
    case SIGTERM:
    case SIGINT:
    case SIGQUIT:
    case SIGPWR:
    case SIGXCPU:
        return true;
    case SIGHUP:
        diag(DIAG_INFO, "SIGHUP: there is nothing to reload");
        return false;
    default:
        diag(DIAG_INFO, "a signal that means nothing here: %s", strsignal((int)info.ssi_signo));
        return false;
    }
}

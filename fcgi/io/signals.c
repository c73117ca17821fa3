#include "fcgi/io/signals.h"

#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fcgi/io/diag.h"

/* Those that a fault of the program sends to it, cannot be put off; the others end nothing. */
static const int unblocked[] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGTRAP,
                                SIGSYS,  SIGABRT, SIGPIPE, SIGCHLD, SIGCONT,
                                SIGTSTP, SIGTTIN, SIGTTOU, SIGURG,  SIGWINCH};

static void fill(sigset_t *signals)
{
    sigfillset(signals);
    for (size_t i = 0; i < sizeof unblocked / sizeof *unblocked; i++)
        sigdelset(signals, unblocked[i]);
}

void signals_block(void)
{
    sigset_t signals;
    fill(&signals);
    sigprocmask(SIG_SETMASK, &signals, NULL);
    /* ignored, not blocked: each write to a socket that was closed would leave one to be read */
    signal(SIGPIPE, SIG_IGN);
}

int signals_open(void)
{
    sigset_t signals;
    fill(&signals);
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

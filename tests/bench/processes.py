"""Processes that the bench starts: each has a log of its own, and all end, whatever happens.

Each is the head of a process group, so that what it starts itself ends with it; and the kernel ends
it should this program be killed in a way that leaves it no time (setpriv --pdeathsig).
"""
import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import time

PATIENCE_S = 10  # for anything to start; half of it to end by itself
LONGEST_S = 600  # for a program that runs to its end


class Failure(Exception):
    """Why the bench can't go on, and what to do about it: a line for whoever runs it."""


class Stopped(BaseException):
    """The signal of this name asked for the end: what was measured until then is reported."""


class Process:
    """One that runs: `name` is for errors, `log` is what it printed."""

    def __init__(self, name, popen, log):
        self.name, self.popen, self.log, self.pid = name, popen, log, popen.pid

    def ended(self):
        return self.popen.poll() is not None

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait_until(self, condition):
        """Waits until `condition()`, which is false while it raises an OSError."""
        until = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                if condition():
                    return self
            if self.ended() or time.monotonic() > until:
                raise Failure(f"{self.name} did not start: {self.last_words()}")
            time.sleep(0.02)

    def last_words(self):
        """What it said at last, and how it ended."""
        lines = self.log.read_text(errors="replace").splitlines()[-5:] or ["it said nothing"]
        status = self.popen.poll()
        if status is not None:
            how = f"killed by signal {-status}" if status < 0 else f"it ended with status {status}"
            lines[-1] += f" ({how})"
        return "\n".join(lines)


class Processes:
    """All of them. Their logs are in `folder`, as NAME.log."""

    def __init__(self, folder):
        self.folder = folder
        self.running = []

    def start(self, name, *command, stdout=None, env=None):
        """Starts `command` in the background; what it prints goes to its log, or to `stdout`."""
        log = self.folder / f"{name}.log"
        command = ["setpriv", "--pdeathsig", "TERM", *map(str, command)]
        with open(log, "w") as file:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout or file,
                stderr=file,
                env={**os.environ, **(env or {})},
                process_group=0,
            )
        process = Process(name, popen, log)
        self.running.append(process)
        return process

    def run(self, name, *command, env=None):
        """Runs `command` to its end, and returns what it printed."""
        process = self.start(name, *command, stdout=subprocess.PIPE, env=env)
        try:
            text = process.popen.communicate(timeout=LONGEST_S)[0].decode()
        except subprocess.TimeoutExpired:
            self.stop(process)
            raise Failure(f"{name} has not ended after {LONGEST_S} s") from None
        self.finish(process)
        return text

    def finish(self, process):
        """Waits until it has ended by itself; a Failure if it did not end well."""
        process.popen.wait()
        self.running.remove(process)
        if process.popen.returncode:
            raise Failure(f"{process.name} failed: {process.last_words()}")

    def check(self):
        """A Failure if one that should run has ended, and not well."""
        for process in self.running:
            if process.popen.poll():
                raise Failure(f"{process.name} has ended by itself: {process.last_words()}")

    def stop(self, *processes):
        """Asks them to end, and after a while no longer asks."""
        until = time.monotonic() + PATIENCE_S / 2
        for process in processes:
            process.signal(signal.SIGTERM)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.popen.wait(max(0, until - time.monotonic()))
            process.signal(signal.SIGKILL)  # or what is left of its group
            process.popen.wait()
            self.running.remove(process)

    def stop_all(self):
        self.stop(*reversed(self.running))


def temporary_folder(below):
    """One that goes at the end of a `with`, of a name that all can use."""
    if not re.fullmatch(r"[\w./+-]{1,68}", str(below), re.ASCII):
        why = "too long for unix sockets, or not plain enough for configurations"
        raise Failure(f"'{below}' is {why} (--dir)")
    try:
        below.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="run.", dir=below)
    except OSError as error:
        raise Failure(f"can't have a folder in {below}: {error.strerror} (--dir)") from None


def children(pid):
    """The processes that this one started."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def listens(port):
    """True once somebody accepts connections there; raises an OSError before."""
    socket.create_connection(("127.0.0.1", port), 1).close()
    return True


def free_port():
    """A port that nobody has, below those that the kernel gives to clients meanwhile."""
    for port in random.sample(range(20000, 30000), 50):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Failure("no free port found between 20000 and 30000")

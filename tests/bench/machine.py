"""The machine that the figures are of: its description, its limits, and how busy others kept it."""
import contextlib
import os
import platform
import re
import resource
import subprocess
import time
from pathlib import Path

from processes import Failure


def output(*command):
    """What a command prints on either stream; nothing if it can't be run."""
    with contextlib.suppress(OSError):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout.strip()
    return ""


def package(name):
    """The version of a Debian package."""
    return output("dpkg-query", "-W", "-f", "${Version}", name) or "?"


def allow_files(needed, ways_out):
    """Raises the limit of open files, for what is started too, as far as it may be raised."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if 0 <= hard < needed:
        with contextlib.suppress(ValueError, OSError):  # root may raise it, mostly
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, needed))
            hard = needed
    if 0 <= hard < needed:
        raise Failure(
            f"so many connections need {needed} open files, and the hard limit is {hard}: "
            f"raise it (ulimit -Hn), or ask for fewer ({ways_out})"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def sync_ms(folder):
    """The time of one small write that is forced to the disk of this folder."""
    writes, block = 200, bytes(4096)
    file = os.open(folder / "sync", os.O_WRONLY | os.O_CREAT | os.O_DSYNC)
    started = time.monotonic()
    for _ in range(writes):
        os.write(file, block)
    spent = time.monotonic() - started
    os.close(file)
    return spent / writes * 1000


def hardware():
    """Processor, memory and kernel."""
    cpu = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.M)
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1])
    return (
        f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, "
        f"{memory / 1048576:.0f} GiB; Linux {platform.release()}"
    )


def description(folder):
    """Lines of (what, value) about the machine, with the disk of this folder."""
    load = Path("/proc/loadavg").read_text().split()[:3]
    disk = output("findmnt", "-n", "-o", "FSTYPE", "-T", str(folder)) or "disk of an unknown kind"
    return [
        ("machine", hardware()),
        ("load", f"{' '.join(load)} before the first run"),
        ("disk", f"{disk}, {sync_ms(folder):.2f} ms for 4 KiB written and synced"),
    ]


def checkout(root):
    """Which commit this is, if git knows."""
    if not (root / ".git").exists():
        return ""
    return output("git", "-C", root, "describe", "--always", "--dirty")


class Disturbance:
    """How much of the CPU went to others, from now until it is asked.

    Those that were started must have ended by then: only so the kernel tells what they used.
    """

    def __init__(self):
        self.before = self.ticks()

    @staticmethod
    def ticks():
        """Of all processors since the start: all, busy, stolen."""
        line = Path("/proc/stat").read_text().split("\n", 1)[0]
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, line.split()[1:9])
        busy = user + nice + system + irq + softirq
        return busy + idle + iowait + steal, busy, steal

    def shares(self):
        """In percent: of other programs, and of the hypervisor."""
        hz = os.sysconf("SC_CLK_TCK")
        everything, busy, stolen = (
            (now - before) / hz for now, before in zip(self.ticks(), self.before)
        )
        for who in resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN:
            used = resource.getrusage(who)
            busy -= used.ru_utime + used.ru_stime
        everything = everything or 1  # it took no time at all
        return 100 * max(0, busy) / everything, 100 * stolen / everything

"""Stores of messages that are no comet servers, set up to be on the disk before they answer.

Each runs in a folder of its own below the bench's, on the disk where Encke's log is, with Debian's
settings but for what is said here. They listen on unix sockets; NATS, which has none, on loopback.
"""
import contextlib
import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

from processes import Process, children, free_port, listens
from servers import new_folder

CONNECTIONS = 1000  # at a time, for the one that wants to know


@dataclasses.dataclass
class Store:
    """One that runs: `address` is what the program appends calls so."""

    name: str
    address: str
    process: Process

    def pids(self):
        return [self.process.pid, *children(self.process.pid)]


@contextlib.contextmanager
def running(bench, name, under=()):
    """The store of that name; at the end of the `with` it and all that it has are gone.

    `under` is a command that starts it, such as strace.
    """
    folder = new_folder(bench, name)
    address, process = START[name](bench, folder, under)
    try:
        yield Store(name, str(address), process)
    finally:
        bench.processes.stop(process)
        shutil.rmtree(folder)


def start_redis(bench, folder, under):
    """An append-only file, synced before each turn's answers. Neither snapshots nor rewrites of that
    file disturb it."""
    socket = folder / "redis.sock"
    command = ["redis-server", "--port", 0, "--unixsocket", socket, "--dir", folder, "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "always"]
    command += ["--auto-aof-rewrite-percentage", 0]
    process = bench.processes.start(folder.name, *under, *command)
    return socket, process.wait_until(socket.is_socket)


def start_beanstalkd(bench, folder, under):
    """A binlog, synced after each write (-f0)."""
    socket = folder / "beanstalkd.sock"
    command = ["beanstalkd", "-l", f"unix:{socket}", "-b", folder, "-f0"]
    process = bench.processes.start(folder.name, *under, *command)
    return socket, process.wait_until(socket.is_socket)


# ---- NATS ----------------------------------------------------------------------------------------


def start_nats(bench, folder, under):
    """Streams in files, each write synced if it can do that: from 2.10 on. Before, it syncs only every
    two minutes, and answers what the kernel has."""
    port, file = free_port(), folder / "nats.conf"
    for sync in "sync_interval: always", "":
        file.write_text(f"""
            listen: "127.0.0.1:{port}"
            jetstream {{ store_dir: "{folder}"\n {sync} }}
        """)
        check = subprocess.run(["nats-server", "-t", "-c", file], capture_output=True)
        if not check.returncode:
            break
    process = bench.processes.start(folder.name, *under, "nats-server", "-c", file)
    return f"127.0.0.1:{port}", process.wait_until(lambda: listens(port))


# ---- PostgreSQL ----------------------------------------------------------------------------------


def postgresql(program):
    """One of its programs, of the newest version that is installed."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    newest = max(versions, key=lambda it: float(it.parent.name), default=Path("/nowhere"))
    return newest / program


def unprivileged(bench, folder):
    """A command that lets PostgreSQL run, which refuses root, and give it this folder."""
    if os.geteuid() != 0:
        return []
    user = "postgres"  # Debian's package makes it
    shutil.chown(folder, user, user)
    bench.scratch.chmod(0o711)
    # A change of the user forgets who is to end with whom.
    return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--pdeathsig", "TERM"]


def start_postgresql(bench, folder, under):
    """As initdb makes it: fsync, synchronous_commit and full_page_writes are on."""
    as_user, data = unprivileged(bench, folder), folder / "data"
    init = [postgresql("initdb"), "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8"]
    bench.processes.run("initdb", *as_user, *init, "--locale=C", "--no-sync")
    command = [postgresql("postgres"), "-D", data, "-c", "listen_addresses="]
    command += ["-c", f"unix_socket_directories={folder}", "-c", f"max_connections={CONNECTIONS}"]
    process = bench.processes.start(folder.name, *under, *as_user, *command)
    ready = [postgresql("pg_isready"), "-q", "-h", folder]
    return folder, process.wait_until(lambda: not subprocess.run(ready).returncode)


START = {
    "redis": start_redis,
    "postgresql": start_postgresql,
    "nats": start_nats,
    "beanstalkd": start_beanstalkd,
}

"""Scenarios: how soon a client hears of a message, new or old."""
import contextlib
import json
import time

from bench import scenario
from rates import inserts
from servers import Encke, fetch, nginx
from table import ERRORS, Column, Section

FED_AT_ONCE = 200_000  # messages between two signs of life, while a log is made
FROM_DISK = "encke --memory 0"

CHAIN_COLUMNS = (
    Column("p50 ms", "p50_ms", 3, spread=True, alias="commit_p50_ms"),
    Column("/ nginx+encke", "p50_ms", 2, to="nginx+encke"),
    Column("p99 ms", "p99_ms", 3, spread=True, alias="commit_p99_ms"),
    Column("/ nginx+encke", "p99_ms", 2, to="nginx+encke"),
    Column("most ms", "most_ms", 2),
    Column("a second", "messages_a_second", 0),
    Column("CPU us: daemon", "daemon_cpu_us_a_message", 0),
    Column("web", "web_cpu_us_a_message", 0),
    ERRORS,
)


@scenario(
    Section(
        "Publish to receive, one subscriber, {chain} messages one after the other",
        CHAIN_COLUMNS,
        "kind",
        note="nchan keeps messages in memory; SQLite inserts: how long the commit alone takes",
    ),
    full_s=95, quick_s=10,
)
def chain(bench):
    """publish to receive: one subscriber, one message after the other"""
    for _ in bench.turns():
        for kind in "poll", "sse":
            for site in bench.contestants("nginx+encke", "nginx+nchan", "encke"):
                bench.load(site, "chain", "-k", kind, "-m", bench.options.chain, case=kind)
            inserts(bench, 1, case=kind)


class FilledLog(Encke):
    """A daemon with so many messages in one channel, fed as fast as it takes them."""

    ALL = ("--keep-messages", 0, "--keep-bytes", 0)

    def __init__(self, bench, messages, env=None):
        super().__init__(bench, f"log-{messages}", *self.ALL, env=env)
        self.messages = messages
        self.site = nginx(bench, self)
        for done in range(0, messages, FED_AT_ONCE):
            bench.say(f"filling a log: {done} of {messages} messages")
            count = min(FED_AT_ONCE, messages - done)
            bench.unmeasured(self.straight, "feed", "-m", count, "-P", 256)
        self.warm()

    def warm(self):
        """Has the kernel read the file: how fast the disk is, is not asked here."""
        with self.db.open("rb") as file:
            while file.read(1 << 20):
                pass

    def forget(self):
        """A daemon that has none of the log's messages in its own memory takes over."""
        self.bench.processes.stop(self.process)
        self.start(*self.ALL, "--memory", 0)
        self.warm()


@scenario(
    Section(
        "Catching up, 100 messages an answer, from anywhere in logs of so many messages",
        (
            Column("p50 ms", "p50_ms", 3, spread=True),
            Column("p99 ms", "p99_ms", 3, spread=True),
            Column("most ms", "most_ms", 2),
            Column("answers/s", "requests_a_second", 0),
            Column("CPU us: daemon", "daemon_cpu_us_a_request", 0),
            Column("web", "web_cpu_us_a_request", 0),
            ERRORS,
        ),
        "messages",
        note="Encke has the newest 16 MiB in memory, all of a short log; with --memory 0 every "
        "answer is read from the file, which the kernel has in its cache",
    ),
    full_s=215,
)
def catchup(bench):
    """updates from random old cursors, in a short and in a very long log"""
    ask = ("-n", 1, "-t", bench.options.seconds)
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(FilledLog(bench, length)) for length in bench.options.logs]
        for _ in bench.turns():
            for log in logs:
                for site in bench.among(log.site, log.straight):
                    bench.load(site, "catchup", *ask, case=log.messages)
        for log in logs:
            log.forget()
        for _ in bench.turns():
            for log in logs:
                for site in bench.among(log.straight):
                    bench.load(site, "catchup", *ask, name=FROM_DISK, case=log.messages)


class SlowLog(FilledLog):
    """One on a disk that takes long for each read of the database, from `slow` on."""

    def __init__(self, bench, messages):
        self.control = bench.scratch / "fault"
        self.control.write_text("")
        env = {
            "LD_PRELOAD": str(bench.options.fault),
            "FAULT_CONTROL": str(self.control),
            "FAULT_FILES": f"{bench.scratch.resolve()}/",
        }
        super().__init__(bench, messages, env)
        self.forget()
        self.status()  # once it answers, it has read what it needs

    def slow(self):
        self.control.write_text(f"read=delay:{self.bench.options.read}")


    def status(self):
        return json.loads(fetch(f"{self.site.base}status"))

    def waiting(self):
        """How many readers wait for the disk."""
        return self.status()["reads_waiting"]


def live_chain(bench, site, case):
    """A fifth of a chain will do: where the disk stops everybody, a message takes long."""
    bench.load(site, "chain", "-k", "sse", "-m", bench.options.chain // 5, case=case)


def beside_old_pages(bench, log):
    """The chain once more, while so many clients ask for old pages."""
    site, options = log.straight, bench.options
    ask = ("-n", options.paging, "-t", 600, "--give-up", 60)
    pages = bench.processes.start("pages", *bench.load_command(site, "catchup", *ask))
    pages.wait_until(lambda: log.waiting() >= options.paging)
    live_chain(bench, site, "busy")
    row = bench.row(site.name, "busy")
    bench.results.add(row, bench.turn, 1, "reads_waiting", log.waiting())
    bench.results.add(row, bench.turn, 1, "wal_mib", log.status()["wal_bytes"] / 2**20)
    bench.processes.stop(pages)
    while log.waiting():
        time.sleep(0.02)


@scenario(
    Section(
        "Publish to receive, one after the other, where the disk takes {read} ms more for each read",
        (
            Column("p50 ms", "p50_ms", 3, spread=True),
            Column("p99 ms", "p99_ms", 3, spread=True),
            Column("create p50 ms", "ack_p50_ms", 3, spread=True),
            Column("create p99", "ack_p99_ms", 3, spread=True),
            Column("CPU us", "daemon_cpu_us_a_message", 0),
            Column("wait for the disk", "reads_waiting", 0),
            Column("WAL MiB", "wal_mib", 1),
            ERRORS,
        ),
        note="one subscriber; busy: meanwhile {paging} clients page through {old} old messages, from "
        "random places, and none of these is in the kernel's cache",
    ),
    full_s=40,
)
def colddisk(bench):
    """publish to receive, while others read old pages from a slow disk"""
    with SlowLog(bench, bench.options.old) as log:
        log.slow()
        for _ in bench.turns():
            for site in bench.among(log.straight):
                live_chain(bench, site, "quiet")
                beside_old_pages(bench, log)


@scenario(
    Section(
        "{storm} clients come back at once, each from a random one of the last {behind} messages",
        (
            Column("current after s", "current_s", 2, spread=True),
            Column("half of them", "current_p50_s", 2),
            Column("all held", "held_s", 2),
            Column("tried again", "retries", 0),
            Column("MiB", "mib", 0),
            Column("quiet create p50 ms", "quiet_create_p50_ms", 2),
            Column("quiet p99", "quiet_create_p99_ms", 2),
            Column("storm create p50", "storm_create_p50_ms", 1),
            Column("storm p99", "storm_create_p99_ms", 1, spread=True),
            Column("CPU ms: daemon", "daemon_storm_cpu_ms", 0),
            Column("web", "web_storm_cpu_ms", 0),
            ERRORS,
        ),
        note="100 messages/s, before it and meanwhile, by another process; a client that the web "
        "server turns away tries again after a random part of a second",
    ),
    full_s=60, quick_s=6,
)
def storm(bench):
    """thousands of clients that come back with old cursors while messages are published"""
    options = bench.options
    come_back = ("-n", options.storm, "--behind", options.behind, "-t", options.quiet)
    with FilledLog(bench, options.behind) as log:
        for _ in bench.turns():
            for site in bench.among(log.site, log.straight):
                bench.load(site, "storm", *come_back)

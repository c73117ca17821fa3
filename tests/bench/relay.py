"""Scenario: requests that a relay passes to an upstream.

The relay is an Encke of its own behind its own nginx; its upstream another Encke behind a third.
What goes through the relay is the upstream's `update`, so that an answer shows by its message that
it is the upstream's: the relay's own answer, {"ret":"new"}, is counted as wrong.
"""
import dataclasses
import json
import re
import time
from pathlib import Path

from bench import scenario
from fanout import FAN_NOTE, MEMORY_COLUMNS, fan_columns, memory
from processes import free_port, listens
from servers import MESSAGE, Encke, answer_size, fetch, nginx, ready
from table import ERRORS, Column, Section

BAD_UPSTREAMS = ("gigabyte", "hole", "reset", "gone")
BAD_CLIENTS = 25  # for each of those
COUNTED = ("asked", "requests", "answers", "unreachable", "timeout", "status", "broken", "refused")


class Relay:
    """All that takes part, and what the load generator must know to ask through it."""

    def __init__(self, bench):
        self.bench = bench
        self.upstream_daemon = Encke(bench, "upstream")
        self.upstream = nginx(bench, self.upstream_daemon)
        bad_port = free_port()
        bad = bench.processes.start("bad", bench.options.programs / "bad", bad_port)
        bad.wait_until(lambda: listens(bad_port))
        upstreams = {
            "news": f"{self.upstream.base}update",
            **{name: f"http://127.0.0.1:{bad_port}/{name}" for name in BAD_UPSTREAMS},
            "gone": "http://127.0.0.1:1/",  # nobody listens there
        }
        #: Of a daemon that relays to all of them.
        self.daemon_options = [
            word for name, url in upstreams.items() for word in ("--upstream", f"{name}={url}")
        ]
        #: Of load, for polls that are relayed.
        self.polls = ("--poll", "subscribe?upstream=news&id=now", "--relay", "news")
        self.polls += ("--publish-at", self.upstream.base)
        self.daemon = Encke(bench, "relay", *self.daemon_options)
        self.straight = self.daemon.straight
        self.site = nginx(bench, self.daemon)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.daemon.stop()
        self.upstream_daemon.stop()


# ---- relayed polls, one publish at the upstream --------------------------------------------------


def memories(bench, relay):
    """What a poll costs, relayed and not."""
    count = bench.options.relayed
    options = {"table": "relay-memory", "daemon_options": relay.daemon_options}
    memory(bench, count, *relay.polls, name="relayed, the same", case=count, **options)
    memory(bench, count, name="local", case=count, **options)
    for count in bench.options.queries:
        polls = ("--vary", count, *relay.polls)
        memory(bench, count, *polls, name="relayed, all different", case=count, **options)


def one_query(bench, relay, size):
    """Many clients that ask the same, relayed and not."""
    count, rounds = bench.options.relayed, bench.options.rounds
    for site in bench.in_turn((relay.site, relay.straight)):
        for what, polls in bench.in_turn((("relayed", relay.polls), ("local", ()))):
            name = f"{site.name}, {what}"
            bench.load(site, "fanout", "-n", count, "-r", rounds, *polls, name=name)
    bench.program("send loop", "sends", count, size, rounds)


def many_queries(bench, relay):
    """Clients that ask something different each; beside it, the same at the upstream itself."""
    for count in bench.options.queries:
        ask = ("-n", count, "-r", bench.options.rounds, "--vary", count)
        for site in bench.in_turn((relay.site, relay.straight)):
            options = {"name": f"{site.name}, relayed", "case": count, "table": "relay-different"}
            bench.load(site, "fanout", *ask, *relay.polls, **options)
        options["name"] = "the upstream itself"
        bench.load(relay.upstream, "fanout", *ask, **options)


# ---- together ------------------------------------------------------------------------------------


class Crowd:
    """Clients, straight at the daemon, that ask again after each answer, and publishes at a pace.

    At the begin of a `with` all are held; at its end their figures are taken.
    """

    def __init__(self, bench, relay, what, beside=""):
        options = bench.options
        polls = ("--poll", "update?channel=crowd&id=now", "--publish", "create?channel=crowd")
        if what == "relayed":
            polls = relay.polls
        self.bench, self.beside = bench, beside
        self.name = f"{what}, beside {beside}" if beside else what
        self.csv = bench.scratch / "crowd.csv"
        self.command = bench.load_command(
            relay.straight, "streams", "-k", "poll", "-n", options.relayed,
            "--rate", options.pace, "-t", options.seconds + 1, *polls,
        )  # fmt: skip

    def __enter__(self):
        with open(self.csv, "w") as file:
            name = f"crowd of {self.bench.options.relayed}"
            self.process = self.bench.processes.start(name, *self.command, stdout=file)
        self.process.wait_until(lambda: "heap_bytes_a_stream" in self.csv.read_text())

    def __exit__(self, failed, *_):
        if not failed:
            self.bench.processes.finish(self.process)
            lines = self.csv.read_text().splitlines(keepends=True)
            if self.beside:  # the daemon's CPU is not for the crowd alone
                lines = (line for line in lines if "_cpu_" not in line)
            row = self.bench.row(self.name, table="crowd")
            self.bench.results.add_csv(row, self.bench.turn, "".join(lines))


class BadClients:
    """For a `with`: clients of bad upstreams, who ask at once again, each time something new."""

    def __init__(self, bench, relay):
        self.bench, self.relay = bench, relay

    def __enter__(self):
        # Not watched, and nobody is interested in what they say.
        site = dataclasses.replace(self.relay.straight, watch={})
        options = ("-n", BAD_CLIENTS, "-t", 600, "--vary", 1000000000)
        self.processes = [
            self.bench.processes.start(
                f"clients of {name}",
                *self.bench.load_command(
                    site, "rate", *options, rest=f"subscribe?upstream={name}&timeout=2"
                ),
            )
            for name in BAD_UPSTREAMS
        ]

    def __exit__(self, *_):
        self.bench.processes.stop(*self.processes)


def board(bench, relay, what, beside, update):
    """Creates or updates on the relay's own log, behind its nginx."""
    ask = {
        "create": (("--post", f"msg={MESSAGE}", "--expect", '{"id":"'), "create"),
        "update": (("--expect", MESSAGE), update),
    }
    options, rest = ask[what]
    proc = Path(f"/proc/{relay.daemon.process.pid}")
    (proc / "clear_refs").write_text("5")  # the peak of its memory begins anew
    options = ("-n", bench.options.asking, "-t", bench.options.seconds, *options)
    table = f"relay-{what}"
    bench.load(relay.site, "rate", *options, rest=rest, name=beside, table=table)
    peak = re.search(r"VmHWM:\s+(\d+)", (proc / "status").read_text())
    row = bench.row(beside, table=table)
    bench.results.add(row, bench.turn, 1, "peak_mib", int(peak[1]) / 1024)


def together(bench, relay, update):
    """The crowd alone and beside others, and the board beside the crowd."""
    for what in "local", "relayed":
        with Crowd(bench, relay, what):
            pass
    with BadClients(bench, relay), Crowd(bench, relay, "relayed", beside="bad upstreams"):
        pass
    for what in "update", "create":
        board(bench, relay, what, "alone", update)
        for polls in "local", "relayed":
            with Crowd(bench, relay, polls, beside=f"{what}s"):
                board(bench, relay, what, f"beside {polls} polls", update)
        with BadClients(bench, relay):
            time.sleep(1)  # the first of them have been told by now, and ask again
            board(bench, relay, what, "beside bad upstreams", update)
    time.sleep(1)  # the log writes its checkpoint: not in the next turn


def count_bad(bench, relay):
    """What the daemon counted of the bad upstreams."""
    for upstream in json.loads(fetch(f"{relay.site.base}status"))["upstreams"]:
        if upstream["name"] in BAD_UPSTREAMS:
            row = bench.row(upstream["name"], table="relay-bad")
            counts = {**upstream, **upstream["errors"]}
            for what in COUNTED:
                bench.results.add(row, bench.turn, 1, what, counts[what])


ASKED = Column("asked upstream", "under_way", 0)

BOARD_COLUMNS = (
    Column("a second", "requests_a_second", 0, spread=True),
    Column("/ alone", "requests_a_second", 2, to="alone"),
    Column("p50 ms", "p50_ms", 2),
    Column("p99 ms", "p99_ms", 2),
    Column("most ms", "most_ms"),
    Column("peak MiB", "peak_mib"),
    ERRORS,
)

CROWD_COLUMNS = (
    Column("a second", "deliveries_a_second", 0),
    Column("p50 ms", "p50_ms", spread=True),
    Column("p99 ms", "p99_ms", spread=True),
    Column("most ms", "most_ms"),
    Column("daemon CPU us", "daemon_cpu_us_a_delivery"),
    ERRORS,
)


@scenario(
    Section(
        "{relayed} relayed polls, one publish at the upstream: ms since it was sent, and CPU ms",
        (*fan_columns("/ local", "nginx+encke, local"), ASKED),
        note=FAN_NOTE,
    ),
    Section(
        "Different polls, an upstream request each",
        (*fan_columns("/ upstream's", "the upstream itself"), ASKED),
        "polls",
        table="relay-different",
    ),
    Section(
        "Memory of a poll in the daemon, and what all cost in {idle} s of nothing",
        MEMORY_COLUMNS,
        "polls",
        table="relay-memory",
    ),
    Section(
        "Updates with a message ready, behind nginx, and {relayed} polls answered {pace} times/s",
        BOARD_COLUMNS,
        table="relay-update",
    ),
    Section("Creates, likewise", BOARD_COLUMNS, table="relay-create"),
    Section(
        "Those {relayed} polls, asked again once answered, at the daemon",
        CROWD_COLUMNS,
        table="crowd",
    ),
    Section(
        f"The bad upstreams, for {BAD_CLIENTS} clients each that ask at once again, never the same",
        tuple(Column(what, what, 0) for what in COUNTED),
        table="relay-bad",
    ),
    full_s=195,
)
def relay(bench):
    """polls that are passed to an upstream, and bad upstreams"""
    with Relay(bench) as relay:
        size = answer_size(relay.site)
        memories(bench, relay)
        for _ in bench.turns():
            one_query(bench, relay, size)
            many_queries(bench, relay)
        update = ready(relay.site)
        for _ in bench.turns((bench.options.repeats + 1) // 2):
            together(bench, relay, update)
        count_bad(bench, relay)

"""Scenario: messages a second, beside stores that too are on the disk before they answer."""
import contextlib
import re

import stores
from bench import scenario
from rates import A_COMMIT, encke_creates, rate_columns
from servers import Encke
from table import Column, Section

#: The calls after which something is on the disk, and those that write it; a line of strace.
SYNCS = "fsync,fdatasync,sync_file_range,msync,sync,syncfs"
WRITES = "write,writev,pwrite64,pwritev,pwritev2"
CALL = re.compile(r"(\w+)\((?:\w+<(.*?)>|).*\) = (\d+)")
FIGURES = "syncs_a_message", "written_bytes_a_message"


@scenario(
    Section(
        "Creates beside stores, each asked straight and on the disk before its answer",
        rate_columns(("/ encke", "encke"), more=(A_COMMIT,)),
        "bytes, publishers",
        note="nginx+encke is for information; a commit: how many messages Encke has in one",
    ),
    Section(
        "What the same do for a message of 60 bytes",
        (
            Column("syncs", "syncs_a_message", 3),
            Column("bytes written to files", "written_bytes_a_message", 0),
        ),
        "publishers",
        table="calls",
        note="counted by strace, in a run of its own",
    ),
    full_s=660,
)
def durable(bench):
    """creates a second, beside stores that too are on the disk before they answer"""
    with contextlib.ExitStack() as stack:
        boards = list(bench.contestants("nginx+encke", "encke"))
        taking_part = filter(bench.takes_part, stores.START)
        peers = [stack.enter_context(stores.running(bench, name)) for name in taking_part]
        for _ in bench.turns():
            for size in bench.options.sizes:
                for count in bench.options.publishers:
                    take_turns(bench, boards, peers, size, count)
    for name in filter(bench.takes_part, ("encke", *stores.START)):
        count_calls(bench, name)


def take_turns(bench, boards, peers, size, count):
    case = f"{size}, {count}"
    for it in bench.in_turn([*boards, *peers]):
        if it in boards:
            encke_creates(bench, it, count, bench["nginx+encke"], "x" * size, case)
        else:
            appends = ["-c", "-t", bench.options.seconds, "-s", size, "-n", count]
            watch = ["-w", f"daemon={','.join(map(str, it.pids()))}"]
            bench.measure(bench.row(it.name, case), append_command(bench, it, *appends, *watch))


def append_command(bench, store, *options):
    return [bench.options.programs / "appends", *options, store.name, store.address]


# ---- what is synced ------------------------------------------------------------------------------


def count_calls(bench, name):
    """How often a contestant syncs for a message, and how much it writes, of one publisher and of
    many."""
    trace = bench.scratch / f"trace-{name}"
    trace.mkdir()
    under = ["strace", "-ff", "-qq", "-y", "-s0", "--seccomp-bpf", "-e", f"trace={SYNCS},{WRITES}"]
    with start_under(bench, name, [*under, "-o", trace / "calls"]) as publish:
        publish(1, 10)  # what comes with the first message is no part of it
        for count, messages in (1, 1000), (64, 8000):
            before = calls(trace)
            publish(count, messages)
            row = bench.row(name, count, "calls")
            for figure, now, then in zip(FIGURES, calls(trace), before):
                bench.results.add(row, bench.turn, 1, figure, (now - then) / messages)


@contextlib.contextmanager
def start_under(bench, name, under):
    """A contestant that is started by this command; gives a function that publishes so many messages
    from so many publishers."""
    if name == "encke":
        with Encke(bench, "calls", under=under) as daemon:
            yield lambda count, messages: bench.unmeasured(
                daemon.straight, "feed", "-P", count, "-m", messages
            )
    else:
        with stores.running(bench, name, under) as store:
            yield lambda count, messages: bench.processes.run(
                "appends", *append_command(bench, store, "-n", count, "-m", messages)
            )


def calls(trace):
    """How many syncs it has, and how many bytes were written to files by then."""
    syncs = written = 0
    for file in trace.iterdir():
        for line in file.open(errors="replace"):
            if not CALL.match(line):
                continue
            call, on, result = CALL.match(line).groups("")
            if call in WRITES.split(","):
                written += int(result) if on.startswith("/") else 0  # a socket has no path
            else:
                syncs += 1
    return syncs, written

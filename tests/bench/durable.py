"""Scenario: messages a second, beside stores that too are on the disk before they answer."""
import contextlib
import re

import stores
from bench import scenario
from rates import A_COMMIT, encke_creates, rate_columns
from servers import Encke
from table import Column, Section

#: What is counted: the calls after which something is on the disk, and those that write it; each with
#: publishers and messages. (To look at each write would make the writers slow, and so commits small.)
SYNCS = "fsync,fdatasync,sync_file_range,msync,sync,syncfs"
WRITES = "write,writev,pwrite64,pwritev,pwritev2"
COUNTED = (
    ("syncs_a_message", SYNCS, ((1, 1000), (64, 20000))),
    ("written_bytes_a_message", WRITES, ((1, 1000),)),
)
CALL = re.compile(r"(\w+)\((?:\w+<(.*?)>|).*\) = (\d+)")  # a line of strace


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
        note="counted by strace, in runs of their own",
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
        for what in COUNTED:
            count_calls(bench, name, *what)


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


def count_calls(bench, name, figure, calls, runs):
    """What these calls come to for a message of a contestant."""
    trace = bench.scratch / f"{figure}-{name}"
    trace.mkdir()
    under = ["strace", "-ff", "-qq", "-y", "-s0", "--seccomp-bpf", "-e", f"trace={calls}"]
    with start_under(bench, name, [*under, "-o", trace / "calls"]) as publish:
        publish(1, 10)  # what comes with the first message is no part of it
        for publishers, messages in runs:
            before = counted(trace)
            publish(publishers, messages)
            row = bench.row(name, publishers, "calls")
            bench.results.add(row, 1, 1, figure, (counted(trace) - before) / messages)


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


def counted(trace):
    """The syncs that it has by now, or the bytes that were written to files."""
    lines = (line for file in trace.iterdir() for line in file.open(errors="replace"))
    calls = (call.groups("") for call in map(CALL.match, lines) if call)
    return sum(weight(*call) for call in calls)


def weight(call, on, result):
    if call not in WRITES.split(","):
        return 1
    return int(result) if on.startswith("/") else 0  # a socket has no path

"""Scenarios: many long polls are held, then one message is published."""
from bench import scenario
from servers import Encke, answer_size, two_workers
from table import ERRORS, Column, Section

HOLDERS = (
    "nginx+encke", "nginx+nchan", "nginx+holder", "lighttpd+encke", "lighttpd+holder",
    "nginx+tornado", "nginx+gevent", "encke", "tornado", "gevent",
)  # fmt: skip
SLOW = ("tornado", "gevent")  # so they have fewer rounds
FAN_NOTE = "send loop: last is when all was read, daemon CPU that of its sends"


def fan_columns(label="/ nginx+encke", to="nginx+encke"):
    """Times since the publish was sent, and what it cost; the last answer as a ratio, too."""
    return (
        Column("first", "first_ms"),
        Column("median", "median_ms"),
        Column("p99", "p99_ms"),
        Column("last", "last_ms", spread=True, alias="read_ms"),
        Column(label, "last_ms", 2, to=to),
        Column("last - ack", "last_after_ack_ms"),
        Column("ack", "ack_ms"),
        Column("daemon CPU", "daemon_cpu_ms", spread=True, alias="send_cpu_ms"),
        Column("web CPU", "web_cpu_ms"),
        Column("client CPU", "load_cpu_ms"),
        ERRORS,
    )


MEMORY_COLUMNS = (
    Column("resident bytes", "daemon_rss_bytes_a_hold", 0),
    Column("of it heap", "daemon_heap_bytes_a_hold", 0),
    Column("CPU ms", "daemon_idle_cpu_ms", 2),
    Column("wake-ups", "daemon_idle_wakeups", 0),
)


def memory(bench, count, *load_options, name="encke", case="", table=None, daemon_options=()):
    """What a hold costs, in a daemon of its own.

    It has answered and held some before, so that what is allocated once is not counted; but nobody
    has created a message, or the checkpoint after it would be found in the idleness.
    """
    options = bench.options
    with Encke(bench, "memory", *daemon_options) as daemon:
        straight = daemon.straight
        warm_up = "update?id=now&timeout=0"
        bench.unmeasured(straight, "rate", "-n", 50, "-t", 1, rest=warm_up)
        if load_options:
            bench.unmeasured(straight, "fanout", "-n", 50, "-r", 2, *load_options)
        hold = ("-n", count, "-r", 1, "--idle", options.idle, *load_options)
        bench.load(straight, "fanout", *hold, name=name, case=case, table=table)


@scenario(
    Section(
        "Held updates, one publish: ms since it was sent, and CPU ms",
        fan_columns(),
        "holds",
        note=FAN_NOTE,
    ),
    Section(
        "A held update in the daemon, and what all cost in {idle} s of nothing",
        MEMORY_COLUMNS,
        "holds",
        table="memory",
    ),
    full_s=220, quick_s=8,
)
def fanout(bench):
    """many held updates, one publish; what a hold costs while nothing happens"""
    options = bench.options
    memory(bench, max(options.holds), table="memory", case=max(options.holds))
    size = answer_size(bench["nginx+encke"])
    for _ in bench.turns():
        for count in options.holds:
            for contestant in bench.contestants(*HOLDERS):
                slow = contestant.name.endswith(SLOW)
                rounds = (options.rounds + 2) // 3 if slow else options.rounds
                bench.load(contestant, "fanout", "-n", count, "-r", rounds, case=count)
            bench.program("send loop", "sends", count, size, options.rounds, case=count)


@scenario(
    Section(
        "The same, each nginx with two workers: ms since it was sent, and CPU ms",
        fan_columns(),
        "holds",
    ),
    full_s=65,
)
def workers(bench):
    """fanout behind nginx with two workers"""
    sites = two_workers(bench, "nginx+encke", "nginx+nchan", "nginx+holder")
    for _ in bench.turns():
        for count in bench.options.crowds:
            for site in bench.in_turn(sites):
                bench.load(site, "fanout", "-n", count, "-r", bench.options.rounds, case=count)

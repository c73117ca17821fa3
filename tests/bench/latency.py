"""Scenarios: how soon a client hears of a message, new or old."""
from bench import scenario
from table import ERRORS, Column, Section

CHAIN_COLUMNS = (
    Column("p50 ms", "p50_ms", 3, spread=True),
    Column("/ encke", "p50_ms", 2, to="nginx+encke"),
    Column("p99 ms", "p99_ms", 3, spread=True),
    Column("/ encke", "p99_ms", 2, to="nginx+encke"),
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
    )
)
def chain(bench):
    """publish to receive: one subscriber, one message after the other"""
    for _ in bench.turns():
        for kind in "poll", "sse":
            for site in bench.contestants("nginx+encke", "nginx+nchan", "encke"):
                bench.load(site, "chain", "-k", kind, "-m", bench.options.chain, case=kind)

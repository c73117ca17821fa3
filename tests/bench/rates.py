"""Scenarios: so many connections that ask as fast as they are answered."""
from bench import scenario
from servers import MESSAGE, ready
from table import ERRORS, Column, Section

RATE_COLUMNS = (
    Column("a second", "requests_a_second", 0, spread=True),
    Column("/ encke", "requests_a_second", 2, to="nginx+encke"),
    Column("/ hello", "requests_a_second", 2, to="nginx+hello"),
    Column("p50 ms", "p50_ms", 2),
    Column("p99 ms", "p99_ms", 2),
    Column("most ms", "most_ms"),
    Column("CPU us: daemon", "daemon_cpu_us_a_request"),
    Column("web", "web_cpu_us_a_request"),
    Column("client", "load_cpu_us_a_request"),
    ERRORS,
)


def rate(bench, contestant, count, *options, rest="", case=""):
    options = ("-n", count, "-t", bench.options.seconds, *options)
    bench.load(contestant, "rate", *options, rest=rest, case=case)


CREATORS = ("nginx+encke", "nginx+nchan", "nginx+hello", "encke")


@scenario(
    Section(
        "Creates; Encke's each on disk before its answer (synchronous=FULL)",
        RATE_COLUMNS,
        "publishers",
        note="(nchan keeps messages in memory; hello none at all)",
    )
)
def create(bench):
    """creates a second, of so many publishers"""
    for _ in bench.turns():
        for count in bench.options.publishers:
            for contestant in bench.contestants(*CREATORS):
                post = contestant.form + MESSAGE
                rate(bench, contestant, count, "--post", post, rest=contestant.publish, case=count)


@scenario(Section("Updates with a message ready", RATE_COLUMNS))
def update(bench):
    """updates a second, each with a message ready"""
    rest = ready(bench["nginx+encke"])
    for _ in bench.turns():
        for contestant in bench.contestants("nginx+encke", "nginx+hello", "encke"):
            rate(bench, contestant, bench.options.asking, rest=rest)
        for contestant in bench.contestants("nginx return"):
            rate(bench, contestant, bench.options.asking)


@scenario(Section("Status", RATE_COLUMNS), quick=False)
def status(bench):
    """the daemon's status a second"""
    for _ in bench.turns():
        for contestant in bench.contestants("nginx+encke", "nginx+hello", "encke"):
            rate(bench, contestant, bench.options.asking, rest="status")

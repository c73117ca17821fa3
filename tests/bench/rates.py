"""Scenarios: so many connections that ask as fast as they are answered."""
import json

from bench import scenario
from servers import MESSAGE, Encke, fetch, nginx, ready
from table import ERRORS, Column, Section


def rate_columns(*to, more=()):
    """So many a second, and how that is to others, by (label, contestant); `more` behind that."""
    rate = ("requests_a_second", "inserts_a_second")
    return (
        Column("a second", rate[0], 0, spread=True, alias=rate[1]),
        *(Column(label, rate[0], 2, to=name, alias=rate[1]) for label, name in to),
        *more,
        Column("p50 ms", "p50_ms", 2, alias="commit_p50_ms"),
        Column("p99 ms", "p99_ms", 2, alias="commit_p99_ms"),
        Column("CPU us: daemon", "daemon_cpu_us_a_request"),
        Column("web", "web_cpu_us_a_request"),
        Column("client", "load_cpu_us_a_request"),
        ERRORS,
    )


TO_ENCKE, TO_HELLO = ("/ nginx+encke", "nginx+encke"), ("/ hello", "nginx+hello")
TO_INSERTS = ("/ inserts", "SQLite inserts")
RATE_COLUMNS = rate_columns(TO_ENCKE, TO_HELLO)
A_COMMIT = Column("a commit", "messages_a_commit")
CREATORS = ("nginx+encke", "encke", "nginx+nchan", "nginx+hello")
ARRAYS = 10, 100
INSERTS = "inserts.db"  # a file of the bench's folder, and so on the log's disk


def rate(bench, contestant, count, *options, rest="", case="", expect=""):
    """So many connections that ask. Encke's answers must have this text in them."""
    options = ("-n", count, "-t", bench.options.seconds, *options)
    if expect and contestant.name.endswith("encke"):  # of hello all answers are the same
        options += ("--expect", expect)
    bench.load(contestant, "rate", *options, rest=rest, case=case)


def creates(bench, contestant, count, message=MESSAGE, case=""):
    """So many publishers that create, each the next as soon as the last is acknowledged."""
    post = ("--post", contestant.form + message)
    rest, answer = contestant.publish, '{"id":"'
    rate(bench, contestant, count, *post, rest=rest, case=case or count, expect=answer)


def encke_creates(bench, contestant, count, site, message=MESSAGE, case=""):
    """The same at an Encke, of which `site` tells the status: also how many are in a commit."""
    before = json.loads(fetch(f"{site.base}status"))
    creates(bench, contestant, count, message, case)
    after = json.loads(fetch(f"{site.base}status"))
    messages, commits = (after[name] - before[name] for name in ("creates", "commits"))
    row = bench.row(contestant.name, case or count)
    bench.results.add(row, bench.turn, 1, "messages_a_commit", messages / max(commits, 1))


def inserts(bench, group, case="", env=None):
    """SQLite alone on the same disk, so many messages a commit."""
    command = ("-t", bench.options.seconds, bench.scratch / INSERTS, group)
    bench.program("SQLite inserts", "inserts", *command, case=case, env=env)


@scenario(
    Section(
        "Creates; Encke's each on disk before its answer (synchronous=FULL)",
        rate_columns(TO_ENCKE, TO_HELLO, TO_INSERTS, more=(A_COMMIT,)),
        "publishers",
        note="nchan keeps messages in memory, hello none at all; SQLite inserts: without any "
        "request, one commit for as many messages as there are publishers; a commit: how many "
        "messages Encke has in one",
    ),
    full_s=220, quick_s=13,
)
def create(bench):
    """creates a second, of so many publishers"""
    for _ in bench.turns():
        for count in bench.options.publishers:
            for contestant in bench.contestants(*CREATORS):
                if contestant.name.endswith("encke"):
                    encke_creates(bench, contestant, count, bench["nginx+encke"])
                else:
                    creates(bench, contestant, count)
            inserts(bench, count, case=count)


def messages(bench, contestant, case, size):
    """Notes how many messages its requests were in this turn, if each had so many."""
    row = bench.row(contestant.name, case)
    for requests in bench.results.turns[row, "requests_a_second"][bench.turn]:
        bench.results.add(row, bench.turn, 1, "messages_a_second", requests * size)


def arrays(bench, contestant, count, size):
    """So many publishers that send arrays of so many messages."""
    post = ("--post", json.dumps([{"msg": MESSAGE}] * size), "--type", "application/json")
    rate(bench, contestant, count, *post, rest="batch", case=size, expect='[{"id":"')
    messages(bench, contestant, size, size)


@scenario(
    Section(
        "Messages in arrays, of {asking} publishers",
        (
            Column("messages a second", "messages_a_second", 0, spread=True),
            Column("p50 ms", "p50_ms", 2),
            Column("p99 ms", "p99_ms", 2),
            Column("CPU us an array: daemon", "daemon_cpu_us_a_request"),
            Column("web", "web_cpu_us_a_request"),
            ERRORS,
        ),
        "in an array",
        note="create: one by one, without an array",
    ),
    full_s=80,
)
def batch(bench):
    """messages a second, in arrays of so many"""
    count = bench.options.asking
    for _ in bench.turns():
        for contestant in bench.contestants("nginx+encke", "encke"):
            creates(bench, contestant, count, case="create")
            messages(bench, contestant, "create", 1)
            for size in ARRAYS:
                arrays(bench, contestant, count, size)


@scenario(
    Section(
        "Creates where the disk takes {fsync} ms more for each fsync",
        rate_columns(TO_INSERTS, more=(A_COMMIT,)),
        "publishers",
        note="SQLite inserts: one message a commit, whatever the publishers",
    ),
    full_s=60,
)
def slowdisk(bench):
    """creates where fsync is slow"""
    control = bench.scratch / "fault"
    control.write_text(f"sync=delay:{bench.options.fsync}")
    slow = {
        "LD_PRELOAD": str(bench.options.fault),
        "FAULT_CONTROL": str(control),
        "FAULT_FILES": f"{bench.scratch.resolve()}/",
    }
    with Encke(bench, "slowdisk", env=slow) as daemon:
        site = nginx(bench, daemon)
        for _ in bench.turns():
            for count in (1, 64, 256):
                encke_creates(bench, site, count, site)
                inserts(bench, 1, case=count, env=slow)


@scenario(Section("Updates with a message ready", RATE_COLUMNS), full_s=45, quick_s=9)
def update(bench):
    """updates a second, each with a message ready"""
    rest = ready(bench["nginx+encke"])
    for _ in bench.turns():
        for contestant in bench.contestants("nginx+encke", "nginx+hello", "encke"):
            rate(bench, contestant, bench.options.asking, rest=rest, expect=MESSAGE)
        for contestant in bench.contestants("nginx return"):
            rate(bench, contestant, bench.options.asking)


@scenario(Section("Status", RATE_COLUMNS), full_s=32)
def status(bench):
    """the daemon's status a second"""
    for _ in bench.turns():
        for contestant in bench.contestants("nginx+encke", "nginx+hello", "encke"):
            rate(bench, contestant, bench.options.asking, rest="status", expect='"holds":')

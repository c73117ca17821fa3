"""What the figures are to be, and whether they are: each target is checked by what was measured.

A ratio is the median of those within a turn, as in the tables; met or missed is decided by that,
and "within the spread" where some turns say one thing and some the other.
Beside what is missed stands what the floors below it have reached, in the same turns. Who answers
with errors misses: what it did not do costs it nothing.
"""
import dataclasses

import stores
from latency import FROM_DISK
from table import aligned, shown


@dataclasses.dataclass(frozen=True)
class Floor:
    """What is measured without all that the contestant does beyond this: where it misses, too, a
    reason why the contestant does."""

    what: str
    contestant: str
    figure: str = ""  # if it is not the target's
    to: str = ""  # likewise
    always: bool = False  # show it where it is no such reason, too


@dataclasses.dataclass(frozen=True)
class Target:
    """A bound for a figure of a contestant; or for its ratio `to` another, or to another figure."""

    what: str
    scenario: str
    contestant: str
    figure: str
    least: float = None
    most: float = None
    to: str = ""
    to_figure: str = ""
    to_first_case: bool = False
    cases: tuple = ()  # only in these
    floors: tuple = ()

    def rows(self, results):
        """Those of the cases that it is about."""
        rows = [row for row in results.rows(self.scenario) if row[2] == self.contestant]
        if self.to_first_case:
            rows = rows[1:]
        return [row for row in rows if not self.cases or row[1] in self.cases]

    def other(self, results, row, to=""):
        """The row that this one is compared with; perhaps itself."""
        case = results.rows(self.scenario)[0][1] if self.to_first_case else row[1]
        return self.scenario, case, to or self.to or self.contestant

    def measured(self, results, row, figure, to=""):
        """The figure of a row, or what it is to that which the target says; None if it has none."""
        if not (self.to or self.to_figure or self.to_first_case):
            return results.spread(row, figure)
        other = self.other(results, row, to)
        return results.ratio(row, figure, other, self.to_figure or self.figure)

    def wrong(self, results, row):
        """Which contestants had errors, of this row and of that which it is compared with."""
        rows = dict.fromkeys((row, self.other(results, row)))
        return " and ".join(dict.fromkeys(it[2] for it in rows if results.wrong(it)))

    def lines(self, results):
        """Cells for each case of which there are figures, and below a miss for its floors."""
        for row in self.rows(results):
            where = " ".join(filter(None, row[:2]))
            wrong = self.wrong(results, row)
            if wrong:
                yield [where, self.what, f"errors of {wrong}", self.verdict(0)[0], "missed"]
                continue
            spread = self.measured(results, row, self.figure)
            if not spread:
                continue
            bound, met = self.verdict(round(spread.median, 2))  # as it is shown
            verdict = "met" if met else "missed"
            if self.verdict(spread.least)[1] != self.verdict(spread.most)[1]:
                verdict += ", within the spread"
            yield [where, self.what, shown(spread, 2), bound, verdict]
            for floor in () if met else self.floors:
                reached = (*row[:2], floor.contestant)
                if results.wrong(reached):
                    continue
                figure = floor.figure or self.figure
                spread = self.measured(results, reached, figure, floor.to)
                missed = spread and not self.verdict(round(spread.median, 2))[1]
                if missed or spread and floor.always:
                    yield ["", f"  floor: {floor.what}", shown(spread, 2), "", ""]

    def verdict(self, measured):
        """The bound as text, and whether this is within it."""
        if self.most is None:
            return f">= {self.least:g}", measured >= self.least
        return f"<= {self.most:g}", measured <= self.most


ENCKE, NCHAN = "nginx+encke", "nginx+nchan"
HOLDER = Floor("a backend that only holds and sends", "nginx+holder")
LIGHTTPD_HOLDER = Floor("lighttpd's with such a backend", "lighttpd+holder")
STRAIGHT = Floor("without the web server", "encke", to="encke", always=True)
STRAIGHT_TO_HELLO = Floor("without the web server", "encke", always=True)
HELLO = Floor("a bare libfcgi responder", "nginx+hello")
INSERTS = Floor("SQLite alone, as many messages a commit", "SQLite inserts", "inserts_a_second")
COMMIT_P50 = Floor("one SQLite commit alone", "SQLite inserts", "commit_p50_ms")
COMMIT_P99 = Floor("one SQLite commit alone", "SQLite inserts", "commit_p99_ms")
NO_MEMORY = Floor(f"{FROM_DISK}: all from the file", FROM_DISK, to=FROM_DISK, always=True)
TO_HOLDER = "even to a backend that only holds and sends"

TARGETS = (
    Target(
        "last answer, to nchan's", "fanout", ENCKE, "last_ms",
        most=1, to=NCHAN, floors=(HOLDER,),
    ),
    Target(
        "last answer, to nchan's", "workers", ENCKE, "last_ms",
        most=1, to=NCHAN, floors=(HOLDER,),
    ),
    Target(
        "Tornado's last, to Encke's, behind nginx", "fanout", "nginx+tornado", "last_ms",
        least=5, to=ENCKE, floors=(Floor(TO_HOLDER, "nginx+tornado", to="nginx+holder"),),
    ),
    Target(
        "gevent's last, to Encke's, behind nginx", "fanout", "nginx+gevent", "last_ms",
        least=5, to=ENCKE, floors=(Floor(TO_HOLDER, "nginx+gevent", to="nginx+holder"),),
    ),
    Target(
        "Tornado's last, to Encke's, both straight", "fanout", "tornado", "last_ms",
        least=5, to="encke",
    ),
    Target(
        "gevent's last, to Encke's, both straight", "fanout", "gevent", "last_ms",
        least=5, to="encke",
    ),
    Target(
        "the daemon's CPU, to a send loop's", "fanout", ENCKE, "daemon_cpu_ms",
        most=1.5, to="send loop", to_figure="send_cpu_ms",
    ),
    Target(
        "lighttpd's last, to nginx's", "fanout", "lighttpd+encke", "last_ms",
        most=1, to=ENCKE, floors=(LIGHTTPD_HOLDER,),
    ),
    Target("bytes of a hold", "memory", "encke", "daemon_rss_bytes_a_hold", most=512),
    Target("wake-ups while idle", "memory", "encke", "daemon_idle_wakeups", most=0),
    Target(
        "creates, to hello's rate", "create", ENCKE, "requests_a_second",
        least=0.8, to="nginx+hello", cases=("64",), floors=(STRAIGHT_TO_HELLO,),
    ),
    Target(
        "creates, to nchan's rate", "create", ENCKE, "requests_a_second",
        least=1, to=NCHAN, floors=(HELLO, INSERTS),
    ),
    *(
        Target(
            f"creates straight, to {name}'s", "durable", "encke", "requests_a_second",
            least=1, to=name,
        )
        for name in stores.START
    ),
    Target(
        "messages in arrays, to creates", "batch", ENCKE, "messages_a_second",
        least=5, to_first_case=True, cases=("100",),
    ),
    Target(
        "creates, to inserts one a commit", "slowdisk", ENCKE, "requests_a_second",
        least=20, to="SQLite inserts", to_figure="inserts_a_second", cases=("64", "256"),
    ),
    Target(
        "creates, to those of one publisher", "slowdisk", ENCKE, "requests_a_second",
        least=20, to_first_case=True,
    ),
    Target(
        "updates, to hello's rate", "update", ENCKE, "requests_a_second",
        least=0.9, to="nginx+hello",
    ),
    Target(
        "publish to receive p50, to nchan's", "chain", ENCKE, "p50_ms",
        most=1.2, to=NCHAN, floors=(COMMIT_P50,),
    ),
    Target(
        "publish to receive p99, to nchan's", "chain", ENCKE, "p99_ms",
        most=1.2, to=NCHAN, floors=(COMMIT_P99,),
    ),
    Target(
        "p50, to a short log's", "catchup", ENCKE, "p50_ms",
        most=1.2, to_first_case=True, floors=(NO_MEMORY,),
    ),
    Target(
        "p99, to a short log's", "catchup", ENCKE, "p99_ms",
        most=1.2, to_first_case=True, floors=(NO_MEMORY,),
    ),
    *(
        Target(
            f"{what} p99 beside old pages, to quiet", "colddisk", "encke", figure,
            most=1.5, to_first_case=True,
        )
        for what, figure in (("publish to receive", "p99_ms"), ("create", "ack_p99_ms"))
    ),
    Target("seconds until all are current", "storm", ENCKE, "current_s", most=5),
    Target(
        "create p99, to that when quiet", "storm", ENCKE, "storm_create_p99_ms",
        most=5, to_figure="quiet_create_p99_ms", floors=(STRAIGHT,),
    ),
    Target("delivered, to nchan's", "flood", ENCKE, "deliveries_a_second", least=1, to=NCHAN),
)  # fmt: skip


def target_lines(results):
    """A line for each target of which something was measured."""
    lines = [line for target in TARGETS for line in target.lines(results)]
    if not lines:
        return
    verdicts = [line[-1] for line in lines]
    met, missed = (sum(it.startswith(verdict) for it in verdicts) for verdict in ("met", "missed"))
    yield ""
    yield f"Targets: {met} met, {missed} missed"
    yield from aligned([["", "", "measured", "target", ""], *lines])
    yield "(A, to B's: A divided by B, while a table's \"/ B\" is each row divided by B)"
    if "" in verdicts:
        yield "(floor: the same ratio of something that does less than Encke, in the same turns)"

"""What the figures are to be, and whether they are: each target is checked by what was measured.

A ratio is the median of those within a turn, as in the tables; met or missed is decided by that.
"""
import dataclasses

from table import aligned, shown


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

    def measured(self, results):
        """(row, Spread) in each case of which there are figures."""
        rows = [row for row in results.rows(self.scenario) if row[2] == self.contestant]
        for row in rows:
            if self.cases and row[1] not in self.cases or self.to_first_case and row == rows[0]:
                continue
            if self.to or self.to_figure or self.to_first_case:
                case = rows[0][1] if self.to_first_case else row[1]
                other = (self.scenario, case, self.to or self.contestant)
                spread = results.ratio(row, self.figure, other, self.to_figure)
            else:
                spread = results.spread(row, self.figure)
            if spread:
                yield row, spread

    def line(self, row, spread):
        measured = round(spread.median, 2)  # as it is shown
        if self.most is None:
            bound, met = f">= {self.least:g}", measured >= self.least
        else:
            bound, met = f"<= {self.most:g}", measured <= self.most
        where = " ".join(filter(None, row[:2]))
        return [where, self.what, shown(spread, 2), bound, "met" if met else "missed"]


ENCKE, NCHAN = "nginx+encke", "nginx+nchan"

TARGETS = (
    Target("last answer, to nchan's", "fanout", ENCKE, "last_ms", most=1, to=NCHAN),
    Target("last answer, to nchan's", "workers", ENCKE, "last_ms", most=1, to=NCHAN),
    Target("Tornado's last, to Encke's", "fanout", "tornado", "last_ms", least=5, to=ENCKE),
    Target("gevent's last, to Encke's", "fanout", "gevent", "last_ms", least=5, to=ENCKE),
    Target(
        "the daemon's CPU, to a send loop's", "fanout", ENCKE, "daemon_cpu_ms",
        most=1.5, to="send loop", to_figure="send_cpu_ms",
    ),
    Target("lighttpd's last, to nginx's", "fanout", "lighttpd+encke", "last_ms", most=1, to=ENCKE),
    Target("bytes of a hold", "memory", "encke", "daemon_rss_bytes_a_hold", most=512),
    Target("wake-ups while idle", "memory", "encke", "daemon_idle_wakeups", most=0),
    Target(
        "creates, to hello's rate", "create", ENCKE, "requests_a_second",
        least=0.8, to="nginx+hello", cases=("64",),
    ),
    Target("creates, to nchan's rate", "create", ENCKE, "requests_a_second", least=1, to=NCHAN),
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
    Target("publish to receive p50, to nchan's", "chain", ENCKE, "p50_ms", most=1.2, to=NCHAN),
    Target("publish to receive p99, to nchan's", "chain", ENCKE, "p99_ms", most=1.2, to=NCHAN),
    Target("p50, to a short log's", "catchup", ENCKE, "p50_ms", most=1.2, to_first_case=True),
    Target("p99, to a short log's", "catchup", ENCKE, "p99_ms", most=1.2, to_first_case=True),
    Target("seconds until all are current", "storm", ENCKE, "current_s", most=5),
    Target(
        "create p99, to that when quiet", "storm", ENCKE, "storm_create_p99_ms",
        most=5, to_figure="quiet_create_p99_ms",
    ),
    Target("delivered, to nchan's", "flood", ENCKE, "deliveries_a_second", least=1, to=NCHAN),
)  # fmt: skip


def target_lines(results):
    """A line for each target of which something was measured."""
    lines = [target.line(*found) for target in TARGETS for found in target.measured(results)]
    if lines:
        yield ""
        yield "Targets"
        yield from aligned([["", "", "measured", "target", ""], *lines])

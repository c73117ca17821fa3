"""A run of the bench: its options, its contestants, and what was measured so far.

Scenarios are functions of a Bench. What they do with it: go through `turns`, point the load
generator at `contestants`, and run the programs that are a floor.
"""
import collections
import sys
import time

from processes import Failure
from results import Results
from servers import STARTERS, Encke

#: What there is to measure, by name: a function of a Bench, the tables of what it measures, and
#: whether a quick run has it.
Scenario = collections.namedtuple("Scenario", "run sections quick")
SCENARIOS = {}


def scenario(*sections, quick=True):
    """Makes a scenario of a function; the first line of its docstring is for --help."""

    def enlist(function):
        SCENARIOS[function.__name__] = Scenario(function, sections, quick)
        return function

    return enlist


class Bench:
    def __init__(self, root, scratch, options, processes):
        self.root, self.scratch = root, scratch  # the checkout; a folder that goes at the end
        self.options, self.processes = options, processes
        self.results = Results()
        self.failures = []  # why scenarios were not measured to their end
        self.scenario, self.turn, self.of = "", 1, 1
        self._running = {}
        self._daemon = None
        self._started = time.monotonic()

    # ---- contestants

    @property
    def daemon(self):
        """The Encke that most scenarios share."""
        if not self._daemon:
            self._daemon = Encke(self, "board")
        return self._daemon

    def __getitem__(self, name):
        """A contestant of STARTERS, which is started if need be."""
        if name not in self._running:
            self.say(f"starting {name}")
            self._running[name] = STARTERS[name][0](self)
        return self._running[name]

    def takes_part(self, name):
        return name in self.options.contestants

    def contestants(self, *names):
        """Those of STARTERS that take part."""
        return (self[name] for name in names if self.takes_part(name))

    def among(self, *contestants):
        """Those of them that take part, by their names."""
        return (it for it in contestants if self.takes_part(it.name))

    # ---- measuring

    def run(self, name):
        """Runs a scenario. If it fails, what it has measured until then remains."""
        self.scenario, self.turn, self.of = name, 1, 1
        if not sys.stderr.isatty():
            print(f"{self.clock()} {name}", file=sys.stderr)
        try:
            SCENARIOS[name].run(self)
        except Failure as failure:
            self.failures.append(f"{name} was not measured to its end: {failure}")

    def turns(self, count=None):
        """Counts the turns: what is measured meanwhile is of that turn."""
        self.of = count or self.options.repeats
        for self.turn in range(1, self.of + 1):
            yield self.turn
        self.turn = self.of = 1

    def row(self, name, case="", table=None):
        return table or self.scenario, str(case), name

    def load(self, contestant, mode, *options, rest="", name=None, case="", table=None):
        """Points the load generator at a contestant, and takes its figures for that row.

        `rest` is what stands behind the contestant's base, where the mode wants a whole URL; `name`
        is the row's, if it is not the contestant's; `table` the scenario's, if it has several.
        """
        row = self.row(name or contestant.name, case, table)
        self.measure(row, self.load_command(contestant, mode, *options, rest=rest))

    def load_command(self, contestant, mode, *options, rest=""):
        options = [*options, *contestant.options(), contestant.base + rest]
        return [self.options.programs / "load", mode, "--csv", *options]

    def unmeasured(self, contestant, mode, *options, rest=""):
        """The same, but what it says is not kept: it prepares something."""
        self.processes.run("load", *self.load_command(contestant, mode, *options, rest=rest))

    def program(self, name, program, *arguments, case="", **measure):
        """Runs one of the programs that are a floor, if it takes part."""
        if self.takes_part(name):
            command = [self.options.programs / program, "-c", *arguments]
            self.measure(self.row(name, case), command, **measure)

    def measure(self, row, command, env=None, suffix=""):
        """Runs a command, whose figures are for this row; `suffix` is taken off their names."""
        scenario, case, name = row
        self.say(f"{scenario} {case}: {name}, turn {self.turn} of {self.of}")
        try:
            text = self.processes.run("load", *command, env=env)
        except Failure as failure:
            raise Failure(f"{' '.join(filter(None, row))}: {failure}") from None
        self.results.add_csv(row, self.turn, text.replace(f"{suffix},", ","))

    def say(self, text):
        """Shows, on a terminal, what goes on; an empty text wipes it away."""
        if sys.stderr.isatty():
            line = f"{self.clock()} {text}" if text else ""
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    def clock(self):
        """The time since the start, as MINUTES:SECONDS."""
        return "{}:{:02}".format(*divmod(int(time.monotonic() - self._started), 60))

"""A run of the bench: its options, its contestants, and what was measured so far.

Scenarios are functions of a Bench. What they do with it: go through `turns`, point the load
generator at `contestants`, and run the programs that are a floor.
"""
import collections
import sys
import time
import traceback
from pathlib import Path

from processes import Failure
from results import Results
from servers import STARTERS, Encke

#: What there is to measure, by name: a function of a Bench, the tables of what it measures, and
#: about how many seconds it takes in a full run and in a quick one, on the machine of README.md here.
Scenario = collections.namedtuple("Scenario", "run sections full_s quick_s")
SCENARIOS = {}


def scenario(*sections, full_s, quick_s=0):
    """Makes a scenario of a function; the first line of its docstring is for --help.

    A quick run has it only if it takes any time there.
    """

    def enlist(function):
        SCENARIOS[function.__name__] = Scenario(function, sections, full_s, quick_s)
        return function

    return enlist


class Bench:
    def __init__(self, root, scratch, options, processes):
        self.root, self.scratch = root, scratch  # the checkout; a folder that goes at the end
        self.options, self.processes = options, processes
        self.results = Results()
        self.failures = {}  # by scenario: why it was not measured to its end
        self.unattended = []  # scenarios in which nothing took part
        self.stopped = ""  # where a signal stopped it
        self.scenario, self.turn, self.of = "", 1, 1
        self._expected = [self.expected_s(name) for name in options.only]  # of what is to come
        self._expected_s = 0  # of what has been
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
            self._running[name] = STARTERS[name].start(self)
        return self._running[name]

    def takes_part(self, name):
        return name in self.options.contestants

    def in_turn(self, things):
        """The same, every other turn from the last to the first: none is always before another."""
        return list(things)[:: 1 if self.turn % 2 else -1]

    def contestants(self, *names):
        """Those of STARTERS that take part."""
        return (self[name] for name in self.in_turn(names) if self.takes_part(name))

    def among(self, *contestants):
        """Those of them that take part, by their names."""
        return (it for it in self.in_turn(contestants) if self.takes_part(it.name))

    # ---- measuring

    def run(self, name):
        """Runs a scenario. If it fails, what it has measured until then remains, and all that runs
        is put away: the next ones shall not suffer from it."""
        self.scenario, self.turn, self.of = name, 1, 1
        before = len(self.results.figures)
        try:
            SCENARIOS[name].run(self)
        except Exception as error:
            self.failures[name] = f"{name} was not measured to its end: {error or type(error)}"
            if not isinstance(error, Failure):
                traceback.print_exc()
            self.start_afresh()
        if len(self.results.figures) == before and name not in self.failures:
            self.unattended.append(name)
        self._expected_s += self._expected.pop(0)

    def start_afresh(self):
        if self._daemon:
            self._daemon.stop()
        self.processes.stop_all()
        self._running, self._daemon = {}, None

    def turns(self, count=None):
        """Counts the turns: what is measured meanwhile is of that turn."""
        self.of = count or self.options.repeats
        for self.turn in range(1, self.of + 1):
            if not sys.stderr.isatty():
                where = f"{self.scenario}, turn {self.turn} of {self.of}"
                print(f"{self.clock()} {where}{self.left()}", file=sys.stderr)
            yield self.turn
        self.turn = self.of = 1

    # ---- how long it will take

    def expected_s(self, name):
        return SCENARIOS[name].quick_s if self.options.quick else SCENARIOS[name].full_s

    def left(self):
        """About how long all will still take, if that is more than a minute and can be known; for a
        line."""
        if not self._expected or not self.options.usual:
            return ""
        now, *later = self._expected
        left = sum(later) + now * (1 - (self.turn - 1) / self.of)
        if self._expected_s > 60:
            begun = self._expected_s + now * (self.turn - 1) / self.of
            left *= (time.monotonic() - self._started) / begun
        return f", about {left / 60:.0f} min left" if left > 60 else ""

    # ---- running programs

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

    def program(self, name, program, *arguments, case="", env=None):
        """Runs one of the programs that are a floor, if it takes part."""
        if self.takes_part(name):
            command = [self.options.programs / program, "-c", *arguments]
            self.measure(self.row(name, case), command, env)

    def measure(self, row, command, env=None):
        """Runs a command, whose figures are for this row."""
        scenario, case, name = row
        where = " ".join(filter(None, (scenario, case)))
        self.say(f"{where}: {name}, turn {self.turn} of {self.of}")
        try:
            text = self.processes.run(Path(command[0]).name, *command, env=env)
            self.processes.check()
        except Failure as failure:
            raise Failure(f"{' '.join(filter(None, row))}: {failure}") from None
        self.results.add_csv(row, self.turn, text)

    def say(self, text):
        """Shows, on a terminal, what goes on; an empty text wipes it away."""
        if sys.stderr.isatty():
            line = f"{self.clock()} {text}{self.left()}" if text else ""
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    def clock(self):
        """The time since the start, as MINUTES:SECONDS."""
        return "{}:{:02}".format(*divmod(int(time.monotonic() - self._started), 60))
